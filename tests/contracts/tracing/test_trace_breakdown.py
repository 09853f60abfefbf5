"""Part of the contract of TraceAnalytics: figures by filter, group and time zone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from domain.errors import Invalid
from domain.tracing.analytics import Granularity, Period
from domain.tracing.query import TraceFilter
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.trace_breakdown import (
    AnalyticsMetric,
    GroupKind,
    TraceAnalyticsQuery,
    TraceGroupKey,
    trace_groups,
)
from domain.tracing.usage import Usage
from tests.support.builders.values import NOON, at, span, trace
from tests.support.fixtures.data_plane import (
    ALL_TIME,
    BERLIN,
    assert_analytics_match,
    fill,
    over_postgres,
    project,
    stored_traces,
)

HOUR, DAY, WEEK = Granularity
USAGE = b'{"prompt_tokens":3,"completion_tokens":4}'
USAGES = (USAGE, b'{"prompt_tokens":5}')  # fewer tokens, but more of prompts


def varied() -> list[Trace]:
    """Returns traces with and without each value, over the change of clocks in Berlin."""
    start = datetime(2026, 3, 28, 20, tzinfo=UTC)
    return [
        trace(
            span(model=f"m{n % 3}", cost={"total": n / 10}, token_usage=USAGES[n % 4 == 1]),
            span(model=None if n % 2 else "m0", started_at=start + timedelta(hours=n, minutes=5)),
            started_at=start + timedelta(hours=n, minutes=n),
            ended_at=None if n % 5 == 0 else start + timedelta(hours=n, minutes=n, seconds=n),
            environment=[None, "prod", "staging", ""][n % 4],
            release=None if n % 3 == 0 else f"r{n % 3}",
            user_id=None if n % 7 == 0 else f"user {n % 5}",
            name=f"run {n % 2}",
            tags=("vip",) if n % 4 == 1 else (),
            status=TraceStatus.ERROR if n % 6 == 0 else None,
        )
        for n in range(40)
    ]


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"environment": "prod"},
    {"release": "r1", "tags": ("vip",)},
    {"name": "RUN 1"},
    {"model": "m2", "not_environment": ("staging",)},
    {"user_id": "nobody"},
    {"has_error": True},
)


@pytest.mark.parametrize("conditions", FILTERS, ids=str)
async def test_groups_are_those_of_the_domain(plane, conditions):
    ours = project()
    await fill(plane, ours, *varied())
    traces = await stored_traces(plane, ours)
    bounds = Period(datetime(2026, 3, 28, 22, 30, tzinfo=UTC), datetime(2026, 3, 30, 9, tzinfo=UTC))
    query = TraceAnalyticsQuery(period=bounds, matching=TraceFilter(**conditions), groups=2)
    keys = [None, *(one for one in TraceGroupKey if one is not TraceGroupKey.MODEL)]
    metrics = [one for one in AnalyticsMetric if one is not AnalyticsMetric.MODELS]
    for by, metric in product(keys, metrics):
        zone = BERLIN if metric is AnalyticsMetric.COST else UTC
        asked = replace(query, by=by, metric=metric, zone=zone)
        assert await plane.analytics.groups(ours, asked) == trace_groups(traces, asked)


async def test_days_of_a_zone_are_counted_from_hours(plane):
    ours = project()
    await fill(plane, ours, *varied())
    traces = await stored_traces(plane, ours)
    for after, before in ((0, 30), (22, 44), (23, 24), (24, 23)):
        start = datetime(2026, 3, 28, tzinfo=UTC)
        bounds = Period(start + timedelta(hours=after), start + timedelta(hours=before, seconds=7))
        await assert_analytics_match(plane, ours, bounds, traces)
    day = Period(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    [found] = await plane.analytics.volume(ours, day, DAY, BERLIN)
    assert (found.bucket, found.trace_count) == (day.after, 23)


async def test_zone_within_an_hour_is_refused(plane):
    ours, zone = project(), ZoneInfo("Asia/Kolkata")
    bounds = Period(NOON, at(3600 * 48))
    query = TraceAnalyticsQuery(period=bounds, zone=zone, by=TraceGroupKey.NAME)
    for read in (
        plane.analytics.volume(ours, bounds, DAY, zone),
        plane.analytics.usage(ours, bounds, WEEK, zone),
        plane.analytics.model_usage(ours, bounds, DAY, zone),
        plane.analytics.groups(ours, query),
    ):
        with pytest.raises(Invalid, match="hour of UTC"):
            await read
    assert await plane.analytics.volume(ours, bounds, HOUR, zone) == []


async def test_cached_and_reasoning_tokens_are_summed_with_what_is_priced(plane):
    def cached(**fields: Any) -> Span:
        usage = Usage(10, 5, True, 4, 1, 3)
        return replace(span(token_usage=USAGE, **fields), usage=usage)

    ours = project()
    await fill(
        plane, ours,
        trace(cached(model="m", cost={"total": 0.5}), cached(model="unknown"), span()),
        trace(cached(model="m", started_at=at(3600), cost={"total": 0.0})),
    )  # fmt: skip
    for bounds in (ALL_TIME, Period(at(-60), at(3660))):  # by roll-up, and within hours by span
        [first, second] = await plane.analytics.usage(ours, bounds, HOUR)
        assert (first.cached_tokens, first.reasoning_tokens) == (8, 6)
        assert (first.priced, first.unpriced) == (1, 1)
        assert (second.cached_tokens, second.priced, second.unpriced) == (4, 1, 0)
        by_model = await plane.analytics.model_usage(ours, bounds, DAY)
        assert {model: one[0].cached_tokens for model, one in by_model.items()} == {
            "m": 8,
            "unknown": 4,
            None: 0,
        }
    [stored] = [one for one in await stored_traces(plane, ours) if len(one.spans) == 3]
    known = {one.model: one.usage.reasoning_tokens for one in stored.spans if one.usage}
    assert known == {"m": 3, "unknown": 3, None: 0}


@pytest.mark.service
async def test_more_traces_than_are_read_are_refused(pool):
    ours, query = project(), TraceAnalyticsQuery(period=ALL_TIME, by=TraceGroupKey.NAME)
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace() for _ in range(3)))
    assert len(await PostgresTraceAnalytics(pool, read_max=3).groups(ours, query)) == 1
    with pytest.raises(Invalid, match="2 is the most"):
        await PostgresTraceAnalytics(pool, read_max=2).groups(ours, query)


async def test_another_project_has_no_groups(plane):
    ours, theirs = project(), project()
    await fill(plane, theirs, *varied())
    query = TraceAnalyticsQuery(period=ALL_TIME, by=TraceGroupKey.NAME)
    assert await plane.analytics.groups(ours, query) == []
    assert await plane.analytics.model_usage(ours, ALL_TIME, DAY) == {}
    assert [one.kind for one in await plane.analytics.groups(theirs, query)] == [
        GroupKind.VALUE,
        GroupKind.VALUE,
    ]
