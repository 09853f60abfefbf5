"""Lists of sessions are whole, however few traces a request compares."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.postgres.tracing.session_id_walk import IdWalkLimits
from adapters.postgres.tracing.session_walk import SessionWalkLimits
from adapters.postgres.tracing.sessions import PostgresSessions
from adapters.postgres.tracing.traces import PostgresTraces
from adapters.postgres.tracing.writes.edits import TraceEdits
from domain.ids import ProjectId
from domain.page import PageRequest, Position, SortOrder, paginate
from domain.tracing.session import SessionFilter, SessionSort, SessionSummary, sessions_of
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders.values import NOON, prices, span, trace
from tests.support.hypothesis_scale import sampled

pytestmark = pytest.mark.service

HOUR = timedelta(hours=1)
NEWEST = (SessionSort.RECENT, SortOrder.DESC)
LIMITS = [
    SessionWalkLimits(grouped=0, grouped_by_sum=0, traces=1, sessions=2, least_step=1, counted=2),
    SessionWalkLimits(grouped=0, grouped_by_sum=0, traces=7, sessions=9, least_step=3, counted=4),
    SessionWalkLimits(grouped=0, grouped_by_sum=0, least_step=2),
    SessionWalkLimits(grouped=0, grouped_by_sum=0),
]
FILTERS: list[dict[str, Any]] = [
    {"tags": ("a",)},
    {"tags": ("a", "b")},
    {"tags": ("c",)},
    {"user_id": "u1"},
    {"user_id": "u1", "tags": ("b",)},
    {"not_tags": ("a",)},
    {"not_user_id": ("u1",), "has_error": False},
    {"tags": ("a",), "has_error": True},
    {"user_id": "u2", "has_failed_span": True},
    {"tags": ("a",), "query": "1"},
    {"user_id": "u1", "started_after": NOON + 3 * HOUR},
    {"tags": ("a",), "started_before": NOON + 5 * HOUR},
    {"not_tags": ("c",), "started_after": NOON + HOUR, "started_before": NOON + 7 * HOUR},
]


def many(seed: int) -> list[Trace]:
    """Traces of sessions that overlap: some last for hours, and many instants are equal."""
    chance = random.Random(seed)
    made = []
    for _ in range(60):
        at = NOON + chance.randrange(10) * HOUR
        ended = chance.choice((None, at, at + HOUR, at + chance.randrange(9) * HOUR, at - HOUR))
        failed = span(
            started_at=at, status=chance.choice((None, "ERROR")), cost={"total": chance.random()}
        )
        made.append(
            trace(
                *(failed,)[: chance.randrange(2)], started_at=at, ended_at=ended,
                session_id=chance.choice((None, "", *(f"s{n}" for n in range(20)))),
                user_id=chance.choice((None, "u1", "u1", "u2")),
                tags=chance.choice(((), ("a",), ("a", "b"), ("b",), ("c",))),
                status=chance.choice((None, TraceStatus.ERROR, None)),
            )
        )  # fmt: skip
    return made


async def stored(pool, sent: Sequence[Trace]) -> ProjectId:
    project = ProjectId(uuid.uuid4())
    async with PostgresTraces.open(pool, prices()) as traces:
        await asyncio.gather(*(traces.put(project, one) for one in sent))
    return project


def in_domain(
    sent: Sequence[Trace],
    matching: SessionFilter,
    sort: SessionSort,
    order: SortOrder = SortOrder.DESC,
) -> list[SessionSummary]:
    found = sessions_of([one.settled(prices().price) for one in sent], matching)
    return list(paginate(found, sort.position, order, PageRequest(limit=1_000)).items)


@pytest.fixture(scope="module")
async def walked(pool) -> tuple[ProjectId, list[Trace]]:
    """A project that tests only read, and its traces."""
    sent = many(seed=1)
    return await stored(pool, sent), sent


@pytest.mark.parametrize("sort", SessionSort)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_pages_follow_each_other_although_requests_compare_few_traces(
    pool, walked, limits, sort
):
    order = (sort, SortOrder.DESC)
    project, sent = walked
    sessions = PostgresSessions(pool, TraceEdits(pool, prices()), walk_limits=limits)
    turn = len(SessionSort) * LIMITS.index(limits) + list(SessionSort).index(sort)
    for conditions in sampled(FILTERS, len(FILTERS) // 8, turn, usually=True):
        matching, found = SessionFilter(**conditions), list[SessionSummary]()
        expected, window = in_domain(sent, matching, sort), PageRequest(limit=3)
        while True:
            page = await sessions.summaries(project, matching, *order, window)
            found += page.items
            assert page.total == len(expected) or page.total_is_at_least, conditions
            assert page.total <= len(expected), conditions
            if page.end is None:
                break
            window = replace(window, after=page.end)
        assert found == expected, conditions
        for offset in range(1, len(expected) + 2, 2):  # reached, whatever it takes
            window = PageRequest(limit=3, offset=offset)
            page = await sessions.summaries(project, matching, *order, window)
            assert list(page.items) == expected[offset : offset + 3], (conditions, offset)


@pytest.mark.parametrize("sort", SessionSort)
async def test_sessions_of_a_period_are_whole_and_counted(pool, walked, sort):
    """Sessions begin, go on and end at each hour. The roll-up has hours."""
    project, sent = walked
    sessions, half = PostgresSessions(pool, TraceEdits(pool, prices())), HOUR / 2
    instants = [None, NOON - HOUR, *(NOON + n * half for n in (0, 1, 4, 7, 12, 18, 40))]
    turn = list(SessionSort).index(sort)
    for n, after in enumerate(instants):
        others = [one for one in instants if (one, after) != (None, None)]
        for before in sampled(others, 3, turn + n, usually=True):
            matching = SessionFilter(started_after=after, started_before=before)
            for order in SortOrder:
                by = (sort, order, PageRequest(limit=100))
                page = await sessions.summaries(project, matching, *by)
                expected = in_domain(sent, matching, sort, order)
                assert list(page.items) == expected, (after, before)
                assert (page.total, page.total_is_at_least) == (len(expected), False)


async def test_a_page_says_how_far_traces_were_compared(pool):
    sent = [
        trace(session_id=f"s{n}", started_at=NOON - n * HOUR, tags=("a", "b") if n > 4 else ("a",))
        for n in range(8)
    ]
    project = await stored(pool, sent)
    limits = SessionWalkLimits(grouped=0, grouped_by_sum=0, traces=4, least_step=2)
    sessions = PostgresSessions(pool, TraceEdits(pool, prices()), walk_limits=limits)
    matching = SessionFilter(tags=("b",))
    page = await sessions.summaries(project, matching, *NEWEST, PageRequest())
    assert (page.items, page.end) == ([], Position(NOON - 3 * HOUR, ""))
    page = await sessions.summaries(project, matching, *NEWEST, PageRequest(after=page.end))
    assert [one.id for one in page.items] == ["s5", "s6", "s7"]


ID_LIMITS = [
    IdWalkLimits(counted=0, all_compared=0, compared=1, least_step=1),
    IdWalkLimits(counted=0, all_compared=0, compared=7, least_step=2),
    IdWalkLimits(counted=0, all_compared=0, least_step=3),
    IdWalkLimits(counted=0, tried=5, least_step=2),
    IdWalkLimits(counted=0),
]


@pytest.fixture(scope="module")
async def named(pool) -> tuple[ProjectId, list[Trace]]:
    """As `walked`, with ids that are hard to compare."""
    ids = ("Straße 1", "STRASSE 2", "\u212aelvin", "100%_", "S1S", "ﬁn")
    others = (trace(session_id=one, started_at=NOON + n * HOUR) for n, one in enumerate(ids))
    sent = [*many(seed=2), *others]
    return await stored(pool, sent), sent


@pytest.mark.parametrize("order", SortOrder)
@pytest.mark.parametrize("limits", ID_LIMITS, ids=str)
async def test_pages_by_a_part_of_the_id_are_whole_although_few_ids_are_compared(
    pool, named, limits, order
):
    project, sent = named
    sessions = PostgresSessions(pool, TraceEdits(pool, prices()), id_walk_limits=limits)
    turn = 2 * ID_LIMITS.index(limits) + list(SortOrder).index(order)
    parts = ("s", "S1", "ss", "strasse", "k", "%", "_", "fi", "nowhere")
    for part in sampled(parts, 4, turn, usually=True):
        matching, found = SessionFilter(query=part), list[SessionSummary]()
        expected = in_domain(sent, matching, SessionSort.RECENT, order)
        window = PageRequest(limit=3)
        while True:
            page = await sessions.summaries(project, matching, SessionSort.RECENT, order, window)
            found += page.items
            assert page.total == len(expected) or page.total_is_at_least, part
            assert page.total <= len(expected), part
            if page.end is None:
                break
            window = replace(window, after=page.end)
        assert found == expected, part
        for offset in range(1, len(expected) + 2, 2):
            window = PageRequest(limit=3, offset=offset)
            page = await sessions.summaries(project, matching, SessionSort.RECENT, order, window)
            assert list(page.items) == expected[offset : offset + 3], (part, offset)


async def test_a_page_says_how_far_ids_were_compared(pool):
    sent = [trace(session_id=f"s{n}", started_at=NOON - n * HOUR) for n in range(8)]
    project = await stored(pool, sent)
    limits = IdWalkLimits(counted=0, all_compared=7, compared=4)
    sessions = PostgresSessions(pool, TraceEdits(pool, prices()), id_walk_limits=limits)
    matching = SessionFilter(query="7")
    page = await sessions.summaries(project, matching, *NEWEST, PageRequest())
    assert (page.items, page.end) == ([], Position(NOON - 3 * HOUR, "s3"))
    page = await sessions.summaries(project, matching, *NEWEST, PageRequest(after=page.end))
    assert [one.id for one in page.items] == ["s7"]
    whole = replace(sessions, id_walk_limits=replace(limits, all_compared=8))
    page = await whole.summaries(project, matching, *NEWEST, PageRequest())
    assert ([one.id for one in page.items], page.total) == (["s7"], 1)
    assert not page.total_is_at_least
