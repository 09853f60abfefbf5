"""Writers of many scores keep the rows of the newest ones, and don't deadlock over them."""

import asyncio

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within
from domain.evaluation.runs.run import RunStatus
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import latest_scores
from tests.support.fixtures.evaluation.evaluation import METRICS, a_run, over_postgres, work_of
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

TARGETS = 300  # both writers are amid them when the other one is
LOCK_LATEST = "SELECT 1 FROM latest_trace_scores WHERE project_id = $1 FOR UPDATE"
WAITING = "trace_scores"


@pytest.fixture
async def evaluating(pool):
    async with over_postgres(pool) as evaluating:
        yield evaluating


@pytest.mark.parametrize("ending", ["cancelled", "deleted"])
async def test_runs_in_opposite_orders_end_at_once(pool, postgres_url, evaluating, ending):
    """Their scores are stored in the order of the targets, and all have the same newest ones."""
    ours = project()
    earlier, *runs = (a_run(ours, TARGETS, metrics=METRICS[:1]) for _ in range(3))
    await evaluating.start_run(earlier, work_of(earlier))
    await evaluating.runs.cancel(ours, earlier.id, NOON)
    for run, step in zip(runs, (1, -1), strict=True):
        await evaluating.start_run(run, work_of(run)[::step])
    await evaluating.work_queue.dispatch(ours, NOON)  # some are in flight, of both runs

    async def end(run):
        if ending == "cancelled":
            return (await evaluating.runs.cancel(ours, run.id, NOON)).run.status
        return await evaluating.runs.delete(ours, run.id, NOON, with_scores=True)

    if ending == "deleted":
        for run in runs:
            await evaluating.runs.cancel(ours, run.id, NOON)
    async with open_pool(Engine(config={}), PoolSettings(url=postgres_url, size=2)) as aside:
        async with within(aside, ALL_TENANTS).transaction() as locking:
            await locking.execute(LOCK_LATEST, ours)
            both = [asyncio.create_task(end(run)) for run in runs]
            await until(lambda: count_lock_waits(aside, WAITING), lambda count: count >= len(runs))
        statuses = await asyncio.gather(*both)
    assert statuses == [RunStatus.CANCELLED if ending == "cancelled" else None] * 2
    assert await within(pool, ours).fetch(latest_scores.DIFFERING, ours) == []
