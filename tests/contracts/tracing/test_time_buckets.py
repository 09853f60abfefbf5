"""Part of the contract of TraceAnalytics: periods with any start and end."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.tracing.analytics import BUCKETS_MAX, Granularity, Period
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    assert_analytics_match,
    fill,
    project,
    stored_traces,
)
from tests.support.hypothesis_scale import scaled

HOUR, DAY, WEEK = Granularity
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
USAGE = b'{"prompt_tokens":3,"completion_tokens":4}'


def over_two_days() -> list[Trace]:
    """Returns traces and spans in many hours, at and next to bucket edges."""
    return [
        trace(
            span(started_at=start + timedelta(minutes=20), model=f"m{n % 3}", cost={"a": 0.1}),
            span(started_at=start, token_usage=USAGE, model=None if n % 2 else ""),
            started_at=start,
            ended_at=None if n % 4 == 0 else start + timedelta(milliseconds=n * 7 + 1),
            session_id=f"s{n % 5}",
            status=TraceStatus.ERROR if n % 6 == 0 else None,
        )
        for n, start in enumerate(
            MONDAY + timedelta(hours=hours) + timedelta(microseconds=off)
            for hours, off in product((-25, -24, -2, -1, 0, 1, 23), (-1, 0, 1_800_000_000))
        )
    ]


INSTANTS = [
    MONDAY + timedelta(hours=hours, minutes=minutes, microseconds=off)
    for hours in (-26, -1, 0, 24)
    for minutes, off in ((0, 0), (0, 1), (30, 0), (59, 59_999_999))
]


async def test_period_may_start_and_end_inside_buckets(plane):
    ours, sent = project(), over_two_days()
    await fill(plane, ours, *sent)
    traces = await stored_traces(plane, ours)
    for n, (after, before) in enumerate(product(INSTANTS[::3], INSTANTS[::2])):
        await assert_analytics_match(plane, ours, Period(after, before), traces, some=n)


async def test_reversed_and_empty_periods_count_nothing(plane):
    ours = project()
    await fill(plane, ours, trace(span(model="m"), session_id="s"))
    for period in (
        Period(NOON, NOON),
        Period(at(1), NOON),
        Period(ALL_TIME.before, ALL_TIME.after),
    ):
        await assert_analytics_match(plane, ours, period, [])


async def test_another_project_is_not_counted(plane):
    ours, theirs = project(), project()
    await fill(plane, theirs, trace(span(model="m", cost={"a": 1.0}), session_id="s", user_id="u"))
    await assert_analytics_match(plane, ours, ALL_TIME, [])
    page = await plane.analytics.users(ours, ALL)
    assert (list(page.items), page.total) == ([], 0)


async def test_too_many_buckets_are_rejected_with_advice(plane):
    ours = project()
    spans = [span(started_at=at(3600 * n)) for n in range(BUCKETS_MAX + 1)]
    await fill(plane, ours, trace(*spans))
    exact = Period(NOON, at(3600 * BUCKETS_MAX))
    assert len(await plane.analytics.usage(ours, exact, HOUR)) == BUCKETS_MAX
    with pytest.raises(Invalid, match="narrow started_after and started_before"):
        await plane.analytics.usage(ours, ALL_TIME, HOUR)
    assert len(await plane.analytics.usage(ours, ALL_TIME, DAY)) <= BUCKETS_MAX // 24 + 2
    assert len(await plane.analytics.volume(ours, ALL_TIME, HOUR)) == 1


edges = strategies.edges


@settings(
    max_examples=scaled(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    starts=st.lists(st.tuples(edges, edges), max_size=5),
    periods=st.lists(st.builds(Period, edges, edges), min_size=1, max_size=3),
)
async def test_any_period_matches_the_domain(plane, starts, periods):
    ours = project()
    sent = [
        trace(
            span(started_at=step, model="m" if n % 2 else None, cost={"a": 0.1}),
            started_at=start, ended_at=step, session_id=f"s{n % 2}",
        )
        for n, (start, step) in enumerate(starts)
    ]  # fmt: skip
    await fill(plane, ours, *sent)
    settled = [one.settled(prices().price) for one in sent]
    for period in periods:
        await assert_analytics_match(plane, ours, period, settled)
