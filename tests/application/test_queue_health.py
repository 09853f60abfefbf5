"""The health check of the work queue."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkers
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, WorkQueue
from application.health import QueueHealthCheck, WorkOfGroups
from application.ports import HealthStatus
from application.workers import Worker, WorkerStatus
from domain.errors import Unavailable
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures.evaluation.evaluation import (
    Evaluating,
    a_run,
    later,
    over_memory,
    work_of,
)
from tests.support.waiting import in_time

AGE_MAX = timedelta(minutes=5)
FINE = HealthStatus(ok=True)


@pytest.fixture
def evaluating() -> Evaluating:
    return over_memory()


@pytest.fixture
def project() -> ProjectId:
    return ProjectId(uuid.uuid4())


async def reported(
    evaluating: Evaluating, now: datetime = NOON, seen_at: datetime | None = None
) -> HealthStatus:
    """With a worker that was last seen then; by default it is there."""
    workers = MemoryWorkers()
    await workers.record_heartbeat(
        Worker(id=uuid.uuid4(), version="1", started_at=NOON), seen_at or now
    )
    return await QueueHealthCheck(evaluating.work_queue, workers, lambda: now, AGE_MAX).check()


async def test_ok_without_work(evaluating):
    assert await reported(evaluating) == FINE


async def test_unplanned_run_is_reported_and_not_ok_after_the_limit(evaluating, project):
    run = a_run(project)
    await evaluating.runs.create(run, work_of(run))
    assert await reported(evaluating, later(seconds=7)) == HealthStatus(
        ok=True, detail="the oldest job has waited 7 s"
    )
    assert (await reported(evaluating, later(minutes=5))).ok
    late = await reported(evaluating, later(minutes=5, seconds=1))
    assert not late.ok
    assert late.detail == "the oldest job has waited 301 s; workers don't get to it: 1"


async def test_missing_workers_are_reported_while_work_waits(evaluating, project):
    assert await reported(evaluating, later(minutes=2), NOON) == FINE
    run = a_run(project)
    await evaluating.runs.create(run, work_of(run))
    state = await reported(evaluating, later(minutes=2), NOON)
    words = "the oldest job has waited 120 s; no worker has been seen for 120 s"
    assert state == HealthStatus(ok=True, detail=words)


async def test_running_work_does_not_count_as_waiting(evaluating, project):
    run = await evaluating.start_run(one := a_run(project, 1), work_of(one))
    claim = await evaluating.claim_next(project)
    assert await reported(evaluating, later(minutes=1)) == FINE
    await evaluating.finish(claim)
    assert run.targets == 1
    assert await reported(evaluating, later(hours=1)) == FINE


async def test_abandoned_work_waits_from_the_end_of_its_lease(evaluating, project):
    await evaluating.start_run(run := a_run(project, 1), work_of(run))
    await evaluating.claim_next(project)
    assert not (await reported(evaluating, later(hours=1))).ok


async def test_dead_targets_are_counted_and_stay_ok(evaluating, project):
    await evaluating.start_run(run := a_run(project, 2), work_of(run))
    now = NOON
    due, _ = await evaluating.work_queue.dispatch(project, now)
    for _ in range(ATTEMPTS_MAX):
        assert await evaluating.work_queue.claim(due.project, due.run, due.target, now)
        now += timedelta(hours=1)
    assert await evaluating.work_queue.claim(due.project, due.run, due.target, now) is None
    state = await reported(evaluating, NOON)
    assert state.ok
    assert "1 target was given up" in (state.detail or "")


@dataclass(frozen=True, slots=True)
class Broken:
    """Assignments that fail, or never answer."""

    error: Exception | None

    async def oldest_wait(self, _now: datetime) -> timedelta | None:
        if self.error is None:
            await asyncio.Event().wait()
        raise self.error or AssertionError

    async def count_dead(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("error", "detail"),
    [(Unavailable("The database is away"), "is away"), (KeyError(), "KeyError")],
)
async def test_errors_are_a_status_and_not_raised(error, detail):
    state = await QueueHealthCheck(Broken(error), MemoryWorkers(), lambda: NOON, AGE_MAX).check()
    assert not state.ok
    assert detail in (state.detail or "")


@pytest.mark.slow
async def test_timeout_is_reported_in_time():
    async with in_time():
        state = await QueueHealthCheck(Broken(None), MemoryWorkers(), lambda: NOON, AGE_MAX).check()
    assert state == HealthStatus(ok=False, detail="no answer within 2 s")


@dataclass(slots=True)
class AskedAtOnce(MemoryWorkers):
    """Answers once all three questions are asked."""

    asked: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(3))

    async def oldest_wait(self, _now: datetime) -> timedelta | None:
        await self.asked.wait()
        return None

    async def count_dead(self) -> int:
        await self.asked.wait()
        return 0

    async def status(self, now: datetime) -> WorkerStatus:
        await self.asked.wait()
        return WorkerStatus(1, now)


async def test_questions_are_asked_at_once():
    asked = AskedAtOnce()
    work = cast("WorkQueue", asked)
    assert await QueueHealthCheck(work, asked, lambda: NOON, AGE_MAX).check() == FINE


def work_of_groups(*queues: object) -> WorkOfGroups:
    async def opened() -> list[WorkQueue]:
        return [cast("WorkQueue", one) for one in queues]

    return WorkOfGroups(opened)


@pytest.mark.parametrize(
    "error", [Unavailable("away"), pytest.param(None, marks=pytest.mark.slow, id="hangs")]
)
async def test_group_that_does_not_answer_is_passed_over(evaluating, project, error):
    run = a_run(project)
    await evaluating.runs.create(run, work_of(run))
    work = work_of_groups(Broken(error), evaluating.work_queue)
    async with in_time():
        state = await QueueHealthCheck(
            work, MemoryWorkers(), lambda: later(seconds=7), AGE_MAX
        ).check()
    assert state.ok
    assert "the oldest job has waited 7 s" in (state.detail or "")


async def test_without_any_group_the_check_fails():
    away = Broken(Unavailable("both are away"))
    work = work_of_groups(away, away)
    state = await QueueHealthCheck(work, MemoryWorkers(), lambda: NOON, AGE_MAX).check()
    assert state == HealthStatus(ok=False, detail="both are away")
