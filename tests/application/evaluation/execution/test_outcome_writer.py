"""The outcome writer: batches the outcomes of one target and isolates failures."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from application.evaluation.execution.outcome_writer import OutcomeWriter
from application.evaluation.ports.work_queue import Claim
from domain.errors import Unavailable
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome, Scored
from domain.ids import ScoreId
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness
from tests.support.waiting import until


@dataclass(frozen=True)
class GatedWorkQueue(MemoryWorkQueue):
    """Waits for `gate` before writes. Raises `failure` for the metrics in `broken`."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    broken: tuple[str, ...] = ()
    failure: Exception = field(default_factory=lambda: ValueError("not JSON"))
    written: list[dict[str, Outcome]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # metrics of writes that have begun

    async def record_all(self, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime) -> int:
        self.waiting.extend(outcomes)
        await self.gate.wait()
        if set(outcomes) & set(self.broken):
            raise self.failure
        self.written.append(dict(outcomes))
        return len(outcomes)

    async def record(self, claim: Claim, metric: str, outcome: Outcome, now: datetime) -> bool:
        self.written.append({metric: outcome})
        return True


async def writer_over(
    work_queue: GatedWorkQueue, harness: EvaluationHarness
) -> tuple[OutcomeWriter, list[tuple[ScoreId, Exception]], Claim]:
    trace = harness.put()
    run = await harness.run("confidence", trace)
    claim = await MemoryWorkQueue(harness.store).claim(
        harness.project, run.id, str(trace.id), harness.now
    )
    assert claim is not None
    faults: list[tuple[ScoreId, Exception]] = []
    writer = OutcomeWriter(
        work_queue, claim, lambda: harness.now, lambda score, fault: faults.append((score, fault))
    )
    return writer, faults, claim


def scored(value: float) -> Outcome:
    return Scored(value, "")


async def test_outcomes_arriving_during_write_are_batched():
    harness = EvaluationHarness()
    store = GatedWorkQueue(harness.store)
    writer, _, _ = await writer_over(store, harness)
    puts = [asyncio.create_task(writer.put("a", scored(0)))]
    await until(lambda: store.waiting)
    puts += [
        asyncio.create_task(writer.put(*one)) for one in (("b", scored(0.1)), ("c", scored(0.2)))
    ]
    await asyncio.sleep(0)
    assert not any(put.done() for put in puts)
    store.gate.set()
    await asyncio.gather(*puts)
    assert store.written == [{"a": scored(0)}, {"b": scored(0.1), "c": scored(0.2)}]


async def test_outcomes_of_one_turn_are_batched():
    harness = EvaluationHarness()
    store = GatedWorkQueue(harness.store)
    store.gate.set()
    writer, _, _ = await writer_over(store, harness)
    await asyncio.gather(*(writer.put(name, scored(1)) for name in "abc"))
    assert store.written == [dict.fromkeys("abc", scored(1))]


async def test_sequential_outcomes_are_written_separately():
    harness = EvaluationHarness()
    store = GatedWorkQueue(harness.store)
    store.gate.set()
    writer, _, _ = await writer_over(store, harness)
    for name in "ab":
        await writer.put(name, scored(1))
    assert store.written == [{"a": scored(1)}, {"b": scored(1)}]


async def test_unavailable_database_raises_in_writing_call():
    harness = EvaluationHarness()
    store = GatedWorkQueue(harness.store, broken=("a",), failure=Unavailable("no database"))
    store.gate.set()
    writer, faults, _ = await writer_over(store, harness)
    with pytest.raises(Unavailable):
        await writer.put("a", scored(1))
    assert (store.written, faults) == ([], [])


async def test_outcome_that_cannot_be_stored_fails_alone_and_is_reported():
    harness = EvaluationHarness()
    store = GatedWorkQueue(harness.store, broken=("b",))
    store.gate.set()
    writer, faults, claim = await writer_over(store, harness)
    await writer.write({name: scored(1) for name in "abc"})
    assert store.written == [{"a": scored(1)}, {"b": Failed(FailCode.INTERNAL)}, {"c": scored(1)}]
    assert faults == [(claim.run.score_id(claim.target, "b"), store.failure)]
