"""Overdue work is announced although one project can't queue more of its own at the moment."""

import pytest

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT
from application.jobs import PlanRunJob
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import a_run, over_postgres, work_of

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
            assert PlanRunJob(lost.project_id, lost.id) in await queue.requeue_overdue(LATE)
        assert busy.id in {one.run for one in await queue.requeue_overdue(LATE)}
