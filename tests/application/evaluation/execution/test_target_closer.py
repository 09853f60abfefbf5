"""The target closer: closes the targets of a project together, and isolates failures."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkQueue
from adapters.memory.jobs import RecordedJobs
from adapters.memory.store import MemoryStore
from application.evaluation.execution.target_closer import TargetCloser
from application.evaluation.ports.work_queue import Claim
from application.jobs import EvaluateTargetJob
from domain.errors import Unavailable
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.evaluation import Evaluating, a_run, over_memory, work_of
from tests.support.waiting import until


@dataclass(frozen=True)
class GatedWorkQueue(MemoryWorkQueue):
    """Each close waits until the gate lets it pass, and raises the error of a `broken` target."""

    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    broken: dict[str, Exception] = field(default_factory=dict)
    begun: list[set[str]] = field(default_factory=list)

    async def close(self, claims: Sequence[Claim], now: datetime) -> Sequence[EvaluateTargetJob]:
        targets = {one.target for one in claims}
        self.begun.append(targets)
        await self.gate.acquire()
        for target in targets & self.broken.keys():
            raise self.broken[target]
        return await super().close(claims, now)


@dataclass(frozen=True)
class Closing:
    """Claims of two projects, and a closer of them whose queue waits for its gate."""

    evaluating: Evaluating
    work_queue: GatedWorkQueue
    jobs: RecordedJobs
    closer: TargetCloser
    claims: Sequence[Claim]
    other: Claim

    async def close(self, *claims: Claim) -> list[asyncio.Task[None]]:
        """Begins to close the claims; returns once the first of each project is being closed."""
        before = len(self.work_queue.begun)
        tasks = [asyncio.create_task(self.closer.close(one)) for one in claims]
        projects = len({one.run.project_id for one in claims})
        await until(lambda: len(self.work_queue.begun) >= before + projects)
        return tasks

    def let_pass(self, closes: int = 10) -> None:
        for _ in range(closes):
            self.work_queue.gate.release()


async def claimed(store: MemoryStore, evaluating: Evaluating, targets: int) -> list[Claim]:
    run = a_run(project(), targets)
    await evaluating.start_run(run, work_of(run))
    due = await MemoryWorkQueue(store).dispatch(run.project_id, NOON)
    return [await evaluating.claim(one) for one in due]


@pytest.fixture
async def closing() -> Closing:
    store = MemoryStore()
    evaluating, jobs = over_memory(store), RecordedJobs()
    work_queue = GatedWorkQueue(store)
    claims = await claimed(store, evaluating, 4)
    [other] = await claimed(store, evaluating, 1)
    closer = TargetCloser(work_queue, jobs, lambda: NOON)
    return Closing(evaluating, work_queue, jobs, closer, claims, other)


def targets(*claims: Claim) -> set[str]:
    return {one.target for one in claims}


async def test_targets_that_end_during_a_close_are_closed_together(closing):
    first, *others = closing.claims
    tasks = await closing.close(first, *others)
    assert not any(one.done() for one in tasks)
    closing.let_pass()
    await asyncio.gather(*tasks)
    assert closing.work_queue.begun == [targets(first), targets(*others)]
    assert (await closing.evaluating.run(first.run)).status.is_final


async def test_another_project_does_not_wait(closing):
    tasks = await closing.close(closing.claims[0], closing.other)
    assert closing.work_queue.begun == [targets(closing.claims[0]), targets(closing.other)]
    closing.let_pass()
    await asyncio.gather(*tasks)


async def test_a_target_that_cannot_be_closed_affects_no_other(closing):
    _, broken, *others = closing.claims
    error = closing.work_queue.broken[broken.target] = ValueError("a damaged row")
    tasks = await closing.close(*closing.claims)
    closing.let_pass()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [None, error, None, None]
    assert closing.work_queue.begun[1:] == [
        targets(broken, *others),
        *(targets(one) for one in (broken, *others)),
    ]


async def test_every_call_raises_unavailable(closing):
    first, *others = closing.claims
    error = closing.work_queue.broken[others[0].target] = Unavailable("no database")
    tasks = await closing.close(first, *others)
    closing.let_pass()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [None, error, error, error]
    assert closing.work_queue.begun == [targets(first), targets(*others)]


async def test_a_cancelled_call_leaves_the_others_to_the_next(closing):
    first, second, *others = closing.claims
    tasks = await closing.close(first, second, *others)
    closing.let_pass(1)
    await until(lambda: len(closing.work_queue.begun) >= 2)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    closing.let_pass()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(1), asyncio.CancelledError)
    assert results == [None] * 3
    assert closing.work_queue.begun == [
        targets(first),
        targets(second, *others),
        targets(*others),
    ]


async def test_the_jobs_that_follow_are_announced_once(closing):
    run = a_run(closing.claims[0].run.project_id, 2)
    await closing.evaluating.start_run(run, work_of(run))
    tasks = await closing.close(*closing.claims)
    closing.let_pass()
    await asyncio.gather(*tasks)
    assert sorted(job.target for job in closing.jobs.sent) == sorted(
        one.target for one in work_of(run)
    )
