"""Reading traces and sessions."""

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemorySessions, MemoryTraces
from application.tracing.read import ListSessions, ListTraces, ReadSession, ReadTrace
from domain.errors import NotFound, Unavailable
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.span import SpanStatus
from domain.tracing.trace import Trace, TraceStatus, TraceSummary
from tests.support.builders.values import OURS, THEIRS, at, prices, span, trace, trace_id

RECENT = (TraceSort.STARTED_AT, SortOrder.DESC)
ALL = TraceFilter()


@pytest.fixture
def traces() -> MemoryTraces:
    return MemoryTraces(MemoryStore(), prices())


@pytest.fixture
def sessions(traces: MemoryTraces) -> MemorySessions:
    return MemorySessions(traces.store)


async def listed(traces: MemoryTraces, *window: int, **conditions) -> Page[TraceSummary]:
    return await ListTraces(traces)(OURS, TraceFilter(**conditions), *RECENT, PageRequest(*window))


async def fill(traces: MemoryTraces, *sent: Trace, project: ProjectId = OURS) -> None:
    for one in sent:
        await traces.put(project, one)


# --- traces --------------------------------------------------------------------------------


async def test_summary_has_totals_of_spans(traces):
    await fill(
        traces,
        trace(
            span(token_usage=b'{"prompt_tokens":3,"completion_tokens":4}', cost={"total": 0.1}),
            span(cost={"total": 0.2}, status=SpanStatus.ERROR),
            ended_at=at(2),
        ),
    )
    [found] = (await listed(traces)).items
    assert (found.totals.spans, found.totals.tokens, str(found.totals.cost)) == (2, 7, "0.3")
    assert (found.totals.errors, found.latency_ms) == (1, 2000.0)
    assert found.status is TraceStatus.COMPLETED


async def test_page_is_a_part_with_the_exact_total(traces):
    await fill(traces, *(trace(name=str(n), started_at=at(n)) for n in range(5)))
    page = await listed(traces, 2, 1)
    assert ([one.name for one in page.items], page.total) == (["3", "2"], 5)
    past = await listed(traces, 2, 99)
    assert (list(past.items), past.total) == ([], 5)


async def test_pages_follow_each_other(traces):
    await fill(traces, *(trace(name=str(n)) for n in range(5)))
    list_traces = ListTraces(traces)
    first = await list_traces(OURS, ALL, TraceSort.NAME, SortOrder.ASC, PageRequest(limit=3))
    rest = await list_traces(OURS, ALL, TraceSort.NAME, SortOrder.ASC, PageRequest(after=first.end))
    assert [one.name for one in (*first.items, *rest.items)] == list("01234")
    assert rest.end is None


async def test_pages_with_equal_starts_neither_repeat_nor_lose_traces(traces):
    await fill(traces, *(trace() for _ in range(7)))
    seen = [one.id for offset in range(0, 7, 2) for one in (await listed(traces, 2, offset)).items]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7


async def test_filters_apply_to_items_and_total(traces):
    await fill(traces, trace(session_id="s"), trace(session_id="t"), trace())
    page = await listed(traces, session_id="s")
    assert ([one.session_id for one in page.items], page.total) == (["s"], 1)


async def test_traces_of_another_project_are_hidden(traces):
    theirs = trace(session_id="s")
    await fill(traces, theirs, project=THEIRS)
    assert (await listed(traces)).total == (await listed(traces, session_id="s")).total == 0
    with pytest.raises(NotFound):
        await ReadTrace(traces)(OURS, theirs.id)
    assert (await ReadTrace(traces)(THEIRS, theirs.id)).id == theirs.id


# --- sessions ------------------------------------------------------------------------------


async def test_sessions_are_filtered_and_sorted(traces, sessions):
    await fill(
        traces,
        trace(session_id="short", ended_at=at(1)),
        trace(session_id="long", ended_at=at(9), user_id="u"),
        trace(session_id="running", started_at=at(99)),
        trace(),
    )
    orders = {
        SessionSort.LATENCY: ["long", "short", "running"],
        SessionSort.RECENT: ["running", "long", "short"],
    }
    for sort, order in orders.items():
        page = await ListSessions(sessions)(
            OURS, SessionFilter(), sort, SortOrder.DESC, PageRequest(limit=2)
        )
        assert ([one.id for one in page.items], page.total) == (order[:2], 3)
    page = await ListSessions(sessions)(
        OURS, SessionFilter(user_id="u"), SessionSort.COST, SortOrder.ASC, PageRequest()
    )
    assert [one.id for one in page.items] == ["long"]


async def test_session_summary_covers_all_traces_of_the_session(traces, sessions):
    sent = [trace(span(), session_id="s", started_at=at(n)) for n in range(5)]
    await fill(traces, *reversed(sent), trace(session_id="t"))
    found = await ReadSession(sessions)(OURS, "s", PageRequest(limit=2, offset=1))
    assert [one.id for one in found.traces] == [one.id for one in sent[1:3]]
    assert [len(one.spans) for one in found.traces] == [1, 1]
    assert (found.summary.trace_count, found.summary.totals.spans) == (5, 5)
    past = await ReadSession(sessions)(OURS, "s", PageRequest(offset=5))
    assert (list(past.traces), past.summary) == ([], found.summary)


@pytest.mark.parametrize("key", ["", "S", "t"])
async def test_unknown_session_and_that_of_another_project_are_not_found(traces, sessions, key):
    await fill(traces, trace(session_id="s"), trace())
    await fill(traces, trace(session_id="t"), project=THEIRS)
    with pytest.raises(NotFound):
        await ReadSession(sessions)(OURS, key, PageRequest())
    assert (await ReadSession(sessions)(OURS, "s", PageRequest())).summary.trace_count == 1


# --- failures ------------------------------------------------------------------------------


class Down:
    """Traces and sessions out of reach."""

    async def get(
        self, project: ProjectId, key: TraceId | str, *window: PageRequest
    ) -> Trace | Session:
        raise Unavailable("away")

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter | SessionFilter,
        sort: TraceSort | SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary] | Page[SessionSummary]:
        raise Unavailable("away")


async def test_unreachable_store_raises_unavailable():
    down = Down()
    calls = [
        ReadTrace(down)(OURS, trace_id()),
        ListTraces(down)(OURS, ALL, *RECENT, PageRequest()),
        ReadSession(down)(OURS, "s", PageRequest()),
        ListSessions(down)(
            OURS, SessionFilter(), SessionSort.RECENT, SortOrder.DESC, PageRequest()
        ),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
