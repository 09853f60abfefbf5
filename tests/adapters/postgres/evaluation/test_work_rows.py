"""What work on targets reads of runs: not their filters, which may have megabytes."""

import pytest

from adapters.postgres.database.tenants import ALL_TENANTS
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.work_queue.claims import LOCK_RUNNING_RUN
from adapters.postgres.evaluation.work_queue.dispatch import SELECT_NEXT_RUNS
from adapters.postgres.evaluation.work_queue.overdue import REQUEUE_OVERDUE_TARGETS
from adapters.postgres.evaluation.work_queue.settlement import LOCK_RUNS
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.evaluation import (
    WINDOW,
    a_run,
    later,
    over_postgres,
    work_of,
)

pytestmark = pytest.mark.service


async def test_work_reads_no_filters(pool):
    run = a_run(project(), WINDOW + 1, filters=b'{"trace_ids":["a"]}')
    key, late = (run.project_id, run.id), later(hours=1)
    reads = {
        LOCK_RUNNING_RUN: key,
        LOCK_RUNS: (run.project_id, [run.id]),
        SELECT_NEXT_RUNS: (run.project_id, 2 * WINDOW, WINDOW, NOON),
        REQUEUE_OVERDUE_TARGETS: (late, late, 1_000),
    }
    async with over_postgres(pool) as evaluating:
        await evaluating.start_run(run, work_of(run))
        assert await evaluating.work_queue.dispatch(run.project_id, NOON)
        async with transaction(pool, ALL_TENANTS) as connection:
            for sql, values in reads.items():
                ours = [row for row in await connection.fetch(sql, *values) if row["id"] == run.id]
                assert {row["filters"] for row in ours} == {b"{}"}, sql
