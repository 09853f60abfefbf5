"""Filters and sort orders of trace lists."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final

from domain.errors import FieldError
from domain.page import Position, SortValue
from domain.tracing.payloads.payload import scalar_members
from domain.tracing.span import SpanKind, Totals
from domain.tracing.trace import Trace, TraceStatus, TraceSummary

LATENCY_US_MAX: Final = 2**62  # beyond any two instants
COUNTED_TRACES_MAX: Final = 10_000  # that match several conditions; more are not counted
# Fields of a filter that must equal those of the trace.
_EQUAL: Final = ("session_id", "user_id", "environment", "release", "status")


type MetadataTexts = tuple[tuple[str, tuple[str, ...]], ...]
"""Texts of top-level keys of the metadata."""


class TraceSort(StrEnum):
    STARTED_AT = "started_at"
    ENDED_AT = "ended_at"
    NAME = "name"
    LATENCY = "latency"
    STATUS = "status"
    COST = "cost"
    TOKENS = "tokens"
    SPAN_COUNT = "span_count"

    def position(self, trace: TraceSummary) -> Position:
        return Position(_SORT_VALUES[self](trace), trace.id)


_SORT_VALUES: Final[Mapping[TraceSort, Callable[[TraceSummary], SortValue]]] = {
    TraceSort.STARTED_AT: lambda trace: trace.started_at,
    TraceSort.ENDED_AT: lambda trace: trace.ended_at,
    TraceSort.NAME: lambda trace: trace.name,
    TraceSort.LATENCY: lambda trace: trace.latency_us,
    TraceSort.STATUS: lambda trace: trace.status.value,
    TraceSort.COST: lambda trace: trace.totals.cost,
    TraceSort.TOKENS: lambda trace: trace.totals.tokens,
    TraceSort.SPAN_COUNT: lambda trace: trace.totals.spans,
}


def fold_case(text: str) -> str:
    """The form that substring filters compare: case-insensitive in any script."""
    return text.casefold()


class ScoredOutcome(StrEnum):
    """How the evaluation came out that gave a score. Pending scores are never the newest one."""

    SCORED = "scored"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ScoreCondition:
    """A condition on the newest scores of a name. Both bounds are inclusive."""

    name: str
    outcome: ScoredOutcome = ScoredOutcome.SCORED
    least: float | None = None
    most: float | None = None

    def includes(self, outcome: str, number: float | None) -> bool:
        """Whether a score of this name satisfies it. A score without a number is in no range."""
        if outcome != self.outcome:
            return False
        if self.least is None and self.most is None:
            return True
        return (
            number is not None
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
        )


def score_errors(given: Mapping[str, object]) -> Iterator[FieldError]:
    """The errors in the conditions on scores, among the valid fields of a filter."""
    least, most = given.get("score_min"), given.get("score_max")
    outcome = given.get("score_outcome")
    if given.get("score", "") is None:
        for name in ("score_min", "score_max", "score_outcome"):
            if given.get(name) is not None:
                yield FieldError(name, "needs score: the name of the score that it is about")
    if outcome not in {None, ScoredOutcome.SCORED}:
        for name in ("score_min", "score_max"):
            if given.get(name) is not None:
                yield FieldError(
                    name,
                    f"can't be combined with score_outcome={outcome}: such a score has no value",
                )
    if isinstance(least, float | int) and isinstance(most, float | int) and least > most:
        yield FieldError("score_min", "must not exceed score_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """Conditions that must all hold; None means no condition.

    `name` is a case-insensitive substring; empty means no condition. `started_after` is inclusive,
    `started_before` exclusive; both latency bounds are inclusive, and a trace without latency is in
    no range. One of `tags` suffices, as one of `environments`, one of `statuses` and one of
    `names`, which are whole names; all of `tags_all` have to be there. Empty means no condition.
    `min_cost`, in USD, is compared with what is known of the cost, `min_tokens` with prompt and
    completion together, `min_span_count` with the number of spans; all three are inclusive. `model`
    must be that of at least one span. `has_error` covers the trace and its spans, `has_failed_span`
    the spans alone. `metadata` maps top-level keys to the permitted texts, as `scalar_members`
    gives them.

    A span has the kind `span_kind`, or exactly the name `span_name`; with both, it is one span.

    `score` is the name of a score of the trace itself, of which the newest one counts: that of runs
    or that of all others. It has a value, within `score_min` and `score_max`, or came out as
    `score_outcome` says. `matches` doesn't know scores: see `scored` and `not_scored`.

    Each text of a field `not_…` excludes the traces that the field without `not_` would select by
    it. So a trace without the value stays.
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
    metadata: MetadataTexts = ()
    environments: tuple[str, ...] = ()
    statuses: tuple[TraceStatus, ...] = ()
    names: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    min_cost: float | None = None
    min_tokens: int | None = None
    min_span_count: int | None = None
    score: str | None = None
    score_min: float | None = None
    score_max: float | None = None
    score_outcome: ScoredOutcome | None = None
    span_kind: SpanKind | None = None
    span_name: str | None = None
    not_session_id: tuple[str, ...] = ()
    not_user_id: tuple[str, ...] = ()
    not_environment: tuple[str, ...] = ()
    not_release: tuple[str, ...] = ()
    not_status: tuple[TraceStatus, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_name: tuple[str, ...] = ()
    not_model: tuple[str, ...] = ()
    not_score: tuple[str, ...] = ()
    not_span_kind: tuple[SpanKind, ...] = ()
    not_span_name: tuple[str, ...] = ()
    not_metadata: MetadataTexts = ()

    def matches(self, trace: Trace) -> bool:
        """Whether a settled trace matches, whatever its scores are."""
        return self._includes(trace) and not self._excludes(trace)

    def _includes(self, trace: Trace) -> bool:
        return (
            all(getattr(self, name) in {None, getattr(trace, name)} for name in _EQUAL)
            and (not self.tags or not set(self.tags).isdisjoint(trace.tags))
            and (not self.name or fold_case(self.name) in fold_case(trace.name))
            and (self.started_after is None or trace.started_at >= self.started_after)
            and (self.started_before is None or trace.started_at < self.started_before)
            and (self.model is None or self.model in trace.models)
            and (self.has_error is None or trace.has_error is self.has_error)
            and (self.has_failed_span is None or trace.has_failed_span is self.has_failed_span)
            and (not self.environments or trace.environment in self.environments)
            and (not self.statuses or trace.status in self.statuses)
            and (not self.names or trace.name in self.names)
            and set(self.tags_all) <= set(trace.tags)
            and self._matches_latency(trace.latency_us)
            and (self.min_span_count is None or len(trace.spans) >= self.min_span_count)
            and self._matches_totals(trace)
            and self._matches_span(trace)
            and all(_has_member(trace, key, texts) for key, texts in self.metadata)
        )

    def _excludes(self, trace: Trace) -> bool:
        return (
            any(getattr(trace, name) in getattr(self, f"not_{name}") for name in _EQUAL)
            or not set(self.not_tags).isdisjoint(trace.tags)
            or not set(self.not_model).isdisjoint(trace.models)
            or any(
                one.kind in self.not_span_kind or one.name in self.not_span_name
                for one in trace.spans
            )
            or any(part in fold_case(trace.name) for part in self.not_name_parts)
            or any(_has_member(trace, key, texts) for key, texts in self.not_metadata)
        )

    @property
    def scored(self) -> ScoreCondition | None:
        """The condition on the newest score of a name."""
        if self.score is None:
            return None
        outcome = self.score_outcome or ScoredOutcome.SCORED
        return ScoreCondition(self.score, outcome, self.score_min, self.score_max)

    @property
    def not_scored(self) -> tuple[ScoreCondition, ...]:
        """None of these may hold for one of the newest scores of its name."""
        return tuple(map(ScoreCondition, self.not_score))

    @property
    def not_name_parts(self) -> tuple[str, ...]:
        """`not_name` case-folded, without empty texts, which are no condition."""
        return tuple(fold_case(text) for text in self.not_name if text)

    @property
    def latency_us(self) -> tuple[int, int] | None:
        """The latency bounds in microseconds, both inclusive; None without bounds."""
        if self.min_latency_ms is None and self.max_latency_ms is None:
            return None
        low, high = _us(self.min_latency_ms, ROUND_CEILING), _us(self.max_latency_ms, ROUND_FLOOR)
        return (-LATENCY_US_MAX if low is None else low, LATENCY_US_MAX if high is None else high)

    @property
    def least_cost(self) -> Decimal | None:
        """`min_cost`. Its decimal text counts: 0.1 is a tenth, whatever the double rounds to."""
        return None if self.min_cost is None else Decimal(repr(self.min_cost))

    def _matches_totals(self, trace: Trace) -> bool:
        if self.min_cost is None and self.min_tokens is None:
            return True
        totals = Totals.from_spans(trace.spans)
        return (self.least_cost is None or totals.cost >= self.least_cost) and (
            self.min_tokens is None or totals.tokens >= self.min_tokens
        )

    def _matches_span(self, trace: Trace) -> bool:
        if self.span_kind is None and self.span_name is None:
            return True
        return any(
            self.span_kind in {None, one.kind} and self.span_name in {None, one.name}
            for one in trace.spans
        )

    def _matches_latency(self, latency_us: int | None) -> bool:
        if (bounds := self.latency_us) is None:
            return True
        return latency_us is not None and bounds[0] <= latency_us <= bounds[1]


ALL_TRACES: Final = TraceFilter()


def _has_member(trace: Trace, key: str, texts: tuple[str, ...]) -> bool:
    return scalar_members(trace.metadata).get(key) in texts


def _us(bound_ms: float | None, rounding: str) -> int | None:
    # The decimal text of the bound counts: 1.1 ms is 1,100 us, whatever the double rounds to.
    if bound_ms is None:
        return None
    exact = (Decimal(repr(bound_ms)) * 1_000).to_integral_value(rounding)
    most = Decimal(LATENCY_US_MAX)
    return int(min(max(exact, -most), most))  # also for infinity
