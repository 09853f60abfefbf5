"""Buckets of time zones, and figures of traces by group."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.tracing.analytics import BUCKETS_MAX, Granularity, Period, UsageBucket, bucket_edges
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.trace_breakdown import (
    READ_TRACES_MAX,
    AnalyticsMetric,
    GroupKind,
    TraceAnalyticsQuery,
    TraceGroupKey,
    check_trace_count,
    filled,
    no_usage,
    trace_groups,
    usage_groups,
)
from tests.support.builders.values import NOON, at, prices, span, trace

PRICE = prices().price
HOUR, DAY, WEEK = Granularity
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Pacific/Apia"),
    *("Asia/Tokyo", "Atlantic/Azores"),
]
instants = st.datetimes(datetime(2009, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))


def period(first: str, last: str) -> Period:
    return Period(*(datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (first, last)))


@given(st.sampled_from(ZONES), st.sampled_from([DAY, WEEK]), instants)
def test_a_bucket_has_the_instants_of_its_local_days(zone, granularity, instant):
    zone = ZoneInfo(zone)
    start = granularity.bucket(instant, zone)
    assert start <= instant
    local, first = instant.astimezone(zone), start.astimezone(zone)
    days = local.weekday() if granularity is WEEK else 0
    assert first.date() == local.date() - timedelta(days=days)
    # Nothing before the start is of its day.
    assert (start - timedelta(microseconds=1)).astimezone(zone).date() < first.date()
    assert granularity.bucket(start, zone) == start


@given(st.sampled_from(ZONES), st.sampled_from(Granularity), instants, st.integers(1, 9_000_000))
def test_edges_are_the_starts_of_all_buckets_of_a_period(zone, granularity, after, seconds):
    zone, before = ZoneInfo(zone), after + timedelta(seconds=seconds)
    edges = bucket_edges(Period(after, before), granularity, zone)
    assert edges[0] <= after < edges[1]
    assert edges[-2] < before <= edges[-1]
    for start, end in pairwise(edges):
        assert granularity.bucket(start, zone) == start
        assert granularity.bucket(end - timedelta(microseconds=1), zone) == start


def test_days_have_23_to_25_hours_where_clocks_change():
    edges = bucket_edges(period("2026-03-28T23:00", "2026-03-30T22:00"), DAY, BERLIN)
    assert [end - start for start, end in pairwise(edges)] == [
        timedelta(hours=23),
        timedelta(hours=24),
    ]
    [start, end] = bucket_edges(period("2026-10-24T22:00", "2026-10-25T23:00"), DAY, BERLIN)
    assert end - start == timedelta(hours=25)


@pytest.mark.parametrize("name", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Adelaide"])
def test_days_that_start_within_an_hour_of_utc_are_refused(name):
    zone, march = ZoneInfo(name), period("2026-03-01", "2026-03-08")
    for granularity in (DAY, WEEK):
        with pytest.raises(Invalid, match="hour of UTC"):
            bucket_edges(march, granularity, zone)
    assert len(bucket_edges(march, HOUR, zone)) == 7 * 24 + 1


def test_edges_have_bounds():
    assert bucket_edges(Period(NOON, NOON), DAY) == []
    assert len(bucket_edges(Period(NOON, at(3600 * BUCKETS_MAX)), HOUR)) == BUCKETS_MAX + 1
    with pytest.raises(Invalid, match="narrow started_after"):
        bucket_edges(Period(NOON, at(3600 * BUCKETS_MAX + 1)), HOUR)
    first = datetime(1, 1, 1, tzinfo=UTC)
    with pytest.raises(Invalid, match="first or last year"):
        bucket_edges(Period(first, first + timedelta(days=1)), DAY, timezone(timedelta(hours=-5)))


def some_traces() -> list[Trace]:
    def of(release: str | None, cost: float, *, fails: bool = False, after: float = 0) -> Trace:
        status = TraceStatus.ERROR if fails else None
        paid = span(cost={"total": cost})
        return trace(paid, release=release, status=status, started_at=at(after)).settled(PRICE)

    return [
        *(of("a", 0.1) for _ in range(3)),
        of("b", 5, after=3600),
        of(None, 1, fails=True),
        of(None, 1, fails=True),
        of("c", 0.5),
    ]


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        (AnalyticsMetric.VOLUME, ["a", None]),
        (AnalyticsMetric.LATENCY, ["a", None]),
        (AnalyticsMetric.ERRORS, [None, "a"]),
        (AnalyticsMetric.COST, ["b", None]),
        (AnalyticsMetric.TOKENS, ["a", "b"]),
    ],
)
def test_groups_are_ranked_by_the_metric_and_the_rest_is_one(metric, shown):
    query = TraceAnalyticsQuery(
        period=Period(NOON, at(7200)), metric=metric, by=TraceGroupKey.RELEASE, groups=2
    )
    *known, other = trace_groups(some_traces(), query)
    assert [one.key for one in known] == shown
    assert [one.kind for one in known] == [
        GroupKind.NONE if key is None else GroupKind.VALUE for key in shown
    ]
    assert (other.kind, other.key, other.count) == (GroupKind.OTHER, None, 2)
    for one in (*known, other):
        assert sum(cell.traces.trace_count for cell in one.buckets) == one.total.traces.trace_count
        assert sum(cell.usage.cost for cell in one.buckets) == one.total.usage.cost
    total = sum(one.total.traces.trace_count for one in (*known, other))
    assert total == len(some_traces())


def test_groups_of_traces_do_not_know_what_only_models_have():
    query = TraceAnalyticsQuery(period=Period(NOON, at(7200)))
    [everything] = trace_groups(some_traces(), query)
    assert (everything.kind, everything.count) == (GroupKind.ALL, 1)
    usage = everything.total.usage
    assert (usage.priced, usage.cached_tokens, usage.reasoning_tokens) == (None, None, None)
    assert trace_groups([], query) == []


def test_usage_of_other_models_is_summed_by_bucket():
    def used(bucket: datetime, cost: int, tokens: int = 1) -> UsageBucket:
        return UsageBucket(
            bucket, tokens, 0, Decimal(cost), unpriced=1, priced=2, cached_tokens=3,
            reasoning_tokens=4,
        )  # fmt: skip

    query = TraceAnalyticsQuery(
        period=Period(NOON, at(7200)), metric=AnalyticsMetric.COST, groups=1
    )
    by_model = {
        "dear": [used(NOON, 9)], "cheap": [used(NOON, 1), used(at(3600), 1)],
        None: [used(at(3600), 2, 50)],
    }  # fmt: skip
    first, other = usage_groups(by_model, query)
    assert (first.kind, first.key) == (GroupKind.VALUE, "dear")
    assert (other.kind, other.count) == (GroupKind.OTHER, 2)
    assert [(one.bucket, one.cost, one.cached_tokens) for one in other.buckets] == [
        (NOON, 1, 3),
        (at(3600), 3, 6),
    ]
    assert (other.total.cost, other.total.tokens, other.total.priced) == (4, 52, 6)
    by_tokens = usage_groups(by_model, TraceAnalyticsQuery(period=query.period, metric=TOKENS))
    assert (by_tokens[0].kind, by_tokens[0].key) == (GroupKind.NONE, None)


TOKENS = AnalyticsMetric.TOKENS


def test_missing_buckets_are_filled_in_order():
    known = UsageBucket(at(3600), 1, 2, Decimal(3))
    found = filled([known], [NOON, at(3600), at(7200)], no_usage)
    assert found == [no_usage(NOON), known, no_usage(at(7200))]


def test_more_traces_than_are_read_are_refused():
    check_trace_count(READ_TRACES_MAX)
    with pytest.raises(Invalid, match="narrow the period"):
        check_trace_count(READ_TRACES_MAX + 1)
