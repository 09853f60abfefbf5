"""The lease of a target is renewed while it is evaluated, however long that takes."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.memory.evaluation.scripted_judge import ScriptedJudge
from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from application.evaluation.execution.evaluate_target import renewing_lease
from application.evaluation.judging.evaluation_policy import RENEW_EVERY
from application.evaluation.ports.work_queue import LEASE, Claim
from domain.errors import Unavailable
from tests.support.fixtures.evaluation.evaluation_harness import ONE_ATTEMPT, EvaluationHarness
from tests.support.waiting import in_time

SOON = timedelta(microseconds=1)


@dataclass(frozen=True)
class CountingWorkQueue(MemoryWorkQueue):
    """Records every renewal. The first `broken` renewals fail."""

    broken: int = 0
    renewed: list[Claim] = field(default_factory=list)
    renewed_twice: asyncio.Event = field(default_factory=asyncio.Event)

    async def renew(self, claim: Claim, now: Any) -> None:
        self.renewed.append(claim)
        if len(self.renewed) <= self.broken:
            raise Unavailable("no database")
        await super().renew(claim, now)
        if len(self.renewed) > self.broken + 1:
            self.renewed_twice.set()


@pytest.mark.parametrize("broken", [0, 3])
async def test_lease_is_renewed_until_block_ends_even_after_failures(broken):
    harness = EvaluationHarness()
    trace = harness.put()
    run = await harness.run("task_completion", trace)
    work_queue = CountingWorkQueue(harness.store, broken=broken)
    claim = await work_queue.claim(harness.project, run.id, str(trace.id), harness.now)
    assert claim is not None
    harness.forward(seconds=LEASE.total_seconds() - 1)
    async with renewing_lease(work_queue, claim, lambda: harness.now, SOON):
        await work_queue.renewed_twice.wait()
    harness.forward(seconds=2)
    assert set(map(id, work_queue.renewed)) == {id(claim)}
    assert await work_queue.claim(harness.project, run.id, str(trace.id), harness.now) is None
    count = len(work_queue.renewed)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(work_queue.renewed) == count, "renewal stops at the end of the block"


async def test_target_with_waiting_question_cannot_be_claimed_by_another_worker():
    judge = ScriptedJudge(gate=asyncio.Event())
    harness = EvaluationHarness(judge=judge, policy=replace(ONE_ATTEMPT, renew_every=SOON))
    work_queue = CountingWorkQueue(harness.store)
    worker = harness.use_cases(replace(harness.ports, work_queue=work_queue))
    trace = harness.put()
    run = await harness.run("task_completion", trace)
    working = asyncio.create_task(harness.work(worker))
    async with in_time():
        await work_queue.renewed_twice.wait()
        harness.forward(seconds=LEASE.total_seconds() - 1)
        work_queue.renewed.clear()
        work_queue.renewed_twice.clear()
        await work_queue.renewed_twice.wait()
    harness.forward(seconds=2)
    assert await work_queue.claim(harness.project, run.id, str(trace.id), harness.now) is None
    judge.gate.set()
    await working
    assert await harness.results(run, trace) == {"task_completion": "0.8"}
    assert len(judge.asked) == 1


async def test_exception_in_block_stops_renewals():
    harness = EvaluationHarness()
    run = await harness.run("task_completion", trace := harness.put())
    work_queue = CountingWorkQueue(harness.store)
    claim = await work_queue.claim(harness.project, run.id, str(trace.id), harness.now)
    assert claim is not None
    before = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        async with renewing_lease(work_queue, claim, lambda: harness.now, SOON):
            raise ZeroDivisionError
    assert asyncio.all_tasks() == before


def test_lease_allows_for_one_failed_renewal():
    assert 2 * RENEW_EVERY < LEASE
