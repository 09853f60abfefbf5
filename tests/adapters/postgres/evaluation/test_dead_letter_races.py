"""Workers that find targets of one run without an attempt left, at the same moment."""

import asyncio

import pytest

from adapters.postgres.database.tenants import within
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, LEASE
from domain.evaluation.runs.run import RunStatus
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import evaluation
from tests.support.fixtures.evaluation.evaluation import a_run, work_of
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

LOCK_RUN_SHARED = "SELECT 1 FROM eval_runs WHERE project_id = $1 FOR SHARE"
WAITING = "eval_runs"


async def test_workers_dead_letter_targets_of_one_run_at_once(patient_pool, pool):
    async with evaluation.over_postgres(patient_pool) as evaluating:
        run, queue, now = a_run(project(), 2), evaluating.work_queue, NOON
        ours = run.project_id
        await evaluating.start_run(run, work_of(run))
        due = await queue.dispatch(ours, now)
        for _ in range(ATTEMPTS_MAX):
            for one in due:
                await evaluating.claim(one, now)
            now += LEASE
        async with within(pool, ours).transaction() as sharing:  # as workers that claim others
            await sharing.execute(LOCK_RUN_SHARED, ours)
            claims = [
                asyncio.create_task(queue.claim(ours, run.id, one.target, now)) for one in due
            ]
            await until(lambda: count_lock_waits(pool, WAITING), lambda count: count > 1)
        assert await asyncio.gather(*claims) == [None, None]
        assert (await evaluating.run(run)).status is RunStatus.FAILED
