"""The recent activity in the projects of an organization, for a page that shows all of them.

The period is the last ACTIVITY_DAYS days, up to the end of the current hour in UTC: sums of hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from domain.tracing.analytics import Granularity, Period

ACTIVITY_DAYS: Final = 7
ACTIVITY_BUCKET: Final = timedelta(hours=6)
ACTIVITY_PROJECTS_MAX: Final = 500  # of one response: the newest ones
RECENT: Final = timedelta(hours=24)  # the end of the period, which is summed apart


@dataclass(frozen=True, slots=True, kw_only=True)
class HourActivity:
    """Traces that started within an hour."""

    hour: datetime
    trace_count: int
    error_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityBucket:
    """Traces that started within ACTIVITY_BUCKET from `bucket` on."""

    bucket: datetime
    trace_count: int
    error_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectActivity:
    """The activity of one project.

    `recent_…` are those of the last RECENT of the period. `buckets` ascend, empty ones included.
    `cost` is that of the spans that started in the period, without `unpriced_span_count` spans of
    unknown cost. `last_trace_at` is the start of the newest trace, whenever it was; None without
    one. `alerting_count` counts alerts that fire now.
    """

    period: Period
    trace_count: int
    error_count: int
    recent_trace_count: int
    recent_error_count: int
    buckets: Sequence[ActivityBucket]
    cost: Decimal
    unpriced_span_count: int
    last_trace_at: datetime | None
    alerting_count: int


def activity_period(now: datetime) -> Period:
    """The period that `now`, in UTC, is in the last hour of."""
    end = Granularity.HOUR.bucket(now) + timedelta(hours=1)
    return Period(end - timedelta(days=ACTIVITY_DAYS), end)


def project_activity(
    period: Period,
    hours: Sequence[HourActivity],
    *,
    cost: Decimal,
    unpriced_span_count: int,
    last_trace_at: datetime | None,
    alerting_count: int,
) -> ProjectActivity:
    """From the hours of a period as of `activity_period`, in any order; empty ones may lack."""
    traces, errors = [0] * _bucket_count(period), [0] * _bucket_count(period)
    for one in hours:
        place = (one.hour - period.after) // ACTIVITY_BUCKET
        traces[place] += one.trace_count
        errors[place] += one.error_count
    buckets = [
        ActivityBucket(
            bucket=period.after + place * ACTIVITY_BUCKET,
            trace_count=traces[place],
            error_count=errors[place],
        )
        for place in range(len(traces))
    ]
    recent = [one for one in hours if one.hour >= period.before - RECENT]
    return ProjectActivity(
        period=period,
        trace_count=sum(traces),
        error_count=sum(errors),
        recent_trace_count=sum(one.trace_count for one in recent),
        recent_error_count=sum(one.error_count for one in recent),
        buckets=buckets,
        cost=cost,
        unpriced_span_count=unpriced_span_count,
        last_trace_at=last_trace_at,
        alerting_count=alerting_count,
    )


def _bucket_count(period: Period) -> int:
    return (period.before - period.after) // ACTIVITY_BUCKET
