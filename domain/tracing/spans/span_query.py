"""The list of spans across the traces of a project: filters, sort orders and rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from domain.errors import Invalid
from domain.ids import SpanId, TraceId
from domain.page import Position, SortValue
from domain.tracing.query import TraceFilter
from domain.tracing.span import Span, SpanKind, SpanStatus, elapsed_ms, elapsed_us, is_before
from domain.tracing.spans.error_groups import ERROR_CHARS_MAX, error_group_of
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import NO_USAGE, CostSource, SpanCost, Usage, UsageRole

SORTED_SPANS_MAX: Final = 200_000  # matches that are sorted by anything but their start
COMPARED_SPANS_MAX: Final = 1_000_000  # spans that a page of rare matches is looked for among
SORTED_AMONG_MAX: Final = 500_000  # spans among which those that are sorted are looked for
COUNTED_SPANS_MAX: Final = 10_000  # spans that are read to count matches
KEY_SEPARATOR: Final = "/"
# Fields of a filter that must equal those of the span, and those of its trace.
_EQUAL: Final = ("kind", "name", "model", "provider", "status")


class SpanSort(StrEnum):
    STARTED_AT = "started_at"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"

    def position(self, span: "SpanSummary") -> Position:
        return Position(_SORT_VALUES[self](span), position_id(span.trace_id, span.id))


def position_id(trace: TraceId, span: SpanId) -> str:
    """The id of a span in a list: a span's own id is unique in its trace only.

    It sorts as the pair does, since both parts have a fixed length.
    """
    return f"{trace}{KEY_SEPARATOR}{span}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFilter:
    """Conditions that must all hold; None means no condition.

    `name` is compared exactly. `has_error` is whether the span failed: it has the status ERROR.
    `error_group` is the id of a group of `domain.tracing.spans.error_groups`. `started_after` is
    inclusive, `started_before` exclusive; the other bounds are inclusive. A span without latency is
    in no range of latencies, one whose cost is unknown in no range of costs. `environment`,
    `release`, `session_id`, `user_id`, `tags` and `trace_status` are those of the trace, as in
    TraceFilter.

    Each text of a field `not_…` excludes the spans that the field without `not_` would select by
    it. So a span without the value stays.
    """

    kind: SpanKind | None = None
    name: str | None = None
    model: str | None = None
    provider: str | None = None
    status: SpanStatus | None = None
    has_error: bool | None = None
    error_group: str | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    min_latency_ms: float | None = None
    max_latency_ms: float | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    min_cost: float | None = None
    max_cost: float | None = None
    environment: str | None = None
    release: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    trace_status: TraceStatus | None = None
    not_kind: tuple[SpanKind, ...] = ()
    not_name: tuple[str, ...] = ()
    not_model: tuple[str, ...] = ()
    not_provider: tuple[str, ...] = ()
    not_status: tuple[SpanStatus, ...] = ()
    not_environment: tuple[str, ...] = ()
    not_release: tuple[str, ...] = ()
    not_session_id: tuple[str, ...] = ()
    not_user_id: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_trace_status: tuple[TraceStatus, ...] = ()

    def matches(self, trace: Trace, span: Span) -> bool:
        """Whether a settled span of a settled trace matches."""
        return (
            all(getattr(self, name) in {None, getattr(span, name)} for name in _EQUAL)
            and not any(getattr(span, name) in getattr(self, f"not_{name}") for name in _EQUAL)
            and (self.has_error is None or (span.status is SpanStatus.ERROR) is self.has_error)
            and (self.error_group is None or error_group_of(span) == self.error_group)
            and (self.started_after is None or span.started_at >= self.started_after)
            and (self.started_before is None or span.started_at < self.started_before)
            and _within(elapsed_us(span.started_at, span.ended_at), self.latency_us)
            and _within(_tokens(span), self.tokens)
            and _within(known_cost(span), self.cost)
            and self.trace_filter.matches(trace)
        )

    @property
    def trace_filter(self) -> TraceFilter:
        """The conditions on the trace of a span."""
        return TraceFilter(
            environment=self.environment,
            release=self.release,
            session_id=self.session_id,
            user_id=self.user_id,
            tags=self.tags,
            status=self.trace_status,
            not_environment=self.not_environment,
            not_release=self.not_release,
            not_session_id=self.not_session_id,
            not_user_id=self.not_user_id,
            not_tags=self.not_tags,
            not_status=self.not_trace_status,
        )

    @property
    def latency_us(self) -> tuple[int, int] | None:
        """The latency bounds in microseconds, both inclusive; None without bounds."""
        bounds = TraceFilter(min_latency_ms=self.min_latency_ms, max_latency_ms=self.max_latency_ms)
        return bounds.latency_us

    @property
    def tokens(self) -> tuple[int | None, int | None] | None:
        """The bounds of prompt and completion together, both inclusive; None without bounds."""
        bounds = (self.min_tokens, self.max_tokens)
        return None if bounds == (None, None) else bounds

    @property
    def cost(self) -> tuple[Decimal | None, Decimal | None] | None:
        """The bounds in USD, both inclusive; None without bounds.

        The decimal text of a bound counts: 0.1 is a tenth, whatever the double rounds to.
        """
        if self.min_cost is None and self.max_cost is None:
            return None
        low, high = (
            None if bound is None else Decimal(repr(bound))
            for bound in (self.min_cost, self.max_cost)
        )
        return (low, high)


def _within[T: (int, Decimal)](
    value: T | None, bounds: tuple[T | None, T | None] | tuple[T, T] | None
) -> bool:
    if bounds is None:
        return True
    low, high = bounds
    return value is not None and (low is None or low <= value) and (high is None or value <= high)


def _tokens(span: Span) -> int:
    usage = span.usage or NO_USAGE
    return usage.prompt_tokens + usage.completion_tokens


def known_cost(span: "Span | SpanSummary") -> Decimal | None:
    """The cost of a settled span in USD; None if it is unknown."""
    charge = span.charge
    return None if charge is None or charge.source is CostSource.UNPRICED else charge.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """The fields of the trace that a row of the list of spans shows."""

    name: str
    status: TraceStatus
    session_id: str | None
    user_id: str | None
    environment: str | None
    release: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSummary:
    """A row of the list of spans: a settled span without payloads, and its trace.

    `error` has at most ERROR_CHARS_MAX characters. A payload that the span doesn't have has no
    size.
    """

    id: SpanId
    trace_id: TraceId
    parent_id: SpanId | None
    name: str
    kind: SpanKind
    status: SpanStatus
    started_at: datetime
    ended_at: datetime | None
    completion_started_at: datetime | None
    model: str | None
    provider: str | None
    usage: Usage
    usage_role: UsageRole | None
    charge: SpanCost
    error: str | None
    error_group: str | None
    input_bytes: int | None
    output_bytes: int | None
    trace: TraceContext

    @classmethod
    def from_span(cls, trace: Trace, span: Span) -> Self:
        """The summary of a settled span of a settled trace."""
        assert span.charge is not None
        return cls(
            id=span.id,
            trace_id=trace.id,
            parent_id=span.parent_id,
            name=span.name,
            kind=span.kind or SpanKind.OTHER,
            status=span.status or SpanStatus.UNSET,
            started_at=span.started_at,
            ended_at=span.ended_at,
            completion_started_at=span.completion_started_at,
            model=span.model,
            provider=span.provider,
            usage=span.usage or NO_USAGE,
            usage_role=span.usage_role,
            charge=SpanCost(span.charge.amount, span.charge.source),
            error=None if span.error is None else span.error[:ERROR_CHARS_MAX],
            error_group=error_group_of(span),
            input_bytes=None if span.input is None else len(span.input),
            output_bytes=None if span.output is None else len(span.output),
            trace=TraceContext(
                name=trace.name,
                status=trace.status or TraceStatus.COMPLETED,
                session_id=trace.session_id,
                user_id=trace.user_id,
                environment=trace.environment,
                release=trace.release,
                tags=trace.tags,
            ),
        )

    @property
    def latency_us(self) -> int | None:
        return elapsed_us(self.started_at, self.ended_at)

    @property
    def latency_ms(self) -> float | None:
        return elapsed_ms(self.started_at, self.ended_at)

    @property
    def time_to_first_token_ms(self) -> float | None:
        return elapsed_ms(self.started_at, self.completion_started_at)

    @property
    def clock_skew(self) -> bool:
        """Whether it ended, or began to answer, before it started: it has no such duration."""
        return is_before(self.started_at, self.ended_at, self.completion_started_at)

    @property
    def tokens(self) -> int:
        return self.usage.prompt_tokens + self.usage.completion_tokens

    @property
    def is_counted(self) -> bool:
        """Whether sums include its tokens and its cost."""
        return self.usage_role is None

    @property
    def cost(self) -> Decimal | None:
        """The cost in USD; None if it is unknown."""
        return known_cost(self)


_SORT_VALUES: Final[Mapping[SpanSort, Callable[[SpanSummary], SortValue]]] = {
    SpanSort.STARTED_AT: lambda span: span.started_at,
    SpanSort.LATENCY: lambda span: span.latency_us,
    SpanSort.COST: lambda span: span.cost,
    SpanSort.TOKENS: lambda span: span.tokens,
}


def check_sortable(matches: int, sort: SpanSort, most: int = SORTED_SPANS_MAX) -> None:
    """Raises Invalid if more spans match than are sorted by anything but their start."""
    if sort is not SpanSort.STARTED_AT and matches > most:
        raise Invalid.field(
            "query.sort_by",
            f"more than {most:,} spans match: narrow started_after and started_before, or add "
            f"another filter, or sort by {SpanSort.STARTED_AT}",
        )


def check_compared(spans: int, sort: SpanSort, most: int = SORTED_AMONG_MAX) -> None:
    """Raises Invalid if more spans would be compared than an order other than by start allows."""
    if spans > most:
        raise Invalid.field(
            "query.sort_by",
            f"more than {most:,} spans would have to be compared to sort by {sort}: narrow "
            "started_after and started_before, or add a filter by session_id or user_id, or sort "
            f"by {SpanSort.STARTED_AT}",
        )
