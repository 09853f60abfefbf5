"""Analytics over time: traces, failures, latencies, tokens, costs, models, sessions, users.

Time is divided into buckets, in UTC unless a time zone is given; empty buckets are left out. A
period includes its first instant and excludes its last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from domain.errors import Invalid
from domain.page import Position
from domain.tracing.session import SessionFilter, SessionSummary, sessions_of
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import exact_sum

BUCKETS_MAX: Final = 10_000  # of one response: more than a year of hours
COUNTED_USERS_MAX: Final = 50_000  # of a list, whose total is a lower bound if there are more
MODELS_MAX: Final = 10
PERCENTILES: Final = (0.5, 0.9, 0.99)


class Granularity(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    def bucket(self, instant: datetime, zone: tzinfo = UTC) -> datetime:
        """The start in UTC of the bucket that contains an instant in UTC; weeks start on Mondays.

        Days and weeks are those of a zone whose offsets are whole hours.
        """
        if zone is not UTC and self is not Granularity.HOUR:
            local = self.bucket(instant.astimezone(zone).replace(tzinfo=UTC, fold=0))
            return local.replace(tzinfo=zone).astimezone(UTC)
        hour = instant.replace(minute=0, second=0, microsecond=0)
        if self is Granularity.HOUR:
            return hour
        day = hour.replace(hour=0)
        return day if self is Granularity.DAY else day - timedelta(days=day.weekday())


BUCKET_WIDTHS: Final = {
    Granularity.HOUR: timedelta(hours=1),
    Granularity.DAY: timedelta(days=1),
    Granularity.WEEK: timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Period:
    """From `after` (inclusive) to `before` (exclusive); empty if `before` isn't later."""

    after: datetime
    before: datetime

    def includes(self, instant: datetime) -> bool:
        return self.after <= instant < self.before


def bucket_edges(
    period: Period, granularity: Granularity, zone: tzinfo = UTC
) -> Sequence[datetime]:
    """The starts of all buckets that the period touches, and the end of the last; ascending.

    None for an empty period. Raises Invalid for more than BUCKETS_MAX buckets, for days and weeks
    that don't start with an hour of UTC, since hours are what is counted, and next to the first and
    last year.
    """
    if period.after >= period.before:
        return []
    if (period.before - period.after) / BUCKET_WIDTHS[granularity] > BUCKETS_MAX:
        raise too_many_buckets()
    try:
        edges = [granularity.bucket(period.after, zone)]
        while edges[-1] < period.before:
            # A day has 23 to 25 hours where clocks change: half a day later is in the next one.
            later = timedelta(hours=0 if granularity is Granularity.HOUR else 12)
            edges.append(granularity.bucket(edges[-1] + BUCKET_WIDTHS[granularity] + later, zone))
    except OverflowError as error:
        raise Invalid(
            "started_after and started_before are too close to the first or last year"
        ) from error
    if any(edge.minute or edge.second for edge in edges):
        raise Invalid.semantic(
            "query.tz", "its days don't start with an hour of UTC in this period: use UTC"
        )
    return edges


def percentile(values: Sequence[float], share: float) -> float:
    """The continuous percentile of sorted values, at least one, by linear interpolation.

    As percentile_cont of SQL: the rank is share · (n - 1), counted from 0.
    """
    rank = share * (len(values) - 1)
    below = int(rank)
    above = min(below + 1, len(values) - 1)
    return values[below] + (rank - below) * (values[above] - values[below])


@dataclass(frozen=True, slots=True)
class Latencies:
    """The mean of `count` latencies, and the percentiles of PERCENTILES; in milliseconds."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def from_microseconds(cls, values_us: Sequence[int]) -> Self:
        """From latencies in microseconds, at least one, in any order."""
        in_order = sorted(map(float, values_us))
        p50, p90, p99 = (percentile(in_order, share) / 1_000 for share in PERCENTILES)
        count = len(values_us)
        return cls(count, mean_ms(sum(values_us), count), p50, p90, p99)


def mean_ms(sum_us: int, count: int) -> float:
    return sum_us / (1_000 * count)


@dataclass(frozen=True, slots=True)
class TraceBucket:
    """Traces by their start. Traces without latency are counted, but not in `latencies`."""

    bucket: datetime
    trace_count: int
    error_count: int
    latencies: Latencies | None

    @property
    def latency_count(self) -> int:
        """How many of the traces have a latency."""
        return 0 if self.latencies is None else self.latencies.count


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """The usage of spans, by their start. `cost` is that of `priced` spans, not of `unpriced` ones.

    `cached_tokens` of the prompts came from a cache, `reasoning_tokens` are a part of the
    completions, as far as spans said so. None: not counted.
    """

    bucket: datetime
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    unpriced: int = 0
    priced: int | None = 0
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The usage of the spans of one model. `cost` is without that of `unpriced` spans."""

    model: str
    calls: int
    tokens: int
    cost: Decimal
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class SessionBucket:
    """Sessions by the start of the first of their traces in the period.

    The duration of a session is the sum of its traces' latencies. Sessions without an ended trace
    have none: `mean_duration_ms` is that of `duration_count` sessions.
    """

    bucket: datetime
    session_count: int
    mean_traces: float
    mean_duration_ms: float | None
    duration_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSummary:
    """The summary of one user's traces."""

    id: str
    trace_count: int
    error_count: int
    first_seen: datetime
    last_seen: datetime

    @property
    def position(self) -> Position:
        return Position(self.last_seen, self.id)


def check_bucket_count[T](
    buckets: Sequence[T], bounds: str = "started_after and started_before"
) -> Sequence[T]:
    """Returns the buckets. Raises Invalid for more than BUCKETS_MAX, naming the bounds of time."""
    if len(buckets) > BUCKETS_MAX:
        raise too_many_buckets(bounds)
    return buckets


