"""Time buckets, periods, and percentiles."""

import statistics
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.tracing.analytics import (
    BUCKETS_MAX,
    Granularity,
    Latencies,
    Period,
    check_bucket_count,
    percentile,
)
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at

HOUR, DAY, WEEK = Granularity
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
"""NOON is on the Sunday before it."""


# --- buckets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granularity", "instant", "bucket"),
    [
        (HOUR, NOON, NOON),
        (HOUR, NOON - timedelta(microseconds=1), NOON - timedelta(hours=1)),
        (HOUR, NOON + timedelta(minutes=59, seconds=59, microseconds=999_999), NOON),
        (DAY, NOON, datetime(2026, 3, 1, tzinfo=UTC)),
        (DAY, MONDAY - timedelta(microseconds=1), datetime(2026, 3, 1, tzinfo=UTC)),
        (DAY, MONDAY, MONDAY),
        (WEEK, MONDAY, MONDAY),
        (WEEK, MONDAY + timedelta(days=7, microseconds=-1), MONDAY),
        (WEEK, MONDAY - timedelta(microseconds=1), datetime(2026, 2, 23, tzinfo=UTC)),
        (WEEK, NOON, datetime(2026, 2, 23, tzinfo=UTC)),
        (WEEK, datetime(2027, 1, 1, 5, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC)),
        *((granularity, FIRST, FIRST) for granularity in Granularity),
        (HOUR, LAST, datetime(9999, 12, 31, 23, tzinfo=UTC)),
        (DAY, LAST, datetime(9999, 12, 31, tzinfo=UTC)),
        (WEEK, LAST, datetime(9999, 12, 27, tzinfo=UTC)),
    ],
)
def test_bucket_starts_on_hour_midnight_or_monday(granularity, instant, bucket):
    assert granularity.bucket(instant) == bucket


LENGTHS = {HOUR: timedelta(hours=1), DAY: timedelta(days=1), WEEK: timedelta(days=7)}


@given(strategies.instants, st.sampled_from(Granularity))
def test_bucket_contains_its_instant_and_is_idempotent(instant, granularity):
    bucket = granularity.bucket(instant)
    assert timedelta(0) <= instant - bucket < LENGTHS[granularity]
    assert granularity.bucket(bucket) == bucket
    assert granularity is not WEEK or bucket.isoweekday() == 1


def test_period_end_is_exclusive():
    period = Period(NOON, at(1))
    assert [period.includes(at(seconds)) for seconds in (-0.000001, 0, 0.999999, 1)] == [
        *(False, True, True, False),
    ]
    assert not Period(at(1), NOON).includes(at(0.5))
    assert not Period(NOON, NOON).includes(NOON)


def test_bucket_count_is_limited():
    assert len(check_bucket_count(range(BUCKETS_MAX))) == BUCKETS_MAX
    with pytest.raises(Invalid, match="narrow started_after and started_before") as raised:
        check_bucket_count(range(BUCKETS_MAX + 1))
    assert raised.value.errors


# --- percentiles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([7.0], 0.99, 7.0),
        ([100.0, 200.0], 0.5, 150.0),
        ([100.0, 200.0], 0.9, 190.0),
        ([100.0, 200.0], 0.99, 199.0),
        ([1.0, 2.0, 4.0], 0.5, 2.0),
        ([0.0, 10.0, 20.0, 30.0], 0.9, 27.0),
        ([1.0, 2.0], 0.0, 1.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([-5.0, 5.0], 0.5, 0.0),
    ],
)
def test_percentile_lies_between_two_nearest_ranks(values, share, found):
    assert percentile(values, share) == pytest.approx(found)


latencies = st.lists(st.integers(-(10**12), 10**12), min_size=2, max_size=50)


@given(latencies)
def test_percentiles_are_those_of_the_inclusive_method(values):
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    found = Latencies.from_microseconds(values)
    expected = [cuts[49] / 1_000, cuts[89] / 1_000, cuts[98] / 1_000]
    assert [found.p50, found.p90, found.p99] == pytest.approx(expected)
    assert found.mean == pytest.approx(statistics.fmean(values) / 1_000)


@given(latencies, st.randoms(use_true_random=False))
def test_percentiles_are_monotonic_and_ignore_order(values, chance):
    found = Latencies.from_microseconds(values)
    low, high = min(values) / 1_000, max(values) / 1_000
    assert low <= found.p50 <= found.p90 <= found.p99 <= high
    chance.shuffle(values)
    assert Latencies.from_microseconds(values) == found


def test_percentiles_of_equal_latencies_are_equal():
    assert Latencies.from_microseconds([1100] * 7) == Latencies(7, 1.1, 1.1, 1.1, 1.1)
