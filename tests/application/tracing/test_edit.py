"""Changing and deleting traces, spans and sessions."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemorySessions, MemoryTraces
from application.tracing.edit import (
    EDITED_TRACES_MAX,
    ChangeSpan,
    ChangeTrace,
    DeleteSession,
    DeleteTrace,
    DeleteTraces,
    TagTraces,
)
from domain.errors import Invalid, NotFound, Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceChange
from domain.tracing.usage import CostSource
from tests.support.builders.values import OURS, THEIRS, prices, span, span_id, trace, trace_id


@pytest.fixture
def traces() -> MemoryTraces:
    return MemoryTraces(MemoryStore(), prices())


async def fill(traces: MemoryTraces, *sent: Trace, project: ProjectId = OURS) -> None:
    for one in sent:
        await traces.put(project, one)


# --- changing ------------------------------------------------------------------------------


async def test_change_returns_the_whole_trace_and_is_idempotent(traces):
    sent = trace(span(), session_id="s", metadata=b'{"a":1}', input=b"1")
    await fill(traces, sent)
    change = TraceChange(name="renamed", session_id=None, metadata=b'{"b":2}')
    for _ in range(2):
        found = await ChangeTrace(traces)(OURS, sent.id, change)
        assert (found.name, found.session_id, found.input) == ("renamed", None, b"1")
        assert json.loads(found.metadata) == {"a": 1, "b": 2}
        assert len(found.spans) == 1
        assert await traces.get(OURS, sent.id) == found


async def test_span_change_returns_the_span_and_keeps_others(traces):
    step, other = span(model="gpt-4o", token_usage=b'{"prompt_tokens":1000}'), span()
    sent = trace(step, other)
    await fill(traces, sent)
    found = await ChangeSpan(traces)(OURS, sent.id, step.id, SpanChange(cost={"total": 1.0}))
    assert (found.id, found.charge.source) == (step.id, CostSource.CLIENT)
    found = await ChangeSpan(traces)(OURS, sent.id, step.id, SpanChange(cost=None))
    assert found.charge.source is CostSource.TABLE
    kept = {one.id: one for one in (await traces.get(OURS, sent.id)).spans}
    assert kept[step.id] == found
    assert kept[other.id] == other.settled(prices().price)


async def test_changing_unknown_or_other_projects_trace_is_not_found(traces):
    step = span()
    ours, theirs = trace(span()), trace(step)
    await fill(traces, ours)
    await fill(traces, theirs, project=THEIRS)
    before = dict(traces.store.traces)
    for unknown in (trace_id(), theirs.id):
        with pytest.raises(NotFound):
            await ChangeTrace(traces)(OURS, unknown, TraceChange(name="n"))
        with pytest.raises(NotFound):
            await ChangeSpan(traces)(OURS, unknown, step.id, SpanChange(name="n"))
    for unknown in (span_id(), step.id):
        with pytest.raises(NotFound):
            await ChangeSpan(traces)(OURS, ours.id, unknown, SpanChange(name="n"))
    assert traces.store.traces == before


async def test_tags_of_existing_traces_change_and_each_counts_once(traces):
    one, other, theirs = trace(tags=("b", "a")), trace(), trace(tags=("a",))
    await fill(traces, one, other)
    await fill(traces, theirs, project=THEIRS)
    some = [one.id, other.id, one.id, theirs.id, trace_id()]
    assert await TagTraces(traces)(OURS, some, ["c", "a"], ["a", "b"]) == 2
    assert (await traces.get(OURS, one.id)).tags == ("a", "c")
    assert await TagTraces(traces)(OURS, some, [], ["c"]) == 2
    assert (await traces.get(OURS, other.id)).tags == ("a",)
    assert await TagTraces(traces)(OURS, some, [], ["none"]) == 2
    assert (await traces.get(THEIRS, theirs.id)).tags == ("a",)


async def test_retagging_without_tags_does_nothing():
    assert await TagTraces(Down())(OURS, [trace_id()], [], []) == 0


# --- removing ------------------------------------------------------------------------------


async def test_deleting_a_trace_twice_is_not_found(traces):
    gone, kept = trace(span()), trace()
    await fill(traces, gone, kept)
    await DeleteTrace(traces)(OURS, gone.id)
    for call in (traces.get(OURS, gone.id), DeleteTrace(traces)(OURS, gone.id)):
        with pytest.raises(NotFound):
            await call
    assert list(traces.store.traces) == [(OURS, kept.id)]


async def test_trace_of_another_project_is_not_deleted(traces):
    theirs = trace(session_id="s")
    await fill(traces, theirs, project=THEIRS)
    for call in (
        DeleteTrace(traces)(OURS, theirs.id),
        DeleteSession(MemorySessions(traces.store))(OURS, "s"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await DeleteTraces(traces)(OURS, [theirs.id]) == 0
    assert (await traces.get(THEIRS, theirs.id)).id == theirs.id


async def test_trace_sent_after_its_deletion_is_new(traces):
    first = trace(span(), tags=("old",))
    await fill(traces, first)
    await DeleteTrace(traces)(OURS, first.id)
    await fill(traces, trace(id=first.id))
    found = await traces.get(OURS, first.id)
    assert (found.tags, found.spans) == ((), ())


async def test_existing_traces_are_deleted_and_counted_once(traces):
    one, other, kept = trace(), trace(), trace()
    await fill(traces, one, other, kept)
    some = [one.id, other.id, one.id, trace_id()]
    assert await DeleteTraces(traces)(OURS, some) == 2
    assert await DeleteTraces(traces)(OURS, some) == 0
    assert await DeleteTraces(traces)(OURS, []) == 0
    assert list(traces.store.traces) == [(OURS, kept.id)]


async def test_deleting_a_session_twice_is_not_found(traces):
    kept = trace(session_id="t")
    await fill(traces, trace(session_id=""), trace(span(), session_id=""), kept, trace())
    delete = DeleteSession(MemorySessions(traces.store))
    assert await delete(OURS, "") == 2
    with pytest.raises(NotFound):
        await delete(OURS, "")
    assert len(traces.store.traces) == 2
    assert (await traces.get(OURS, kept.id)).session_id == "t"


# --- failures ------------------------------------------------------------------------------


class Down:
    """Traces and sessions out of reach."""

    async def change(self, *_: Any) -> Trace:
        raise Unavailable("away")

    change_span = change

    async def retag(self, *_: Any) -> int:
        raise Unavailable("away")

    async def delete(self, project: ProjectId, of: Sequence[TraceId] | str) -> int:
        raise Unavailable("away")


async def test_unreachable_store_raises_unavailable():
    down = Down()
    calls = [
        ChangeTrace(down)(OURS, trace_id(), TraceChange()),
        ChangeSpan(down)(OURS, trace_id(), span_id(), SpanChange()),
        TagTraces(down)(OURS, [trace_id()], ["t"], []),
        DeleteTrace(down)(OURS, trace_id()),
        DeleteTraces(down)(OURS, [trace_id()]),
        DeleteSession(down)(OURS, "s"),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            await call


async def test_number_of_edited_traces_is_limited(traces):
    many = [trace_id() for _ in range(EDITED_TRACES_MAX + 1)]
    with pytest.raises(Invalid, match="500"):
        await DeleteTraces(traces)(OURS, many)
    with pytest.raises(Invalid, match="500"):
        await TagTraces(traces)(OURS, many, ["a"], [])
    assert await DeleteTraces(traces)(OURS, many[1:]) == 0
