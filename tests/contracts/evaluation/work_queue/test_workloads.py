"""Contract of Workloads: counts pending work by age, over all projects."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.evaluation.work_queue import MemoryWorkloads
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.evaluation.work_queue.workers import PostgresWorkloads
from application.evaluation.ports.work_queue import (
    AGE_BANDS,
    AGE_LIMITS,
    LEASE,
    Workload,
    Workloads,
    age_band,
)
from domain.evaluation.scores.outcome import FailCode
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures.evaluation import evaluation
from tests.support.fixtures.evaluation.evaluation import WINDOW, Evaluating, a_run, later, work_of
from tests.support.waiting import until_done

NOTHING = Workload(pending_runs=0, running_runs=0, queued=dict.fromkeys(AGE_BANDS, 0), running=0)

type Asked = Callable[[datetime], Awaitable[Workload]]


@pytest.fixture
async def ports(adapter: Pool | None):
    """The run ports and the workloads over one store without other work."""
    if adapter is None:
        store = MemoryStore()
        yield evaluation.over_memory(store), MemoryWorkloads(store)
        return
    # Work of other tests would count as well, so it is deleted first.
    await within(adapter, ALL_TENANTS).execute("DELETE FROM eval_jobs")
    await within(adapter, ALL_TENANTS).execute("DELETE FROM eval_runs")
    async with evaluation.over_postgres(adapter) as postgres:
        yield postgres, PostgresWorkloads(adapter)


@pytest.fixture
def project() -> ProjectId:
    return ProjectId(uuid.uuid4())


def queued(**bands: int) -> dict[str, int]:
    return {band: bands.get(f"_{band}", 0) for band in AGE_BANDS}


async def test_empty_workload(ports: tuple[Evaluating, Workloads]):
    assert await ports[1].workload(NOON) == NOTHING


async def test_run_counts_as_pending_then_running(ports, project):
    evaluating, workloads = ports
    run = a_run(project, 2)
    await evaluating.runs.create(run, work_of(run))
    assert await workloads.workload(NOON) == replace(NOTHING, pending_runs=1)
    await until_done(evaluating.work_queue.plan, project, run.id, NOON)
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
async def test_queued_targets_count_by_age(ports, project, age, band):
    evaluating, workloads = ports
    run = a_run(project, WINDOW + 2)
    await evaluating.start_run(run, work_of(run))
    await evaluating.work_queue.dispatch(project, NOON)
    found = await workloads.workload(NOON + age)
    assert found.queued == queued(**{f"_{band}": WINDOW})  # the others have not been dispatched
    assert age_band(age) == band


async def test_claimed_target_counts_as_running_until_lease_expires(ports, project):
    evaluating, workloads = ports
    await evaluating.start_run(run := a_run(project, 1), work_of(run))
    await evaluating.claim_next(project)
    held = replace(NOTHING, running_runs=1, running=1)
    assert await workloads.workload(NOON + LEASE - timedelta(microseconds=1)) == held
    over = await workloads.workload(NOON + LEASE + timedelta(seconds=11))
    assert over == replace(NOTHING, running_runs=1, queued=queued(_1m=1))


async def test_postponed_target_is_not_queued_before_due(ports, project):
    evaluating, workloads = ports
    await evaluating.start_run(run := a_run(project, 1), work_of(run))
    claim = await evaluating.claim_next(project)
    await evaluating.work_queue.postpone(claim, later(minutes=5), FailCode.RATE_LIMITED, NOON)
    assert (await workloads.workload(later(minutes=4))).queued == queued()
    assert (await workloads.workload(later(minutes=5))).queued == queued(_10s=1)


async def test_removed_project_has_no_workload(ports, project):
    evaluating, workloads = ports
    await evaluating.start_run(run := a_run(project, 2), work_of(run))
    await evaluating.work_queue.dispatch(project, NOON)
    pending = a_run(project, 1)
    await evaluating.runs.create(pending, work_of(pending))
    await evaluating.remove(project)
    assert await workloads.workload(NOON) == NOTHING
