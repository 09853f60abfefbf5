"""Overdue work is announced although one project can't queue more of its own at the moment."""

import pytest

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT, PartlyRequeued
from application.jobs import PlanRunJob
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.evaluation import a_run, over_postgres, work_of

pytestmark = pytest.mark.service

LATE = NOON + ANNOUNCE_TIMEOUT


async def test_locked_project_keeps_no_overdue_job_from_being_announced(pool, postgres_url):
    settings = PoolSettings(url=postgres_url, lock_timeout_ms=50)
    async with open_pool(Engine(config={}), settings) as hurried, over_postgres(hurried) as ours:
        queue, busy, lost = ours.work_queue, a_run(project()), a_run(project())
        await ours.start_run(busy, work_of(busy))
        await ours.runs.create(lost, work_of(lost))
        async with within(pool, busy.project_id).transaction() as locking:
            await lock_project(locking, AdvisoryLock.DISPATCH, busy.project_id)
            with pytest.raises(PartlyRequeued) as raised:
                await queue.requeue_overdue(LATE)
            assert PlanRunJob(lost.project_id, lost.id) in raised.value.jobs
        assert busy.id in {one.run for one in await queue.requeue_overdue(LATE)}


async def test_project_that_fails_delays_no_other(pool, postgres_url, caplog):
    settings = PoolSettings(url=postgres_url, lock_timeout_ms=50)
    async with open_pool(Engine(config={}), settings) as hurried, over_postgres(hurried) as ours:
        runs = sorted((a_run(project()) for _ in range(3)), key=lambda run: run.project_id)
        for run in runs:
            await ours.start_run(run, work_of(run))
        _, stuck, _ = runs
        async with within(pool, stuck.project_id).transaction() as locking:
            await lock_project(locking, AdvisoryLock.DISPATCH, stuck.project_id)
            with pytest.raises(PartlyRequeued, match="1 project could") as raised:
                await ours.work_queue.requeue_overdue(NOON)
        announced = {one.run for one in raised.value.jobs}
        assert {run.id for run in runs if run.id in announced} == {runs[0].id, runs[2].id}
        assert {one.__dict__["project_id"] for one in caplog.records} == {str(stuck.project_id)}
        assert stuck.id in {one.run for one in await ours.work_queue.requeue_overdue(NOON)}
