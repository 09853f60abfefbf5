"""Figures of traces that match a filter, in groups and over time.

Traces, failures, latencies, tokens and costs are those of traces, by their start. The usage of
spans by model, by the start of the spans, is in groups of the same form.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Final

from domain.errors import Invalid
from domain.tracing.analytics import (
    Granularity,
    Period,
    TraceBucket,
    UsageBucket,
    group_by,
    sum_usage,
    trace_bucket,
)
from domain.tracing.query import TraceFilter
from domain.tracing.span import Totals
from domain.tracing.trace import Trace, TraceStatus

GROUPS_DEFAULT: Final = 10
GROUPS_MAX: Final = 50  # shown apart; all others are one
READ_TRACES_MAX: Final = 250_000  # no roll-up has their figures by filter or group
CELLS_MAX: Final = 50_000  # figures of a group in a bucket


class AnalyticsMetric(StrEnum):
    """Which figures are shown. Groups are ranked by it: by cost, tokens, failures, or traces."""

    VOLUME = "volume"
    ERRORS = "errors"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"
    MODELS = "models"

    @property
    def is_usage(self) -> bool:
        return self in {AnalyticsMetric.COST, AnalyticsMetric.TOKENS}


class TraceGroupKey(StrEnum):
    """The field that figures are grouped by. Traces without the value are a group of their own.

    MODEL groups spans, since a trace may use several models; the others group traces.
    """

    MODEL = "model"
    ENVIRONMENT = "environment"
    RELEASE = "release"
    NAME = "name"
    USER = "user"

    def group_of(self, trace: Trace) -> str | None:
        return _GROUP_OF[self](trace)


_GROUP_OF: Final[Mapping[TraceGroupKey, Callable[[Trace], str | None]]] = {
    TraceGroupKey.ENVIRONMENT: lambda trace: trace.environment,
    TraceGroupKey.RELEASE: lambda trace: trace.release,
    TraceGroupKey.NAME: lambda trace: trace.name,
    TraceGroupKey.USER: lambda trace: trace.user_id,
}


class GroupKind(StrEnum):
    """The kind of a group: all traces or spans, those with a value, without one, or the rest."""

    ALL = "all"
    VALUE = "value"
    NONE = "none"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceAnalyticsQuery:
    """Which traces, in which groups and buckets. `matching` has the period without its bounds.

    `groups` are shown apart, and with `fill` also buckets without traces.
    """

    period: Period
    granularity: Granularity = Granularity.DAY
    metric: AnalyticsMetric = AnalyticsMetric.VOLUME
    zone: tzinfo = UTC
    matching: TraceFilter = field(default_factory=TraceFilter)
    by: TraceGroupKey | None = None
    groups: int = GROUPS_DEFAULT
    fill: bool = False

    def bucket(self, instant: datetime) -> datetime:
        return self.granularity.bucket(instant, self.zone)


@dataclass(frozen=True, slots=True)
class TraceCell:
    """The figures of traces in a bucket, by their start.

    `usage` doesn't say how many tokens were cached or for reasoning: traces have no such sums.
    """

    traces: TraceBucket
    usage: UsageBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureGroup[F]:
    """The figures of a group: in all, and by bucket, ascending, without empty ones.

    `key` is the value of a group of the kind VALUE. `total` has the start of the period as bucket.
    `count` is the number of groups that are together in one of the kind OTHER, else 1.
    """

    kind: GroupKind
    total: F
    buckets: Sequence[F]
    key: str | None = None
    count: int = 1


type TraceGroup = FigureGroup[TraceCell]
type UsageGroup = FigureGroup[UsageBucket]


def trace_groups(traces: Iterable[Trace], query: TraceAnalyticsQuery) -> list[TraceGroup]:
    """From settled traces: the greatest groups first, by the metric, then all others together."""
    within = [
        one
        for one in traces
        if query.period.includes(one.started_at) and query.matching.matches(one)
    ]
    if query.by is None:
        return [_trace_group(GroupKind.ALL, within, query)] if within else []
    by_value: dict[str | None, list[Trace]] = {}
    for one in within:
        by_value.setdefault(query.by.group_of(one), []).append(one)
    ranked = sorted(
        by_value.items(), key=lambda group: rank(group[0], _trace_rank(group[1], query.metric))
    )
    found = [
        _trace_group(GroupKind.NONE if key is None else GroupKind.VALUE, some, query, key)
        for key, some in ranked[: query.groups]
    ]
    if rest := ranked[query.groups :]:
        others = [one for _, some in rest for one in some]
        found.append(_trace_group(GroupKind.OTHER, others, query, count=len(rest)))
    return found


def _trace_group(
    kind: GroupKind,
    traces: Sequence[Trace],
    query: TraceAnalyticsQuery,
    key: str | None = None,
    count: int = 1,
) -> TraceGroup:
    by_bucket = group_by(traces, lambda trace: query.bucket(trace.started_at))
    return FigureGroup(
        kind=kind,
        key=key,
        count=count,
        total=_trace_cell(query.period.after, traces),
        buckets=[_trace_cell(bucket, some) for bucket, some in by_bucket.items()],
    )


def _trace_cell(bucket: datetime, traces: Sequence[Trace]) -> TraceCell:
    totals = Totals.from_spans(span for one in traces for span in one.spans)
    usage = UsageBucket(
        bucket,
        totals.prompt_tokens,
        totals.completion_tokens,
        totals.cost,
        totals.unpriced,
        priced=None,
        cached_tokens=None,
        reasoning_tokens=None,
    )
    return TraceCell(trace_bucket(bucket, traces), usage)


def _trace_rank(traces: Sequence[Trace], metric: AnalyticsMetric) -> Decimal | int:
    if metric is AnalyticsMetric.ERRORS:
        return sum(one.status is TraceStatus.ERROR for one in traces)
    if not metric.is_usage:
        return len(traces)
    totals = Totals.from_spans(span for one in traces for span in one.spans)
    return totals.cost if metric is AnalyticsMetric.COST else totals.tokens


def usage_groups(
    by_value: Mapping[str | None, Sequence[UsageBucket]], query: TraceAnalyticsQuery
) -> list[UsageGroup]:
    """The usage of each value, the greatest first, then all others together. None has no bucket."""

    def group(
        kind: GroupKind, buckets: Sequence[UsageBucket], key: str | None = None, count: int = 1
    ) -> UsageGroup:
        total = sum_usage(query.period.after, buckets)
        return FigureGroup(kind=kind, key=key, count=count, total=total, buckets=buckets)

    found = [
        group(GroupKind.NONE if key is None else GroupKind.VALUE, buckets, key)
        for key, buckets in by_value.items()
    ]
    found.sort(key=lambda one: rank(one.key, _usage_rank(one.total, query.metric)))
    shown, rest = found[: query.groups], found[query.groups :]
    if rest:
        cells = group_by((cell for one in rest for cell in one.buckets), lambda one: one.bucket)
        others = [sum_usage(bucket, some) for bucket, some in cells.items()]
        shown.append(group(GroupKind.OTHER, others, count=len(rest)))
    return shown


def filled[B: (TraceBucket, UsageBucket)](
    buckets: Sequence[B], starts: Sequence[datetime], empty: Callable[[datetime], B]
) -> Sequence[B]:
    """The buckets with those of `starts` that are missing, as `empty` makes them."""
    known = {one.bucket: one for one in buckets}
    return [known.get(start) or empty(start) for start in starts]


def no_traces(bucket: datetime) -> TraceBucket:
    return TraceBucket(bucket, 0, 0, None)


def no_usage(bucket: datetime) -> UsageBucket:
    return UsageBucket(bucket, 0, 0, Decimal(0))


def _usage_rank(usage: UsageBucket, metric: AnalyticsMetric) -> Decimal | int:
    return usage.cost if metric is AnalyticsMetric.COST else usage.tokens


def rank(key: str | None, figure: Decimal | int) -> tuple[Decimal | int, bool, str]:
    """A key to sort groups by: the greatest figure first, then by value; none comes last."""
    return -figure, key is None, key or ""


def check_trace_count(traces: int, most: int = READ_TRACES_MAX) -> None:
    """Raises Invalid for more traces than are read one by one."""
    if traces > most:
        raise Invalid.semantic(
            "query.started_after",
            f"up to {traces:,} traces have to be read for these filters or groups, and {most:,} "
            "is the most: narrow the period, or filter by a value that fewer traces have. Figures "
            "without filters, and tokens and costs by model, have no such limit",
        )


def check_cell_count(cells: int) -> None:
    """Raises Invalid for more figures than one response has."""
    if cells > CELLS_MAX:
        raise Invalid(
            f"more than {CELLS_MAX:,} figures: narrow started_after and started_before, take a "
            "coarser granularity, or fewer groups"
        )
