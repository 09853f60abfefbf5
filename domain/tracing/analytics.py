"""Figures over time: traces, failures, latencies, tokens, costs, models, sessions, users.

Time is cut into buckets in UTC; a bucket without rows is left out. A period holds its first
instant and not its last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from domain.errors import Invalid
from domain.page import Position
from domain.tracing.session import SessionFilter, SessionSummary, sessions_of
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, TraceStatus

BUCKETS_MAX: Final = 10_000  # of one answer: more than a year of hours
MODELS_MAX: Final = 10
PERCENTILES: Final = (0.5, 0.9, 0.99)


class Granularity(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    def bucket(self, instant: datetime) -> datetime:
        """The start of the bucket of an instant in UTC; weeks start on Mondays."""
        hour = instant.replace(minute=0, second=0, microsecond=0)
        if self is Granularity.HOUR:
            return hour
        day = hour.replace(hour=0)
        return day if self is Granularity.DAY else day - timedelta(days=day.weekday())


@dataclass(frozen=True, slots=True)
class Period:
    """From `after`, included, to `before`, not included; nothing where they are crossed."""

    after: datetime
    before: datetime

    def includes(self, instant: datetime) -> bool:
        return self.after <= instant < self.before


def percentile(values: Sequence[float], share: float) -> float:
    """The continuous percentile of sorted values, at least one, between the two nearest ranks.

    That of SQL's percentile_cont: at rank share · (n - 1), counted from 0, linear in between.
    """
    rank = share * (len(values) - 1)
    below = int(rank)
    above = min(below + 1, len(values) - 1)
    return values[below] + (rank - below) * (values[above] - values[below])


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds: the mean, and the continuous percentiles of PERCENTILES."""

    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def from_microseconds(cls, values_us: Sequence[int]) -> Self:
        """Of latencies in microseconds, at least one, in any order."""
        in_order = sorted(map(float, values_us))
        p50, p90, p99 = (percentile(in_order, share) / 1_000 for share in PERCENTILES)
        return cls(mean_ms(sum(values_us), len(values_us)), p50, p90, p99)


def mean_ms(sum_us: int, count: int) -> float:
    return sum_us / (1_000 * count)


@dataclass(frozen=True, slots=True)
class TraceBucket:
    """Traces by their start. Those without latency count, and have no part in `latencies`."""

    bucket: datetime
    trace_count: int
    error_count: int
    latencies: Latencies | None


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """What spans consumed, by their start."""

    bucket: datetime
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What the spans of one model consumed."""

    model: str
    calls: int
    tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class SessionBucket:
    """Sessions by the start of the first of their traces in the period.

    A session lasts as long as its traces together; those of which no trace has ended have no
    part in `mean_duration_ms`.
    """

    bucket: datetime
    session_count: int
    mean_traces: float
    mean_duration_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSummary:
    """What one user's traces come to."""

    id: str
    trace_count: int
    error_count: int
    first_seen: datetime
    last_seen: datetime

    @property
    def position(self) -> Position:
        return Position(self.last_seen, self.id)


def check_bucket_count[T](buckets: Sequence[T]) -> Sequence[T]:
    """Raises Invalid where there are more than BUCKETS_MAX."""
    if len(buckets) > BUCKETS_MAX:
        raise Invalid(
            f"more than {BUCKETS_MAX} buckets: narrow started_after and started_before, "
            "or take a coarser granularity"
        )
    return buckets


def trace_buckets(
    traces: Iterable[Trace], period: Period, granularity: Granularity
) -> list[TraceBucket]:
    """Ascending by bucket, of settled traces."""
    within = [trace for trace in traces if period.includes(trace.started_at)]
    return [
        TraceBucket(bucket, len(some), _failed(some), _latencies(some))
        for bucket, some in _by(within, lambda trace: granularity.bucket(trace.started_at)).items()
    ]


def usage_buckets(
    spans: Iterable[Span], period: Period, granularity: Granularity
) -> list[UsageBucket]:
    """Ascending by bucket, of settled spans."""
    within = [span for span in spans if period.includes(span.started_at)]
    found = []
    for bucket, some in _by(within, lambda span: granularity.bucket(span.started_at)).items():
        totals = Totals.from_spans(some)
        found.append(
            UsageBucket(bucket, totals.prompt_tokens, totals.completion_tokens, totals.cost)
        )
    return found


def top_models(spans: Iterable[Span], period: Period) -> list[ModelUsage]:
    """The MODELS_MAX models called most, most first, ties by name; of settled spans."""
    called = [span for span in spans if span.model is not None and period.includes(span.started_at)]
    found = []
    for model, some in _by(called, lambda span: span.model or "").items():
        totals = Totals.from_spans(some)
        found.append(ModelUsage(model, totals.spans, totals.tokens, totals.cost))
    found.sort(key=lambda one: (-one.calls, one.model))
    return found[:MODELS_MAX]


def session_buckets(
    traces: Iterable[Trace], period: Period, granularity: Granularity
) -> list[SessionBucket]:
    """Ascending by bucket, of settled traces."""
    matching = SessionFilter(started_after=period.after, started_before=period.before)
    sessions = sessions_of(traces, matching)
    by_bucket = _by(sessions, lambda one: granularity.bucket(one.first_trace_at))
    return [SessionBucket(bucket, *_means(some)) for bucket, some in by_bucket.items()]


def user_summaries(traces: Iterable[Trace]) -> list[UserSummary]:
    """One for each user of settled traces, by name."""
    known = [trace for trace in traces if trace.user_id is not None]
    found = []
    for user, some in _by(known, lambda trace: trace.user_id or "").items():
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


def _by[T, K: (datetime, str)](items: Iterable[T], key: Callable[[T], K]) -> Mapping[K, list[T]]:
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return dict(sorted(found.items()))


def _failed(traces: Iterable[Trace]) -> int:
    return sum(trace.status is TraceStatus.ERROR for trace in traces)


def _latencies(traces: Sequence[Trace]) -> Latencies | None:
    ended = [trace.latency_us for trace in traces if trace.latency_us is not None]
    return Latencies.from_microseconds(ended) if ended else None


def _means(sessions: Sequence[SessionSummary]) -> tuple[int, float, float | None]:
    lasting = [one.latency_us for one in sessions if one.latency_us is not None]
    mean = mean_ms(sum(lasting), len(lasting)) if lasting else None
    return len(sessions), sum(one.trace_count for one in sessions) / len(sessions), mean
