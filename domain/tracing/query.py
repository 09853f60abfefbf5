"""Filters and sort orders of trace lists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final

from domain.page import Position, SortValue
from domain.tracing.payload import scalar_members
from domain.tracing.trace import Trace, TraceStatus, TraceSummary

LATENCY_US_MAX: Final = 2**62  # beyond any two instants
# Fields of a filter that must equal those of the trace.
_EQUAL: Final = ("session_id", "user_id", "environment", "release", "status")


class TraceSort(StrEnum):
    STARTED_AT = "started_at"
    ENDED_AT = "ended_at"
    NAME = "name"
    LATENCY = "latency"
    STATUS = "status"

    def position(self, trace: TraceSummary) -> Position:
        return Position(_SORT_VALUES[self](trace), trace.id)


_SORT_VALUES: Final[Mapping[TraceSort, Callable[[TraceSummary], SortValue]]] = {
    TraceSort.STARTED_AT: lambda trace: trace.started_at,
    TraceSort.ENDED_AT: lambda trace: trace.ended_at,
    TraceSort.NAME: lambda trace: trace.name,
    TraceSort.LATENCY: lambda trace: trace.latency_us,
    TraceSort.STATUS: lambda trace: trace.status.value,
}


def fold_case(text: str) -> str:
    """The form that substring filters compare: case-insensitive in any script."""
    return text.casefold()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Conditions that must all hold; None means no condition.

    `name` is a case-insensitive substring; empty means no condition. `started_after` is inclusive,
    `started_before` exclusive; both latency bounds are inclusive, and a trace without latency is in
    no range. One of `tags` suffices; empty means no condition. `model` must be that of at least one
    span. `has_error` covers the trace and its spans, `has_failed_span` the spans alone.
    `metadata` maps top-level keys to the permitted texts, as `scalar_members` gives them.
    """

    session_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    status: TraceStatus | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    model: str | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    has_error: bool | None = None
    has_failed_span: bool | None = None
    metadata: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def matches(self, trace: Trace) -> bool:
        """Whether a settled trace matches."""
        return (
            all(getattr(self, name) in {None, getattr(trace, name)} for name in _EQUAL)
            and (not self.tags or not set(self.tags).isdisjoint(trace.tags))
            and (not self.name or fold_case(self.name) in fold_case(trace.name))
            and (self.started_after is None or trace.started_at >= self.started_after)
            and (self.started_before is None or trace.started_at < self.started_before)
            and (self.model is None or self.model in trace.models)
            and (self.has_error is None or trace.has_error is self.has_error)
            and (self.has_failed_span is None or trace.has_failed_span is self.has_failed_span)
            and self._matches_latency(trace.latency_us)
            and self._matches_metadata(trace)
        )

    @property
    def latency_us(self) -> tuple[int, int] | None:
        """The latency bounds in microseconds, both inclusive; None without bounds."""
        if self.min_latency_ms is None and self.max_latency_ms is None:
            return None
        low, high = _us(self.min_latency_ms, ROUND_CEILING), _us(self.max_latency_ms, ROUND_FLOOR)
        return (-LATENCY_US_MAX if low is None else low, LATENCY_US_MAX if high is None else high)

    def _matches_latency(self, latency_us: int | None) -> bool:
        if (bounds := self.latency_us) is None:
            return True
        return latency_us is not None and bounds[0] <= latency_us <= bounds[1]

    def _matches_metadata(self, trace: Trace) -> bool:
        if not self.metadata:
            return True
        found = scalar_members(trace.metadata)
        return all(found.get(key) in wanted for key, wanted in self.metadata)


def _us(bound_ms: float | None, rounding: str) -> int | None:
    # The decimal text of the bound counts: 1.1 ms is 1,100 us, whatever the double rounds to.
    if bound_ms is None:
        return None
    exact = (Decimal(repr(bound_ms)) * 1_000).to_integral_value(rounding)
    most = Decimal(LATENCY_US_MAX)
    return int(min(max(exact, -most), most))  # also for infinity
