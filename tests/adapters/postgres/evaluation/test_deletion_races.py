"""Deletions at the same time as others.

Two deletions of one thing leave one entry in the audit log. A correction stays when its run is
deleted, and a run stays when its monitor is deleted.
"""

import asyncio
import uuid
from dataclasses import replace

import pytest

from adapters.postgres.database.tenants import within
from adapters.postgres.evaluation.monitors.monitors import LOCK_MONITOR
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES
from adapters.postgres.evaluation.work_queue.plan import insert_run
from application.evaluation.runs.requests import DeleteRun
from domain.errors import NotFound
from domain.evaluation.runs.run import TargetType
from domain.identity.api_key import ALL_SCOPES
from domain.identity.caller import Caller
from domain.identity.organization import Role
from domain.ids import OrganizationId, UserId
from tests.contracts.exports.test_exports import MINUTE, an_export
from tests.contracts.test_audited_changes import an_entry
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation import evaluation, monitors
from tests.support.fixtures.evaluation.evaluation import a_run, all_scores, work_of
from tests.support.fixtures.evaluation.monitors import run_of
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

COUNT_ENTRIES = "SELECT count(*) FROM audit_log WHERE organization_id = $1"
KEY = "project_id = $1 AND id = $2"
WAITING = "(eval_runs|exports)"


def same_log(one, as_of, at):
    return replace(one, organization_id=as_of.organization_id, at=at)


async def at_once(pool, table, ours, *deletions):
    async with within(pool, ours).transaction() as earlier:
        await earlier.execute(f"SELECT 1 FROM {table} WHERE project_id = $1 FOR UPDATE", ours)
        tasks = [asyncio.create_task(one) for one in deletions]
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count == len(deletions))
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_run_is_deleted_with_one_entry_and_again_once_it_is_stored_again(patient_pool, pool):
    async with evaluation.over_postgres(patient_pool) as evaluating:
        run, entry, runs = a_run(project(), 2), an_entry(), evaluating.runs
        for count in (1, 2):
            await evaluating.start_run(run, work_of(run))
            await runs.cancel(run.project_id, run.id, NOON)
            entries = [an_entry() for _ in range(2)]
            deletions = [
                runs.delete(
                    run.project_id,
                    run.id,
                    NOON,
                    with_scores=True,
                    audit=same_log(one, entry, run.created_at),
                )
                for one in entries
            ]
            gone = await at_once(pool, "eval_runs", run.project_id, *deletions)
            assert all(one is None or isinstance(one, NotFound) for one in gone)
            assert await pool.fetchval(COUNT_ENTRIES, entry.organization_id) == count
            run = a_run(run.project_id, 2, id=run.id, created_at=run.created_at + MINUTE)


async def test_run_that_starts_during_the_delete_of_its_monitor_stays_without_it(
    patient_pool, pool
):
    async with monitors.over_postgres(patient_pool) as monitoring:
        monitor = await monitoring.create_monitor(project())
        run = run_of(monitor)
        async with within(pool, run.project_id).transaction() as starting:
            await starting.execute(LOCK_MONITOR, run.project_id, monitor.id)
            delete = monitoring.monitors.delete(run.project_id, monitor.id)
            deleting = asyncio.create_task(delete)
            await until(lambda: count_lock_waits(pool, "monitors"))
            assert await insert_run(starting, run, work_of(run))
        assert await deleting
        assert (await monitoring.evaluating.run(run)).monitor_id is None


@pytest.mark.parametrize("of", TargetType)
@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN])
async def test_correction_during_deletion_of_its_run_stays(patient_pool, pool, of, role):
    """Only an OWNER or ADMIN deletes what another person wrote."""
    async with evaluation.over_postgres(patient_pool) as evaluating:
        run = a_run(project(), 2, target_type=of)
        await evaluating.start_run(run, work_of(run))
        await evaluating.runs.cancel(run.project_id, run.id, NOON)
        ours, (score, *_) = run.project_id, await evaluating.scores(run)
        ada, eve = (UserId(uuid.uuid4()) for _ in "ab")
        caller = Caller(
            organization_id=OrganizationId(uuid.uuid4()),
            project_id=ours,
            scopes=ALL_SCOPES,
            user_id=eve,
            role=role,
        )
        delete = DeleteRun(
            evaluating.runs, evaluating.trace_scores, evaluating.session_scores, lambda: NOON
        )
        change = f"UPDATE {SCORE_TABLES[of].name} SET author_id = $3, reason = 'no' WHERE {KEY}"
        async with within(pool, ours).transaction() as correcting:
            await correcting.execute(change, ours, score.id, ada)
            deletion = asyncio.create_task(delete(caller, run.id, with_scores=True))
            await until(lambda: count_lock_waits(pool, "_scores"))
        await deletion
        left = await all_scores(evaluating, ours)
        kept = [] if role is Role.ADMIN else [(score.id, ada, "no", None)]
        assert [(one.id, one.author_id, one.reason, one.run_id) for one in left] == kept
        with pytest.raises(NotFound):
            await evaluating.runs.get(ours, run.id)


async def test_export_is_deleted_with_one_entry(patient_pool, pool):
    async with evaluation.over_postgres(patient_pool) as evaluating:
        ours, entry, exports = project(), an_entry(), evaluating.plane.exporting.exports
        export = await exports.create(an_export(ours))
        claimed = await exports.claim(NOON, NOON + MINUTE)
        assert await exports.save(claimed, b"a piece")
        deletions = [
            exports.delete(ours, export.id, audit=same_log(an_entry(), entry, export.created_at))
            for _ in range(2)
        ]
        gone = await at_once(pool, "exports", ours, *deletions)
        # One may have deleted all before the other has its turn, which then finds nothing.
        assert sorted(gone) in ([False, True], [True, True])
        assert await pool.fetchval(COUNT_ENTRIES, entry.organization_id) == 1
