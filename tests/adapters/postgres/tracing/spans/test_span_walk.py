"""Lists of spans by start are whole, however few spans a request compares."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.tracing.span_periods import SpanPeriod, fetch_periods
from adapters.postgres.tracing.spans.span_walk import FIRST_INSTANT, LAST_INSTANT, WalkLimits
from adapters.postgres.tracing.spans.spans import PostgresSpans
from adapters.postgres.tracing.traces import PostgresTraces
from domain.errors import Invalid
from domain.ids import ProjectId
from domain.page import PageRequest, SortOrder, paginate
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.spans.span_query import SpanFilter, SpanSort, SpanSummary
from domain.tracing.trace import Trace, TraceChange
from tests.support.builders.values import NOON, prices, span, trace
from tests.support.hypothesis_scale import sampled

pytestmark = pytest.mark.service

HOUR = timedelta(hours=1)
BY_START = SpanSort.STARTED_AT
FEW = WalkLimits(spans=7, first_spans=0, step_spans=3)
LIMITS = [
    FEW,
    WalkLimits(spans=5, first_spans=4, step_spans=2),
    WalkLimits(spans=1, first_spans=0),
    WalkLimits(first_spans=3),
    WalkLimits(),
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"kind": SpanKind.TOOL},
    {"name": "step 1", "min_tokens": 50},
    {"name": "nobody"},
    {"provider": "nobody"},
    {"model": "gpt-4o", "not_kind": (SpanKind.TOOL,)},
    {"min_tokens": 90},
    {"min_tokens": 1_000},
    {"max_tokens": 20},
    {"min_latency_ms": 80_000},
    {"min_cost": 0.8, "has_error": False},
    {"max_cost": 0.1},
    {"has_error": True, "min_tokens": 30},
    {"status": SpanStatus.OK},
    {"release": "1.3"},
    {"release": "1.3", "min_tokens": 60},
    {"release": "nobody"},
    {"environment": "prod", "kind": SpanKind.LLM},
    {"user_id": "u2", "not_release": ("1.0", "1.1")},
    {"tags": ("b",)},
    {"started_after": NOON + 20 * HOUR, "started_before": NOON + 60 * HOUR, "min_tokens": 70},
]


def many(seed: int = 1) -> list[Trace]:
    """Traces of some days. Spans of each may have started hours before it and after it."""
    chance = random.Random(seed)
    made = []
    for n in range(40):
        at = NOON + timedelta(minutes=chance.choice((0, 59, 61, 300, 2_000, 6_000)) + n)
        steps = [
            span(
                name=f"step {chance.randrange(3)}",
                kind=chance.choice(list(SpanKind)),
                status=chance.choice((None, *SpanStatus)),
                started_at=(begun := at + chance.choice((0, 0, 0, 1, -3, 30)) * HOUR),
                ended_at=chance.choice((None, begun + timedelta(seconds=chance.randrange(100)))),
                model=chance.choice((None, "gpt-4o", "tiny")),
                token_usage=b'{"prompt_tokens":%d}' % chance.randrange(100),
                cost=chance.choice((None, {"total": chance.random()})),
            )
            for _ in range(chance.randrange(4))
        ]
        made.append(
            trace(
                *steps, started_at=at, release=chance.choice((None, "1.0", "1.1", "1.3")),
                environment=chance.choice((None, "prod")), user_id=chance.choice(("u1", "u2")),
                tags=chance.choice(((), ("a",), ("a", "b"))),
            )
        )  # fmt: skip
    return made


def in_domain(
    sent: Sequence[Trace], matching: SpanFilter, order: SortOrder = SortOrder.DESC
) -> list[SpanSummary]:
    whole = [one.settled(prices().price) for one in sent]
    found = [
        SpanSummary.from_span(one, step)
        for one in whole
        for step in one.spans
        if matching.matches(one, step)
    ]
    return list(paginate(found, BY_START.position, order, PageRequest(limit=1_000)).items)


async def stored(pool, *sent: Trace) -> ProjectId:
    project = ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        await asyncio.gather(*(traces.put(project, one) for one in sent))
    return project


@pytest.fixture(scope="module")
async def walked(pool) -> tuple[ProjectId, list[Trace]]:
    """A project that tests only read, and its traces."""
    sent = many()
    return await stored(pool, *sent), sent


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_pages_follow_each_other_although_requests_compare_few_spans(
    pool, walked, limits, order
):
    project, sent = walked
    spans = PostgresSpans(pool, walk_limits=limits, searched_traces_max=0)
    turn = 2 * LIMITS.index(limits) + (order is SortOrder.ASC)
    for conditions in sampled(FILTERS, len(FILTERS) // 7, turn, usually=True):
        matching, found, window = (
            SpanFilter(**conditions),
            list[SpanSummary](),
            PageRequest(limit=4),
        )
        expected = in_domain(sent, matching, order)
        while True:
            page = await spans.summaries(project, matching, BY_START, order, window)
            found += page.items
            assert page.total == len(expected) or page.total_is_at_least
            assert page.total <= len(expected)
            if page.end is None:
                break
            window = replace(window, after=page.end)
        assert found == expected, conditions


async def test_a_page_says_how_far_it_compared_spans(pool):
    one, *others = (span(started_at=NOON - n * HOUR) for n in range(9))
    project = await stored(pool, trace(replace(one, name="rare"), *others))
    spans = PostgresSpans(pool, walk_limits=FEW)
    matching, by = SpanFilter(not_status=(SpanStatus.OK,), name="rare"), (BY_START, SortOrder.ASC)
    page = await spans.summaries(project, matching, *by, PageRequest())
    assert [one.name for one in page.items] == ["rare"]  # in the only hour that has the name
    matching = SpanFilter(provider="nobody")
    page = await spans.summaries(project, matching, *by, PageRequest())
    assert (page.items, page.total, page.total_is_at_least) == ([], 0, False)  # counted to the end
    assert page.end is not None
    assert page.end.value == NOON - 2 * HOUR
    page = await spans.summaries(project, matching, *by, PageRequest(after=page.end))
    assert (page.items, page.end) == ([], None)


async def test_spans_are_counted_up_to_a_limit_or_as_far_as_they_are_shown(pool):
    project = await stored(pool, trace(*(span(started_at=NOON + n * HOUR) for n in range(12))))
    spans, by = PostgresSpans(pool, counted_max=5), (BY_START, SortOrder.DESC)
    found = [
        await spans.summaries(project, SpanFilter(), *by, PageRequest(limit=2, offset=offset))
        for offset in (0, 7)
    ]
    assert [(page.total, page.total_is_at_least) for page in found] == [(6, True), (10, True)]


async def test_an_offset_beyond_what_is_compared_is_refused(pool):
    project = await stored(pool, trace(*(span(name=f"step {n}") for n in range(9))))
    spans = PostgresSpans(pool, walk_limits=FEW)
    matching = SpanFilter(not_name=tuple(f"step {n}" for n in range(6)))
    window = PageRequest(limit=2, offset=6)
    with pytest.raises(Invalid) as refused:
        await spans.summaries(project, matching, BY_START, SortOrder.DESC, window)
    assert refused.value.errors[0].field == "query.offset"
    assert "next_cursor" in refused.value.errors[0].message


async def test_hours_without_spans_that_match_are_skipped(pool):
    steps = [span(started_at=NOON + n * HOUR, token_usage=b'{"prompt_tokens":%d}' % n)
             for n in range(5)]  # fmt: skip
    project = await stored(pool, trace(*steps))
    within = SpanPeriod(FIRST_INSTANT, LAST_INSTANT)
    async with pool.acquire() as connection:
        none = await fetch_periods(connection, project, SpanFilter(min_tokens=5), (), within)
        [last] = await fetch_periods(connection, project, SpanFilter(min_tokens=4), (), within)
        [part] = await fetch_periods(
            connection, project, SpanFilter(min_tokens=1), (), SpanPeriod(NOON, NOON + 2 * HOUR)
        )
    assert none == []
    assert (last.since, part.since) == (NOON + 4 * HOUR, NOON + HOUR)
    assert NOON + 5 * HOUR - timedelta(seconds=1) < last.until < NOON + 5 * HOUR


async def test_a_release_is_found_wherever_spans_of_its_traces_started(pool):
    far = trace(span(started_at=NOON + 90 * HOUR), span(started_at=NOON - 50 * HOUR), release="1")
    near = [trace(span(started_at=NOON + n * HOUR), started_at=NOON + n * HOUR) for n in range(9)]
    near[2] = replace(near[2], release="1")  # its spans are between those of the other
    project = await stored(pool, far, *near)
    limits = WalkLimits(spans=100, first_spans=0)
    spans = PostgresSpans(pool, walk_limits=limits, searched_traces_max=0)
    by = (BY_START, SortOrder.DESC, PageRequest())

    async def starts(release: str) -> list[Any]:
        page = await spans.summaries(project, SpanFilter(release=release), *by)
        assert page.end is None
        return [(one.started_at - NOON) / HOUR for one in page.items]

    assert await starts("1") == [90, 2, -50]
    async with PostgresTraces.open(pool, prices()) as traces:
        await traces.change(project, near[3].id, TraceChange(release="2"))
        await traces.put(project, replace(far, spans=(), started_at=NOON - 70 * HOUR))
    assert await starts("1") == [90, 2, -50]
    assert await starts("2") == [3]


@pytest.mark.parametrize("sort", [SpanSort.LATENCY, SpanSort.COST, SpanSort.TOKENS])
async def test_other_orders_are_looked_for_in_the_hours_that_may_match(pool, walked, sort):
    (project, sent), answered = walked, 0
    spans = PostgresSpans(pool, searched_traces_max=0)
    by = (sort, SortOrder.DESC, PageRequest(limit=7))
    for conditions in FILTERS[1:]:
        matching = SpanFilter(**conditions)
        expected = await spans.summaries(project, matching, *by)
        for most in (0, 10, 30, sum(len(one.spans) for one in sent) - 1):
            with suppress(Invalid):
                found = await replace(spans, sorted_among_max=most).summaries(
                    project, matching, *by
                )
                assert found == expected, conditions
                answered += 1
    assert answered > 20  # and not nearly all refused


async def test_another_order_is_refused_if_too_many_spans_would_be_compared(pool):
    project = await stored(pool, trace(*(span(started_at=NOON, provider="x") for _ in range(9))))
    spans = PostgresSpans(pool, sorted_among_max=8)
    by = (SpanSort.COST, SortOrder.DESC, PageRequest())
    assert (await spans.summaries(project, SpanFilter(min_tokens=7), *by)).total == 0
    with pytest.raises(Invalid) as refused:
        await spans.summaries(project, SpanFilter(provider="x"), *by)
    assert "would have to be compared" in refused.value.errors[0].message
