"""Tagging and deleting traces and sessions."""

from typing import Any

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemorySessions, MemoryTraces
from application.tracing.edit import (
    EDITED_TRACES_MAX,
    DeleteSession,
    DeleteTrace,
    DeleteTraces,
    TagTraces,
)
from domain.errors import Invalid, NotFound, Unavailable
from domain.ids import ProjectId
from domain.tracing.trace import Trace
from tests.support.builders.values import OURS, THEIRS, prices, span, trace, trace_id


@pytest.fixture
def traces() -> MemoryTraces:
    return MemoryTraces(MemoryStore(), prices())


async def fill(traces: MemoryTraces, *sent: Trace, project: ProjectId = OURS) -> None:
    for one in sent:
        await traces.put(project, one)


# --- changing ------------------------------------------------------------------------------


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

    async def retag(self, *_: Any) -> int:
        raise Unavailable("away")

    async def delete(self, *_: Any, **__: Any) -> int:
        raise Unavailable("away")


async def test_unreachable_store_raises_unavailable():
    down = Down()
    calls = [
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
