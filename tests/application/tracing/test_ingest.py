"""Ingestion: what is stored, what is refused, and the state after a failure."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryTraces
from application.tracing.ingest import BATCH_MAX, IngestBatch
from domain.errors import FieldError, Invalid, Unavailable
from domain.ids import ProjectId, TraceId
from domain.tracing.trace import Trace
from tests.support.builders.values import OURS, prices, span, trace, trace_id
from tests.support.waiting import in_time

NO_NUL = Invalid.field("name", "must not hold a NUL")


@dataclass(frozen=True, slots=True)
class Fussy(MemoryTraces):
    """Refuses the scripted traces, as a database does: by id, one trace at a time."""

    refused: Mapping[TraceId, Exception] = field(default_factory=dict)

    async def put(self, project: ProjectId, trace: Trace) -> None:
        if (problem := self.refused.get(trace.id)) is not None:
            raise problem
        await MemoryTraces.put(self, project, trace)


def stored(**refused: object) -> Fussy:
    return Fussy(MemoryStore(), prices(), **refused)


async def read(traces: MemoryTraces, one: Trace, project: ProjectId = OURS) -> Trace:
    return await traces.get(project, one.id)


async def test_invalid_item_affects_only_itself_and_outcomes_keep_the_order():
    good, bad, other = trace(), trace(), trace()
    traces = stored(refused={bad.id: NO_NUL})
    outcomes = await IngestBatch(traces)(OURS, [good, bad, other, bad])
    assert outcomes == [None, NO_NUL, None, NO_NUL]
    assert {of for _, of in traces.store.traces} == {good.id, other.id}


async def test_batch_of_only_invalid_items_has_only_errors():
    one, two = trace(), trace()
    traces = stored(refused={one.id: NO_NUL, two.id: NO_NUL})
    assert await IngestBatch(traces)(OURS, [one, two]) == [NO_NUL, NO_NUL]


async def test_duplicate_trace_in_a_batch_is_merged_in_one_write():
    first = trace(span(name="a"), name="first", tags=("b",))
    second = trace(span(name="b"), id=first.id, name="second", tags=("a",))
    traces = stored()
    assert await IngestBatch(traces)(OURS, [first, trace(), second]) == [None, None, None]
    found = await read(traces, first)
    assert (found.name, found.tags) == ("second", ("a", "b"))
    assert {one.name for one in found.spans} == {"a", "b"}


async def test_batch_stores_the_same_as_single_requests():
    shared = trace_id()
    items = [trace(span(), id=shared), trace(), trace(span(), id=shared, tags=("t",))]
    together, apart = stored(), stored()
    await IngestBatch(together)(OURS, items)
    for item in items:
        await apart.put(OURS, item)
    assert together.store.traces == apart.store.traces


async def test_unreachable_store_fails_the_batch():
    one, two = trace(), trace()
    traces = stored(refused={two.id: Unavailable("away")})
    with pytest.raises(Unavailable):
        await IngestBatch(traces)(OURS, [one, two])


@pytest.mark.parametrize("count", [0, BATCH_MAX + 1])
async def test_batch_size_is_limited(count):
    traces = stored()
    with pytest.raises(Invalid, match=f"1 to {BATCH_MAX}"):
        await IngestBatch(traces)(OURS, [trace() for _ in range(count)])
    assert traces.store.traces == {}


async def test_largest_batch_is_stored():
    traces = stored()
    outcomes = await IngestBatch(traces)(OURS, [trace() for _ in range(BATCH_MAX)])
    assert outcomes == [None] * BATCH_MAX
    assert len(traces.store.traces) == BATCH_MAX


@dataclass(frozen=True, slots=True)
class Gathering(MemoryTraces):
    """Answers no call before `size` of them wait, as a writer with group commit does."""

    gate: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(3))

    async def put(self, project: ProjectId, trace: Trace) -> None:
        await self.gate.wait()
        await MemoryTraces.put(self, project, trace)


async def test_batch_items_are_written_concurrently():
    traces = Gathering(MemoryStore(), prices())
    async with in_time():
        assert await IngestBatch(traces)(OURS, [trace(), trace(), trace()]) == [None] * 3


def test_invalid_request_names_a_field():
    assert Invalid("no").errors == (FieldError("", "no"),)
    assert NO_NUL.message == "Validation error"


@dataclass(frozen=True, slots=True)
class Picky(MemoryTraces):
    """Refuses what has a user, as a database does that can't hold some value of it."""

    async def put(self, project: ProjectId, trace: Trace) -> None:
        if trace.user_id is not None:
            raise NO_NUL
        await MemoryTraces.put(self, project, trace)


async def test_invalid_duplicate_does_not_affect_valid_ones():
    traces, good = Picky(MemoryStore(), prices()), trace(name="first", tags=("a",))
    bad = replace(good, name="bad", user_id="u")
    last = replace(good, name="last", tags=("b",))
    outcomes = await IngestBatch(traces)(OURS, [good, bad, last, trace()])
    assert outcomes == [None, NO_NUL, None, None]
    found = await read(traces, good)
    assert (found.name, found.tags, found.user_id) == ("last", ("a", "b"), None)
