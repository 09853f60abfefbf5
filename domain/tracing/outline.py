"""The outline of a trace: its spans in columns and without payloads.

A tree or a waterfall of a large trace needs a few values of every span and no payload. In columns,
with numbers in place of repeated texts, 10,000 spans take a twentieth of their whole JSON.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

from domain.ids import SpanId
from domain.tracing.span import Span, SpanKind, SpanStatus, elapsed_us
from domain.tracing.trace import Trace, TraceSummary
from domain.tracing.usage import CostSource, as_float

OUTLINE_SPANS_MAX: Final = 50_000  # of one part of an outline
NO_PARENT: Final = -1
PARENT_NOT_RECEIVED: Final = -2
_MICROSECOND: Final = timedelta(microseconds=1)


class OutlineRow(NamedTuple):
    """One span of an outline. Times are whole microseconds, `start_us` from the trace's start.

    A payload that the span doesn't have has no size. `cost` is None if the span is unpriced.
    `is_counted` is whether the sums of the trace include its tokens and cost.
    """

    span_id: SpanId
    parent_id: SpanId | None
    name: str
    kind: str
    status: str
    start_us: int
    latency_us: int | None
    first_token_us: int | None
    model: str | None
    tokens: int
    cost: float | None
    input_bytes: int | None
    output_bytes: int | None
    has_error: bool
    is_counted: bool

    @classmethod
    def from_span(cls, span: Span, trace_started_at: datetime) -> Self:
        """From a settled span."""
        usage, charge = span.usage, span.charge
        is_unpriced = charge is None or charge.source is CostSource.UNPRICED
        return cls(
            span.id,
            span.parent_id,
            span.name,
            span.kind or SpanKind.OTHER,
            span.status or SpanStatus.UNSET,
            (span.started_at - trace_started_at) // _MICROSECOND,
            elapsed_us(span.started_at, span.ended_at),
            elapsed_us(span.started_at, span.completion_started_at),
            span.model,
            0 if usage is None else usage.prompt_tokens + usage.completion_tokens,
            None if is_unpriced or charge is None else as_float(charge.amount),
            None if span.input is None else len(span.input),
            None if span.output is None else len(span.output),
            span.status is SpanStatus.ERROR or span.error is not None,
            span.usage_role is None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineColumns:
    """Spans by column: the values at one index of all columns belong to one span.

    `parent` is the place of the parent among all spans of the trace, NO_PARENT or
    PARENT_NOT_RECEIVED. `parent_id` has the ids of parents that were not received, by the place of
    the child. `name`, `kind`, `status` and `model` are indexes of `names` and so on; a model may be
    None. `uncounted` are the places of spans whose tokens and cost the sums leave out.
    """

    names: Sequence[str] = ()
    kinds: Sequence[SpanKind] = ()
    statuses: Sequence[SpanStatus] = ()
    models: Sequence[str] = ()
    span_id: Sequence[SpanId] = ()
    parent: Sequence[int] = ()
    parent_id: Mapping[int, SpanId]
    name: Sequence[int] = ()
    kind: Sequence[int] = ()
    status: Sequence[int] = ()
    start_us: Sequence[int] = ()
    latency_us: Sequence[int | None] = ()
    first_token_us: Sequence[int | None] = ()
    model: Sequence[int | None] = ()
    tokens: Sequence[int] = ()
    cost: Sequence[float | None] = ()
    input_bytes: Sequence[int | None] = ()
    output_bytes: Sequence[int | None] = ()
    has_error: Sequence[bool] = ()
    uncounted: Sequence[int] = ()

    @classmethod
    def from_rows(
        cls, rows: Sequence[Iterable[object]], first: int, places: Mapping[SpanId, int] | None
    ) -> Self:
        """From rows with the fields of OutlineRow, of which the first has the place `first`.

        `places` are those of all spans of the trace; None if the rows are all its spans.
        """
        if not rows:
            return cls(parent_id={})
        by_column: Any = OutlineRow._make(zip(*rows, strict=True))
        if places is None:
            places = {one: place for place, one in enumerate(by_column.span_id)}
        parent = [
            NO_PARENT if one is None else places.get(one, PARENT_NOT_RECEIVED)
            for one in by_column.parent_id
        ]
        all_names, name = _numbered(by_column.name)
        all_kinds, kind = _numbered(by_column.kind)
        all_statuses, status = _numbered(by_column.status)
        all_models, model = _numbered(by_column.model)
        return cls(
            names=all_names,
            kinds=all_kinds,
            statuses=all_statuses,
            models=all_models,
            span_id=by_column.span_id,
            parent=parent,
            parent_id={
                first + n: by_column.parent_id[n]
                for n, place in enumerate(parent)
                if place == PARENT_NOT_RECEIVED
            },
            name=name,
            kind=kind,
            status=status,
            start_us=by_column.start_us,
            latency_us=by_column.latency_us,
            first_token_us=by_column.first_token_us,
            model=model,
            tokens=by_column.tokens,
            cost=by_column.cost,
            input_bytes=by_column.input_bytes,
            output_bytes=by_column.output_bytes,
            has_error=by_column.has_error,
            uncounted=[
                place
                for place, is_counted in enumerate(by_column.is_counted, start=first)
                if not is_counted
            ],
        )


def _numbered(values: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """The different values in the order in which they occur, and the number of each value.

    None stays None, and has no number.
    """
    numbers: dict[Any, int | None] = {None: None}
    found: list[Any] = []
    numbered: list[int | None] = []
    for value in values:
        if value not in numbers:
            numbers[value] = len(found)
            found.append(value)
        numbered.append(numbers[value])
    return found, numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOutline:
    """A trace, and its spans from the place `first` on, ordered by (started_at, id).

    `revision` changes with every change of the trace and its spans. Places are the same in all
    parts of an outline that have one revision.
    """

    summary: TraceSummary
    revision: str
    first: int
    columns: OutlineColumns

    @property
    def next(self) -> int | None:
        """The place from which the next part starts; None if nothing follows."""
        end = self.first + len(self.columns.span_id)
        return end if self.columns.span_id and end < self.summary.totals.spans else None

    @classmethod
    def from_trace(cls, trace: Trace, revision: str, first: int, limit: int) -> Self:
        """From a settled trace."""
        spans = trace.spans[first : first + limit]
        rows = [OutlineRow.from_span(span, trace.started_at) for span in spans]
        places = {span.id: place for place, span in enumerate(trace.spans)}
        return cls(
            summary=TraceSummary.from_trace(trace),
            revision=revision,
            first=first,
            columns=OutlineColumns.from_rows(rows, first, places),
        )
