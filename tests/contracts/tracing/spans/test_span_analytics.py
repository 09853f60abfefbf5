"""Figures of spans, run against every adapter. Part of the contract of Spans."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from adapters.postgres.tracing.spans.spans import PostgresSpans
from domain.errors import Invalid
from domain.ids import ProjectId
from domain.tracing.analytics import BUCKETS_MAX, Period
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.spans.span_analytics import (
    SpanAnalytics,
    SpanAnalyticsQuery,
    SpanGroupKey,
    SpanGroupSort,
    SpanInterval,
    analyze_spans,
)
from domain.tracing.spans.span_query import SpanFilter
from domain.tracing.trace import Trace
from domain.tracing.usage import UsageRole
from tests.support.builders.values import NOON, at, prices, span, trace
from tests.support.fixtures.data_plane import (
    ALL_TIME,
    DataPlane,
    fill,
    over_postgres,
    project,
    stored_traces,
)
from tests.support.hypothesis_scale import crossed

ERROR = SpanStatus.ERROR
HOUR = 3_600
PERIODS = [
    ALL_TIME,
    Period(at(-HOUR), at(30 * HOUR)),
    Period(at(HOUR / 2), at(25 * HOUR + 7)),
    Period(at(100), at(200)),
    Period(at(5), at(5)),
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"kind": SpanKind.LLM},
    {"name": "tool 1", "model": None},
    {"name": "order <id>"},
    {"name": "order 123456789"},
    {"model": "gpt-4o", "kind": SpanKind.LLM},
    {"model": ""},
    {"has_error": True},
    {"has_error": False},
    {"min_latency_ms": 200},
    {"user_id": "u"},
    {"release": "2", "status": SpanStatus.OK},
    {"environment": "nowhere"},
    {"not_kind": (SpanKind.LLM,), "not_model": ("gpt-4o", "")},
    {"not_name": ("tool 1", "order 123456794"), "kind": SpanKind.TOOL},
    {"not_name": ("tool 2",)},
    {"not_model": ("unlisted",), "not_release": ("2",)},
]


def varied() -> list[Trace]:
    """Spans of two days in many groups; some without an end, a model or tokens."""

    def step(n: int) -> Span:
        start = at(n * HOUR * 0.7)
        return span(
            name=f"tool {n % 4}" if n % 5 else f"order {123456789 + n}",
            kind=list(SpanKind)[n % 4],
            status=ERROR if n % 6 == 0 else SpanStatus.OK,
            error=f"no answer in {n} s" if n % 12 == 0 else "refused" if n % 6 == 0 else None,
            started_at=start,
            ended_at=None if n % 7 == 0 else start + timedelta(microseconds=9 * 3 ** (n % 19)),
            model=[None, "gpt-4o", "unlisted", ""][n % 4],
            token_usage=b'{"prompt_tokens":10,"completion_tokens":3}' if n % 3 else None,
            usage_role=UsageRole.DUPLICATE if n % 8 == 5 else None,
        )

    spans = [step(n) for n in range(60)]
    return [
        trace(*spans[:20], user_id="u", release="1"),
        trace(*spans[20:40], release="2"),
        trace(*spans[40:], session_id="s"),
    ]


async def figures(
    plane: DataPlane, project_id: ProjectId, period: Period = ALL_TIME, **asked: Any
) -> SpanAnalytics:
    fields = {"matching": SpanFilter(), "group_by": SpanGroupKey.NAME} | asked
    return await plane.tracing.spans.analytics(
        project_id, SpanAnalyticsQuery(period=period, **fields)
    )


def in_domain(sent: list[Trace], period: Period, **asked: Any) -> SpanAnalytics:
    fields = {"matching": SpanFilter(), "group_by": SpanGroupKey.NAME} | asked
    settled = [one.settled(prices().price) for one in sent]
    return analyze_spans(settled, SpanAnalyticsQuery(period=period, **fields))


@pytest.mark.parametrize(("group_by", "interval"), crossed(list(SpanGroupKey), list(SpanInterval)))
async def test_figures_are_those_of_the_domain(plane, group_by, interval):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    # Each case gives a filter another period: some have no whole hour, which roll-ups are read for.
    turn = [*SpanGroupKey].index(group_by) + [*SpanInterval].index(interval)
    periods = [PERIODS[(n + turn) % len(PERIODS)] for n in range(len(PERIODS))]
    for conditions, period in crossed(FILTERS, periods):
        asked = {
            "group_by": group_by,
            "interval": interval,
            "matching": SpanFilter(**conditions),
            "groups": 3,
        }
        found = await figures(plane, ours, period, **asked)
        assert found == in_domain(sent, period, **asked), (period, conditions)


async def test_groups_are_ranked_and_the_rest_is_put_together(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    for sort in SpanGroupSort:
        found = await figures(plane, ours, sort=sort, groups=2)
        assert found == in_domain(sent, ALL_TIME, sort=sort, groups=2)
        assert len(found.groups) == 2
        assert found.other is not None
        parts = (*found.groups, found.other)
        assert sum(one.total.spans for one in parts) == found.total.total.spans == 60
        assert sum(one.group_count for one in parts) == found.total.group_count == 5


async def test_which_tool_fails_most(plane):
    ours = project()
    await fill(plane, ours, trace(
        *(span(name="search", kind=SpanKind.TOOL, status=ERROR if n else None) for n in range(4)),
        *(span(name="fetch", kind=SpanKind.TOOL, status=None if n else ERROR) for n in range(9)),
        span(name="plan", kind=SpanKind.LLM, status=ERROR),
    ))  # fmt: skip
    tools = SpanFilter(kind=SpanKind.TOOL)
    found = await figures(plane, ours, matching=tools, sort=SpanGroupSort.ERROR_RATE)
    rates = [(one.key, one.total.errors, one.total.error_rate) for one in found.groups]
    assert rates == [("search", 3, 0.75), ("fetch", 1, 1 / 9)]
    assert found.other is None


async def test_daily_cost_comes_with_the_count_of_unpriced_spans(plane):
    ours, usage = project(), b'{"prompt_tokens":1000}'
    spans = [
        span(model=model, kind=SpanKind.LLM, token_usage=usage, started_at=at(day * 24 * HOUR))
        for day, model in ((0, "gpt-4o"), (0, "gpt-4o"), (1, "gpt-4o"), (1, "house"))
    ]
    await fill(plane, ours, trace(*spans))
    found = await figures(
        plane, ours, group_by=SpanGroupKey.MODEL, interval=SpanInterval.DAY,
        sort=SpanGroupSort.COST,
    )  # fmt: skip
    listed, house = found.groups
    assert [one.figures.cost for one in listed.buckets] == [Decimal("0.005"), Decimal("0.0025")]
    assert (house.key, house.total.cost, house.total.unpriced) == ("house", 0, 1)
    assert [one.bucket for one in listed.buckets] == [
        NOON.replace(hour=0) + timedelta(days=day) for day in (0, 1)
    ]


async def test_percentiles_are_near_those_of_the_latencies(plane):
    ours = project()
    spans = [span(ended_at=at(n / 1_000)) for n in range(1, 1_001)]
    await fill(plane, ours, trace(*spans, span()))
    [group] = (await figures(plane, ours)).groups
    for share, exact in ((0.5, 500.0), (0.95, 950.0), (0.99, 990.0)):
        assert group.total.latency_percentile_ms(share) == pytest.approx(exact, rel=0.06)
    assert (group.total.spans, group.total.latencies) == (1_001, 1_000)
    assert group.total.mean_latency_ms == 500.5


async def test_errors_have_patterns(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    found = await figures(plane, ours, group_by=SpanGroupKey.ERROR, interval=SpanInterval.WEEK)
    assert {one.label for one in found.groups} == {"no answer in <number> s", "refused"}
    assert all(one.total.error_rate == 1 for one in found.groups)
    matching = SpanFilter(has_error=False)
    assert (await figures(plane, ours, group_by=SpanGroupKey.ERROR, matching=matching)).groups == []


async def test_changes_and_deletions_are_counted(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    await plane.traces.delete(ours, [sent[1].id])
    one = sent[0].spans[3]
    await plane.traces.change_span(
        ours, sent[0].id, one.id,
        SpanChange(name="renamed", status=ERROR, ended_at=one.started_at + timedelta(hours=30)),
    )  # fmt: skip
    left = await stored_traces(plane, ours)
    for group_by in SpanGroupKey:
        found = await figures(plane, ours, group_by=group_by)
        query = SpanAnalyticsQuery(matching=SpanFilter(), period=ALL_TIME, group_by=group_by)
        assert found == analyze_spans(left, query)
    assert "renamed" in {one.key for one in (await figures(plane, ours)).groups}


async def test_another_project_sees_nothing(plane):
    ours, theirs = project(), project()
    await fill(plane, ours, *varied())
    for group_by, conditions in product(SpanGroupKey, ({}, {"user_id": "u"})):
        asked = {"group_by": group_by, "matching": SpanFilter(**conditions)}
        found = await figures(plane, theirs, **asked)
        assert (found.groups, found.other, found.total.total.spans) == ([], None, 0)


# Writing so much takes the memory adapter seconds, and the domain's own tests have the limit.
@pytest.mark.parametrize(
    "adapter",
    [
        pytest.param("memory", marks=pytest.mark.exhaustive),
        pytest.param("postgres", marks=pytest.mark.service),
    ],
    indirect=True,
)
@pytest.mark.slow
async def test_too_many_buckets_are_refused(plane):
    ours = project()
    steps = [span(started_at=at(n * HOUR)) for n in range(BUCKETS_MAX + 1)]
    await fill(plane, ours, trace(*steps))
    with pytest.raises(Invalid):
        await figures(plane, ours, interval=SpanInterval.HOUR)
    assert (await figures(plane, ours, interval=SpanInterval.DAY)).total.total.spans == len(steps)


@pytest.mark.service
async def test_more_spans_than_are_read_are_refused(pool):
    ours, matching = project(), SpanFilter(has_error=True)
    async with over_postgres(pool) as plane:
        await fill(plane, ours, trace(*(span(status=ERROR, model="m") for _ in range(3))))
    for group_by in (SpanGroupKey.KIND, SpanGroupKey.MODEL, SpanGroupKey.ERROR):
        query = SpanAnalyticsQuery(matching=matching, period=ALL_TIME, group_by=group_by)
        three, two = (PostgresSpans(pool, read_max=most, searched_traces_max=0) for most in (3, 2))
        assert (await three.analytics(ours, query)).total.total.spans == 3
        with pytest.raises(Invalid):
            await two.analytics(ours, query)


async def test_sums_have_no_bounds(plane):
    ours = project()
    huge = b'{"prompt_tokens":9007199254740991,"completion_tokens":9007199254740991}'
    sent = [trace(*(span(token_usage=huge, cost={"total": 1e6}) for _ in range(3)))] * 2
    sent = [replace(one, id=trace().id) for one in sent]
    await fill(plane, ours, *sent)
    found = await figures(plane, ours)
    assert found.total.total.tokens == 12 * (2**53 - 1)
    assert found == in_domain(sent, ALL_TIME)
