"""Showing and removing traces."""

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing import MemoryTraces
from application.tracing.browse import ListTraces, ReadTrace
from application.tracing.edit import DeleteTrace
from domain.errors import NotFound, Unavailable
from domain.ids import ProjectId, TraceId
from domain.page import Page, Window
from domain.tracing.query import SortOrder, TraceFilter
from domain.tracing.span import SpanStatus
from domain.tracing.trace import Trace, TraceStatus, TraceSummary
from tests.builders import OURS, THEIRS, at, prices, span, trace, trace_id

ALL = TraceFilter()


@pytest.fixture
def traces() -> MemoryTraces:
    return MemoryTraces(MemoryStore(), prices())


async def listed(traces: MemoryTraces, *window: int, **conditions) -> Page[TraceSummary]:
    matching = TraceFilter(**conditions)
    return await ListTraces(traces)(OURS, matching, SortOrder.DESC, Window(*window))


async def fill(traces: MemoryTraces, *sent: Trace, project: ProjectId = OURS) -> None:
    for one in sent:
        await traces.put(project, one)


async def test_a_summary_says_what_the_spans_add_up_to(traces):
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


async def test_a_page_is_a_part_and_the_total_is_the_whole(traces):
    await fill(traces, *(trace(name=str(n), started_at=at(n)) for n in range(5)))
    page = await listed(traces, 2, 1)
    assert ([one.name for one in page.items], page.total) == (["3", "2"], 5)
    past = await listed(traces, 2, 99)
    assert (list(past.items), past.total) == ([], 5)


async def test_pages_of_equal_starts_neither_repeat_nor_lose_one(traces):
    await fill(traces, *(trace() for _ in range(7)))
    seen = [one.id for offset in range(0, 7, 2) for one in (await listed(traces, 2, offset)).items]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 7


async def test_conditions_narrow_items_and_total_alike(traces):
    await fill(traces, trace(session_id="s"), trace(session_id="t"), trace())
    page = await listed(traces, session_id="s")
    assert ([one.session_id for one in page.items], page.total) == (["s"], 1)


async def test_nothing_of_another_project_is_seen(traces):
    theirs = trace(session_id="s")
    await fill(traces, theirs, project=THEIRS)
    assert (await listed(traces)).total == (await listed(traces, session_id="s")).total == 0
    with pytest.raises(NotFound):
        await ReadTrace(traces)(OURS, theirs.id)
    with pytest.raises(NotFound):
        await DeleteTrace(traces)(OURS, theirs.id)
    assert (await ReadTrace(traces)(THEIRS, theirs.id)).id == theirs.id


async def test_a_deleted_trace_is_gone_and_the_second_time_it_is_not_found(traces):
    gone, kept = trace(span()), trace()
    await fill(traces, gone, kept)
    await DeleteTrace(traces)(OURS, gone.id)
    with pytest.raises(NotFound):
        await ReadTrace(traces)(OURS, gone.id)
    with pytest.raises(NotFound):
        await DeleteTrace(traces)(OURS, gone.id)
    assert [one.id for one in (await listed(traces)).items] == [kept.id]


async def test_a_trace_sent_after_its_deletion_is_a_new_one(traces):
    first = trace(span(), tags=("old",))
    await fill(traces, first)
    await DeleteTrace(traces)(OURS, first.id)
    await fill(traces, trace(id=first.id))
    found = await ReadTrace(traces)(OURS, first.id)
    assert (found.tags, found.spans) == ((), ())


class Down:
    """A store out of reach."""

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        raise Unavailable("away")

    async def summaries(
        self, project: ProjectId, matching: TraceFilter, order: SortOrder, window: Window
    ) -> Page[TraceSummary]:
        raise Unavailable("away")

    async def delete(self, project: ProjectId, traces: list[TraceId]) -> int:
        raise Unavailable("away")


async def test_a_store_out_of_reach_is_told_not_an_empty_page():
    down = Down()
    calls = [
        ReadTrace(down)(OURS, trace_id()),
        ListTraces(down)(OURS, ALL, SortOrder.ASC, Window()),
        DeleteTrace(down)(OURS, trace_id()),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