def too_many_buckets(bounds: str = "started_after and started_before") -> Invalid:
    return Invalid(
        f"more than {BUCKETS_MAX} buckets: narrow {bounds}, or take a coarser granularity"
    )


def trace_buckets(
    traces: Iterable[Trace], period: Period, granularity: Granularity, zone: tzinfo = UTC
) -> list[TraceBucket]:
    """From settled traces, ascending by bucket."""
    within = [trace for trace in traces if period.includes(trace.started_at)]
    by_bucket = group_by(within, lambda trace: granularity.bucket(trace.started_at, zone))
    return [trace_bucket(bucket, some) for bucket, some in by_bucket.items()]


def trace_bucket(bucket: datetime, traces: Sequence[Trace]) -> TraceBucket:
    return TraceBucket(bucket, len(traces), _failed(traces), _latencies(traces))


def usage_buckets(
    spans: Iterable[Span], period: Period, granularity: Granularity, zone: tzinfo = UTC
) -> list[UsageBucket]:
    """From settled spans, ascending by bucket. Spans with a usage role aren't counted."""
    within = [span for span in _counted(spans) if period.includes(span.started_at)]
    by_bucket = group_by(within, lambda span: granularity.bucket(span.started_at, zone))
    return [_usage_bucket(bucket, some) for bucket, some in by_bucket.items()]


def _usage_bucket(bucket: datetime, spans: Sequence[Span]) -> UsageBucket:
    totals = Totals.from_spans(spans)
    usages = [span.usage for span in spans if span.usage is not None]
    return UsageBucket(
        bucket,
        totals.prompt_tokens,
        totals.completion_tokens,
        totals.cost,
        totals.unpriced,
        priced=sum(span.charge is not None and span.charge.is_known for span in spans),
        cached_tokens=sum(one.cache_read_tokens for one in usages),
        reasoning_tokens=sum(one.reasoning_tokens for one in usages),
    )


def sum_usage(bucket: datetime, parts: Sequence[UsageBucket]) -> UsageBucket:
    """The sums of usage that was counted in full."""
    return UsageBucket(
        bucket,
        sum(one.prompt_tokens for one in parts),
        sum(one.completion_tokens for one in parts),
        exact_sum(one.cost for one in parts),
        sum(one.unpriced for one in parts),
        priced=sum(one.priced or 0 for one in parts),
        cached_tokens=sum(one.cached_tokens or 0 for one in parts),
        reasoning_tokens=sum(one.reasoning_tokens or 0 for one in parts),
    )


def model_usage_buckets(
    spans: Iterable[Span], period: Period, granularity: Granularity, zone: tzinfo = UTC
) -> Mapping[str | None, Sequence[UsageBucket]]:
    """`usage_buckets` for each model, and for None the spans without one."""
    by_model: dict[str | None, list[Span]] = {}
    for span in spans:
        by_model.setdefault(span.model, []).append(span)
    found = {
        model: usage_buckets(some, period, granularity, zone) for model, some in by_model.items()
    }
    return {model: buckets for model, buckets in found.items() if buckets}


def _counted(spans: Iterable[Span]) -> Iterable[Span]:
    return (span for span in spans if span.usage_role is None)


def top_models(spans: Iterable[Span], period: Period) -> list[ModelUsage]:
    """The MODELS_MAX models with the most calls, descending, ties by name; from settled spans."""
    called = [
        span
        for span in _counted(spans)
        if span.model is not None and period.includes(span.started_at)
    ]
    found = []
    for model, some in group_by(called, lambda span: span.model or "").items():
        totals = Totals.from_spans(some)
        found.append(ModelUsage(model, totals.spans, totals.tokens, totals.cost, totals.unpriced))
    found.sort(key=lambda one: (-one.calls, one.model))
    return found[:MODELS_MAX]


def session_buckets(
    traces: Iterable[Trace], period: Period, granularity: Granularity
) -> list[SessionBucket]:
    """From settled traces, ascending by bucket."""
    matching = SessionFilter(started_after=period.after, started_before=period.before)
    sessions = sessions_of(traces, matching)
    by_bucket = group_by(sessions, lambda one: granularity.bucket(one.first_trace_at))
    return [SessionBucket(bucket, *_means(some)) for bucket, some in by_bucket.items()]


def user_summaries(traces: Iterable[Trace]) -> list[UserSummary]:
    """One summary for each user of settled traces, sorted by id."""
    known = [trace for trace in traces if trace.user_id is not None]
    found = []
    for user, some in group_by(known, lambda trace: trace.user_id or "").items():
        starts = [trace.started_at for trace in some]
        found.append(
            UserSummary(
                id=user,
                trace_count=len(some),
                error_count=_failed(some),
                first_seen=min(starts),
                last_seen=max(starts),
            )
        )
    return found


def group_by[T, K: (datetime, str, int)](
    items: Iterable[T], key: Callable[[T], K]
) -> Mapping[K, list[T]]:
    """The items of each key, ascending by key."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return dict(sorted(found.items()))


def _failed(traces: Iterable[Trace]) -> int:
    return sum(trace.status is TraceStatus.ERROR for trace in traces)


def _latencies(traces: Sequence[Trace]) -> Latencies | None:
    ended = [trace.latency_us for trace in traces if trace.latency_us is not None]
    return Latencies.from_microseconds(ended) if ended else None


def _means(sessions: Sequence[SessionSummary]) -> tuple[int, float, float | None, int]:
    lasting = [one.latency_us for one in sessions if one.latency_us is not None]
    mean = mean_ms(sum(lasting), len(lasting)) if lasting else None
    traces = sum(one.trace_count for one in sessions)
    return len(sessions), traces / len(sessions), mean, len(lasting)
