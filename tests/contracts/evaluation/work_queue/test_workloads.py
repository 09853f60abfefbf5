"""Contract of Workloads: what there is to do is counted by its age, over all projects."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.evaluation.workers import MemoryWorkloads
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkloads
from application.evaluation.ports.work_queue import LEASE
from application.evaluation.ports.workload import (
    AGE_BANDS,
    AGE_LIMITS,
    Workload,
    Workloads,
    age_band,
)
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures import evaluation
from tests.support.fixtures.evaluation import WINDOW, Evaluating, a_run, later, work_of

NOTHING = Workload(pending_runs=0, running_runs=0, queued=dict.fromkeys(AGE_BANDS, 0), running=0)

type Asked = Callable[[datetime], Awaitable[Workload]]


@pytest.fixture
async def scene(adapter: Pool | None):
    """Runs, and how many there are of them beside what other tests have left."""
    if adapter is None:
        store = MemoryStore()
        yield evaluation.over_memory(store), MemoryWorkloads(store)
        return
    # What other tests have left would count as well: it is all removed first.
    await adapter.execute("DELETE FROM eval_jobs")
    await adapter.execute("DELETE FROM eval_runs")
    async with evaluation.over_postgres(adapter) as postgres:
        yield postgres, PostgresWorkloads(adapter)


@pytest.fixture
def project() -> ProjectId:
    return ProjectId(uuid.uuid4())


def queued(**bands: int) -> dict[str, int]:
    return {band: bands.get(f"_{band}", 0) for band in AGE_BANDS}


async def test_nothing_to_do(scene: tuple[Evaluating, Workloads]):
    assert await scene[1].workload(NOON) == NOTHING


async def test_a_run_is_pending_and_then_running(scene, project):
    evaluating, workloads = scene
    run = a_run(project, 2)
    await evaluating.runs.create(run, work_of(run))
    assert await workloads.workload(NOON) == replace(NOTHING, pending_runs=1)
    while await evaluating.work_queue.plan(project, run.id, NOON):
        pass
    assert await workloads.workload(NOON) == replace(NOTHING, running_runs=1)
    await evaluating.finish_all(project)
    assert await workloads.workload(NOON) == NOTHING


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (timedelta(), "10s"),
        *((below, band) for below, band in zip(AGE_LIMITS.values(), AGE_BANDS[1:], strict=True)),
        (timedelta(days=30), "more"),
    ],
)
async def test_what_waits_counts_by_its_age(scene, project, age, band):
    evaluating, workloads = scene
    run = a_run(project, WINDOW + 2)
    await evaluating.begun(run, work_of(run))
    await evaluating.work_queue.dispatch(project, NOON)
    found = await workloads.workload(NOON + age)
    assert found.queued == queued(**{f"_{band}": WINDOW})  # the others' turn hasn't come
    assert age_band(age) == band


async def test_what_is_held_runs_until_its_lease_is_over(scene, project):
    evaluating, workloads = scene
    await evaluating.begun(run := a_run(project, 1), work_of(run))
    await evaluating.claim_next(project)
    held = replace(NOTHING, running_runs=1, running=1)
    assert await workloads.workload(NOON + LEASE - timedelta(microseconds=1)) == held
    over = await workloads.workload(NOON + LEASE + timedelta(seconds=11))
    assert over == replace(NOTHING, running_runs=1, queued=queued(_1m=1))


async def test_what_was_postponed_does_not_wait_before_its_time(scene, project):
    evaluating, workloads = scene
    await evaluating.begun(run := a_run(project, 1), work_of(run))
    claim = await evaluating.claim_next(project)
    await evaluating.work_queue.postpone(claim, later(minutes=5), FailCode.RATE_LIMITED, NOON)
    assert (await workloads.workload(later(minutes=4))).queued == queued()
    assert (await workloads.workload(later(minutes=5))).queued == queued(_10s=1)


async def test_a_removed_project_has_nothing_to_do(scene, project):
    evaluating, workloads = scene
    await evaluating.begun(run := a_run(project, 2), work_of(run))
    await evaluating.work_queue.dispatch(project, NOON)
    pending = a_run(project, 1)
    await evaluating.runs.create(pending, work_of(pending))
    await evaluating.remove(project)
    assert await workloads.workload(NOON) == NOTHING
