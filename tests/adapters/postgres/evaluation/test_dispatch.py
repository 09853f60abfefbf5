"""Dispatch in a project with more running runs than other tests make."""

import pytest

from adapters.postgres.evaluation.work_queue.dispatch import dispatch
from adapters.postgres.evaluation.work_queue.plan import insert_run
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.evaluation import a_run, later, work_of

pytestmark = pytest.mark.service

STUCK_RUNS = 1_001
RUN_ALL = "UPDATE eval_runs SET status = 'RUNNING', announced_at = NULL WHERE project_id = $1"
PLAN_ALL = "UPDATE eval_jobs SET state = 'waiting' WHERE project_id = $1"
POSTPONE_FIRST = """
UPDATE eval_jobs SET state = 'queued', attempts = 1, run_after = $3, due_at = $3
WHERE project_id = $1 AND run_id <> $2 AND place = 0
"""


async def test_old_runs_that_cannot_go_on_hide_no_new_one(pool):
    ours = project()
    stuck = [a_run(ours, 2) for _ in range(STUCK_RUNS)]
    new = a_run(ours, 2, created_at=later(seconds=1))
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for run in [*stuck, new]:
            await insert_run(connection, run, work_of(run))
        await connection.execute(RUN_ALL, ours)
        await connection.execute(PLAN_ALL, ours)
        await connection.execute(POSTPONE_FIRST, ours, new.id, later(hours=1))
        # One target of each is the limit: only the new one can take one.
        jobs = await dispatch(connection, ours, NOON, 1, 1)
        none = await dispatch(connection, ours, NOON, 1, 1)
        more = await dispatch(connection, ours, NOON, 3, 3)
        await transaction.rollback()
    assert ([job.run for job in jobs], none) == ([new.id], [])
    # These runs have the same number of targets in flight, so the oldest come first.
    assert [job.run for job in more] == sorted(run.id for run in stuck)[:2]
