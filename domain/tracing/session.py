"""A session: the traces of one conversation, and their summary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from domain.page import Position, SortValue
from domain.tracing.query import TraceFilter, fold_case
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceStatus

TRACES_DEFAULT: Final = 200
TRACES_MAX: Final = 1_000  # whole traces on one page of a session
# If filters select many traces: how many a request compares with them by start, and among how many
# of the newest it counts sessions.
COMPARED_TRACES_MAX: Final = 200_000
COUNTED_TRACES_MAX: Final = 10_000
# How many ids a request compares with a part of an id, if a project has many sessions.
COMPARED_IDS_MAX: Final = 150_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """The summary of some traces of one session, at least one.

    `last_trace_at` is the latest end of a trace, `latency_us` the sum of their latencies in
    microseconds: both None while none has ended. `last_activity_at` is the latest start or end. The
    user is that of the earliest trace that has one. Tags are sorted and unique. `has_error` covers
    the traces, not their spans; `has_failed_span` covers the spans.
    """

    id: str
    trace_count: int
    first_trace_at: datetime
    last_trace_at: datetime | None
    last_activity_at: datetime
    latency_us: int | None
    has_error: bool
    user_id: str | None
    tags: tuple[str, ...]
    totals: Totals

    @property
    def latency_ms(self) -> float | None:
        return None if self.latency_us is None else self.latency_us / 1_000

    @property
    def has_failed_span(self) -> bool:
        return self.totals.errors > 0

    @classmethod
    def from_traces(cls, session: str, traces: Sequence[Trace]) -> Self:
        """From settled traces, at least one."""
        starts = [trace.started_at for trace in traces]
        ends = [trace.ended_at for trace in traces if trace.ended_at is not None]
        latencies = [trace.latency_us for trace in traces if trace.latency_us is not None]
        users = [(one.started_at, one.id, one.user_id) for one in traces if one.user_id is not None]
        return cls(
            id=session,
            trace_count=len(traces),
            first_trace_at=min(starts),
            last_trace_at=max(ends, default=None),
            last_activity_at=max(starts + ends),
            latency_us=sum(latencies) if latencies else None,
            has_error=any(trace.status is TraceStatus.ERROR for trace in traces),
            user_id=min(users)[2] if users else None,
            tags=tuple(sorted({tag for trace in traces for tag in trace.tags})),
            totals=sum((Totals.from_spans(trace.spans) for trace in traces), Totals()),
        )


@dataclass(frozen=True, slots=True)
class Session:
    """A session with some of its traces, sorted by (started_at, id)."""

    summary: SessionSummary
    traces: Sequence[Trace]


class SessionSort(StrEnum):
    RECENT = "recent"
    TRACE_COUNT = "trace_count"
    LATENCY = "latency"
    COST = "cost"

    def position(self, session: SessionSummary) -> Position:
        return Position(_SORT_VALUES[self](session), session.id)


_SORT_VALUES: Final[Mapping[SessionSort, Callable[[SessionSummary], SortValue]]] = {
    SessionSort.RECENT: lambda session: session.last_activity_at,
    SessionSort.TRACE_COUNT: lambda session: session.trace_count,
    SessionSort.LATENCY: lambda session: session.latency_us,
    SessionSort.COST: lambda session: session.totals.cost,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Conditions that must all hold; None means no condition.

    `user_id`, the bounds of `started_at` (the first inclusive) and `tags`, of which one suffices,
    select traces: the summary then covers only those. So do `not_user_id` and `not_tags`, which
    exclude traces with one of the values. `query`, a case-insensitive substring of the id,
    `has_error` and `has_failed_span` select summaries.
    """

    user_id: str | None = None
    has_error: bool | None = None
    has_failed_span: bool | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    tags: tuple[str, ...] = ()
    query: str | None = None
    not_user_id: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()

    @property
    def selects_traces(self) -> bool:
        bounds = (self.started_after, self.started_before)
        return self.selects_by_value or any(bound is not None for bound in bounds)

    @property
    def selects_by_value(self) -> bool:
        """Whether traces are selected by more than their start."""
        texts = (self.tags, self.not_tags, self.not_user_id)
        return self.user_id is not None or any(texts)

    @property
    def trace_filter(self) -> TraceFilter:
        """The conditions that select traces."""
        return TraceFilter(
            user_id=self.user_id,
            started_after=self.started_after,
            started_before=self.started_before,
            tags=self.tags,
            not_user_id=self.not_user_id,
            not_tags=self.not_tags,
        )

    @property
    def selects_summaries(self) -> bool:
        return bool(self.query) or (self.has_error, self.has_failed_span) != (None, None)

    def matches_trace(self, trace: Trace) -> bool:
        return (
            (self.user_id is None or trace.user_id == self.user_id)
            and (self.started_after is None or trace.started_at >= self.started_after)
            and (self.started_before is None or trace.started_at < self.started_before)
            and (not self.tags or not set(self.tags).isdisjoint(trace.tags))
            and trace.user_id not in self.not_user_id
            and set(self.not_tags).isdisjoint(trace.tags)
        )

    def matches(self, session: SessionSummary) -> bool:
        return (
            (not self.query or fold_case(self.query) in fold_case(session.id))
            and (self.has_error is None or session.has_error is self.has_error)
            and (self.has_failed_span is None or session.has_failed_span is self.has_failed_span)
        )


def sessions_of(traces: Iterable[Trace], matching: SessionFilter) -> list[SessionSummary]:
    """The matching summaries of the sessions that the matching traces form."""
    found: dict[str, list[Trace]] = {}
    for trace in traces:
        if trace.session_id is not None and matching.matches_trace(trace):
            found.setdefault(trace.session_id, []).append(trace)
    summaries = (SessionSummary.from_traces(session, some) for session, some in found.items())
    return [summary for summary in summaries if matching.matches(summary)]
