"""A trace: one run of an agent, and how late, partial and repeated reports are merged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import Final, Self

from domain.frozen_by_types import frozen_by_types
from domain.ids import SpanId, TraceId
from domain.tracing.change import UNCHANGED, Clearable, given_fields, later_status, latest
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText, merged_objects
from domain.tracing.span import (
    Span,
    SpanStatus,
    Totals,
    elapsed_ms,
    elapsed_us,
    is_before,
    merged_span_metadata,
)
from domain.tracing.usage import Pricing


class TraceStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"


FINAL_STATUSES: Final = frozenset({TraceStatus.COMPLETED, TraceStatus.ERROR})


@frozen_by_types(kw_only=True)
class Trace:
    """One run of an agent, as it was sent or as it is stored.

    As sent, None means "not given". `settled` returns the stored form, in which the status is
    always set, and each span id occurs once, ascending by (started_at, id). Times are aware, in
    UTC. `new_status` is the status of reports that were merged before they are stored, in case
    they create the trace, and None where it is `status`: a first report without a status would
    have stored COMPLETED, which a later RUNNING doesn't undo.
    """

    id: TraceId
    name: str
    started_at: datetime
    status: TraceStatus | None = None
    ended_at: datetime | None = None
    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    input: JsonText | None = None
    output: JsonText | None = None
    metadata: JsonText = EMPTY_OBJECT
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    new_status: TraceStatus | None = None

    @property
    def latency_ms(self) -> float | None:
        """From the trace's own times, never derived from its spans."""
        return elapsed_ms(self.started_at, self.ended_at)

    @property
    def latency_us(self) -> int | None:
        return elapsed_us(self.started_at, self.ended_at)

    @property
    def clock_skew(self) -> bool:
        """Whether it ended before it started: then it has no latency."""
        return is_before(self.started_at, self.ended_at)

    @property
    def has_error(self) -> bool:
        """Whether the trace or one of its spans failed."""
        return self.status is TraceStatus.ERROR or self.has_failed_span

    @property
    def has_failed_span(self) -> bool:
        return any(span.status is SpanStatus.ERROR for span in self.spans)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that its spans called, sorted and unique."""
        return models_of(self.spans)

    def merged(self, later: "Trace") -> "Trace":
        """This trace with what `later` says of it: null and omitted fields keep what is known.

        Spans are merged by id; spans missing in `later` are kept. Tags become the sorted union,
        even if `later` has none. Partial traces give the same result in any order, unless two
        values of one field differ: then the later wins, except that a final status is only
        replaced by a final one. The default of a trace without a status is final too.
        Raises Invalid if metadata becomes too large.
        """
        status = later_status(self.status, later.status, FINAL_STATUSES)
        new_status = later_status(self._status_if_new, later.status, FINAL_STATUSES)
        return Trace(
            id=self.id,
            status=status,
            new_status=None if new_status is status else new_status,
            metadata=merged_objects(self.metadata, later.metadata),
            tags=tuple(sorted({*self.tags, *later.tags})),
            spans=merged_spans((*self.spans, *later.spans)),
            **latest(self, later, _REPLACED),
        )

    @property
    def _status_if_new(self) -> TraceStatus:
        return self.new_status or self.status or TraceStatus.COMPLETED

    def settled(self, pricing: Pricing) -> Self:
        """The stored form: defaults filled in, spans unique, settled and sorted."""
        return replace(
            self,
            status=self._status_if_new,
            new_status=None,
            spans=in_order(span.settled(pricing) for span in merged_spans(self.spans)),
        )


_REPLACED: Final = [
    one.name
    for one in fields(Trace)
    if one.name not in {"id", "status", "new_status", "metadata", "tags", "spans"}
]


def merged_spans(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Each id once, merged in the order of arrival; an id keeps the place of its first span."""
    if len({span.id for span in spans}) == len(spans):
        return tuple(spans)
    found: dict[SpanId, list[Span]] = {}
    for span in spans:
        found.setdefault(span.id, []).append(span)
    return tuple(map(_merged_span, found.values()))


def _merged_span(reports: Sequence[Span]) -> Span:
    """The reports of one span merged in order, reading the metadata of each only once."""
    if len(reports) == 1:
        return reports[0]
    bare = reduce(Span.merged, (replace(one, metadata=EMPTY_OBJECT) for one in reports))
    return replace(bare, metadata=merged_span_metadata(*reports))


def merged_traces(reports: Sequence[Trace]) -> Trace:
    """The reports of one trace, at least one, merged in order as `Trace.merged` does.

    Takes time in proportion to their size: spans and metadata are merged all at once.
    """
    if len(reports) == 1:
        return reports[0]
    bare = reduce(Trace.merged, map(without_content, reports))
    return replace(
        bare,
        metadata=merged_objects(*(report.metadata for report in reports)),
        spans=merged_spans([span for report in reports for span in report.spans]),
    )


def without_content(trace: Trace) -> Trace:
    """The trace without metadata and spans, which are what takes time to merge."""
    return replace(trace, metadata=EMPTY_OBJECT, spans=())


def models_of(spans: Iterable[Span]) -> tuple[str, ...]:
    """The models of spans, sorted and unique."""
    return tuple(sorted({span.model for span in spans if span.model is not None}))


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The order of the spans of a trace."""
    return tuple(sorted(spans, key=lambda span: (span.started_at, span.id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """A row of the list of traces: without payloads, with the sums over its spans."""

    id: TraceId
    name: str
    status: TraceStatus
    started_at: datetime
    ended_at: datetime | None
    session_id: str | None
    user_id: str | None
    environment: str | None
    release: str | None
    tags: tuple[str, ...]
    totals: Totals

    @classmethod
    def from_trace(cls, trace: Trace) -> Self:
        """The summary of a settled trace."""
        shown = {one.name: getattr(trace, one.name) for one in fields(cls) if one.name != "totals"}
        return cls(**shown, totals=Totals.from_spans(trace.spans))

    @property
    def latency_ms(self) -> float | None:
        return elapsed_ms(self.started_at, self.ended_at)

    @property
    def latency_us(self) -> int | None:
        return elapsed_us(self.started_at, self.ended_at)

    @property
    def clock_skew(self) -> bool:
        """Whether it ended before it started: then it has no latency."""
        return is_before(self.started_at, self.ended_at)

    @property
    def has_failed_span(self) -> bool:
        return self.totals.errors > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceChange:
    """New values of a trace. UNCHANGED leaves what is there; None clears it.

    Name, status and tags can't be cleared: there None leaves what is there too. Metadata is
    merged, a key at a time.
    """

    name: str | None = None
    status: TraceStatus | None = None
    tags: tuple[str, ...] | None = None
    metadata: JsonText = EMPTY_OBJECT
    input: Clearable[JsonText] = UNCHANGED
    output: Clearable[JsonText] = UNCHANGED
    ended_at: Clearable[datetime] = UNCHANGED
    session_id: Clearable[str] = UNCHANGED
    user_id: Clearable[str] = UNCHANGED
    environment: Clearable[str] = UNCHANGED
    release: Clearable[str] = UNCHANGED

    def applied(self, trace: Trace) -> Trace:
        return replace(
            trace,
            name=self.name or trace.name,
            status=self.status or trace.status,
            tags=trace.tags if self.tags is None else self.tags,
            metadata=merged_objects(trace.metadata, self.metadata),
            **given_fields(self),
        )
