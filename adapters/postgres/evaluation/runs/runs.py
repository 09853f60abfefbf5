"""Runs of evaluations."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows, require_row
from adapters.postgres.database.read_transactions import NARROW_BY_STATUS, RETRY_LATER, PoolReader
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.evaluation.work_queue.cancel import (
    continue_cancellation,
    wait_for_locked_score,
)
from adapters.postgres.evaluation.work_queue.plan import insert_run
from adapters.postgres.evaluation.work_queue.run_rows import run_from_row
from adapters.postgres.evaluation.work_queue.settlement import RUN_SELECT_LIST, lock_run
from adapters.postgres.evaluation.work_queue.tally import fetch_progress, fetch_run_page
from adapters.postgres.identity.audit_log import store_audit_entry_once
from domain.errors import Conflict
from domain.evaluation.costs.judge_costs import run_scope
from domain.evaluation.runs.run import (
    EvalRun,
    Execution,
    RunProgress,
    RunStatus,
    TargetType,
    WorkItem,
)
from domain.evaluation.runs.summary import ScoreGroup
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, RunId, UserId
from domain.page import Page, PageRequest

ROWS_PER_TRANSACTION: Final = 5_000  # rows that one transaction deletes
RUN_NOT_FOUND: Final = "Run not found"

SELECT_RUN: Final = f"SELECT {RUN_SELECT_LIST} FROM eval_runs WHERE {IN_PROJECT} AND id = $2"
DELETE_RUN: Final = f"DELETE FROM eval_runs WHERE {IN_PROJECT} AND id = $2"
TARGETS_TABLE: Final = "eval_jobs"
# A later run may have its id: that of an experiment which is closed once more.
DELETE_RUN_SPENDING: Final = f"DELETE FROM judge_spending WHERE {IN_PROJECT} AND scope = $2"
DELETE_TARGETS: Final = delete_some(TARGETS_TABLE, f"{IN_PROJECT} AND run_id = $2", "$3")
IS_AUTOMATED: Final = f"source = '{ScoreSource.AUTOMATED}'"
# Blocks new signals of the run: their inserts lock its row.
LOCK_RUN_EXCLUSIVELY: Final = f"SELECT 1 FROM eval_runs WHERE {IN_PROJECT} AND id = $2 FOR UPDATE"


def _some_scores(change: str, which: str = "true") -> str:
    """A statement that changes some scores of a run of which `which` is true.

    By ctid, and in the order of a row, which no index has: no statistics can make the planner
    compare rows with each other. `which` is of the locked row: what another transaction has
    changed meanwhile is left to the next piece.
    """
    return f"""
    {change} WHERE {which} AND ctid = ANY(ARRAY(
      SELECT ctid FROM {{table}} WHERE {which} AND ctid = ANY(ARRAY(
        SELECT ctid FROM {{table}} WHERE {IN_PROJECT} AND run_id = $2 AND {which} LIMIT $3
      )) ORDER BY (project_id, id) FOR UPDATE
    ))
    """


DETACH_SCORES: Final = _some_scores("UPDATE {table} SET run_id = NULL")
DELETE_SCORES: Final = _some_scores("DELETE FROM {table}")
DELETE_SCORES_OF_AUTHORS: Final = _some_scores(
    "DELETE FROM {table}", "(author_id IS NULL OR author_id = ANY($4::uuid[]))"
)
DETACH_SCORES_OF_OTHERS: Final = _some_scores(
    "UPDATE {table} SET run_id = NULL", "author_id <> ALL($4::uuid[])"
)
HAS_ROWS_OF_RUN: Final = (
    f"SELECT EXISTS (SELECT 1 FROM {{table}} WHERE {IN_PROJECT} AND run_id = $2)"
)
SELECT_FAILURES: Final = f"""
SELECT {{target}}::text AS target, name, code FROM {{table}}
WHERE {IN_PROJECT} AND run_id = $2 AND outcome = '{ScoreOutcome.FAILED}'
"""

# As `ScoreGroup`. Run metadata is written compactly, and is searched as text: people may replace it
# by JSON with NUL, of which PostgreSQL reads no member.
GROUP_SCORES: Final = f"""
SELECT name AS metric, outcome, code, judge_kind,
       CASE WHEN {IS_AUTOMATED} THEN threshold END AS threshold,
       {IS_AUTOMATED} AS is_automated,
       {IS_AUTOMATED} AND position('"cache":"hit"' IN metadata::text) > 0 AS is_cached,
       count(*) AS count, coalesce(sum(number), 0) AS total,
       count(*) FILTER (WHERE {IS_AUTOMATED} AND number >= threshold) AS passed
FROM {{table}} WHERE {IN_PROJECT} AND run_id = $2 GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

type _Pieces = Mapping[str, tuple[object, ...]]  # what is done with scores → further parameters


@dataclass(frozen=True, slots=True)
class PostgresRuns(PoolReader):
    """Each read is from one snapshot."""

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        async with transaction(self.pool, run.project_id) as connection:
            await insert_run(connection, run, work)
            return await _fetch_run(connection, run.project_id, run.id)

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        async with self._snapshot(RETRY_LATER, project) as connection:
            return await _fetch_run(connection, project, run)

    async def page(
        self,
        project: ProjectId,
        target_type: TargetType,
        status: RunStatus | None,
        window: PageRequest,
    ) -> Page[RunProgress]:
        where = [Sql("target_type = {}", (target_type,))]
        where += [Sql("status = {}", (status,))] if status is not None else []
        async with self._snapshot(NARROW_BY_STATUS, project) as connection:
            return await fetch_run_page(connection, project, where, window)

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        async with self._snapshot(RETRY_LATER, project) as connection:
            row = require_row(await connection.fetchrow(SELECT_RUN, project, run), RUN_NOT_FOUND)
            failed = [
                Execution(one["target"], one["name"], ScoreOutcome.FAILED, one["code"])
                for table in (TRACE_SCORES, SESSION_SCORES)
                for one in await connection.fetch(
                    SELECT_FAILURES.format(table=table.name, target=table.target), project, run
                )
            ]
        return run_from_row(row), sorted(failed, key=lambda one: (one.target, one.metric))

    async def results(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[ScoreGroup]]:
        async with self._visible_snapshot(RETRY_LATER, project) as connection:
            row = require_row(await connection.fetchrow(SELECT_RUN, project, run), RUN_NOT_FOUND)
            groups = [
                ScoreGroup(**{**one, "outcome": ScoreOutcome(one["outcome"])})
                for table in (TRACE_SCORES.name, SESSION_SCORES.name)
                for one in await connection.fetch(GROUP_SCORES.format(table=table), project, run)
            ]
        return run_from_row(row), groups

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        skipped = -1
        while True:
            async with transaction(self.pool, project) as connection:
                row = require_row(await lock_run(connection, project, run), RUN_NOT_FOUND)
                is_over = await continue_cancellation(connection, row, now)
                progress = await _fetch_run(connection, project, run)
            if is_over:
                return progress
            if progress.tally.skipped == skipped:  # all that are left are locked
                async with transaction(self.pool, project) as connection:
                    await wait_for_locked_score(connection, progress.run)
            skipped = progress.tally.skipped

    async def delete(
        self,
        project: ProjectId,
        run: RunId,
        now: datetime,
        *,
        with_scores: bool,
        authors: Collection[UserId] | None = None,
        audit: AuditEntry | None = None,
    ) -> None:
        if not (await self.get(project, run)).run.status.is_final:
            with suppress(Conflict):  # it has ended meanwhile
                await self.cancel(project, run, now)
        pieces = _pieces(authors, with_scores=with_scores)
        while True:
            async with transaction(self.pool, project) as connection:
                if audit is not None:  # its entry comes with the first rows that are deleted
                    row = require_row(await lock_run(connection, project, run), RUN_NOT_FOUND)
                    await store_audit_entry_once(connection, audit, row["created_at"])
                    audit = None
                if not await _delete_some_rows(connection, project, run, pieces):
                    break
        async with transaction(self.pool, project) as connection:
            # Another deletion of the run may have ended meanwhile.
            require_row(
                await connection.fetchrow(LOCK_RUN_EXCLUSIVELY, project, run), RUN_NOT_FOUND
            )
            while await _delete_some_rows(connection, project, run, pieces):
                pass
            await connection.execute(DELETE_RUN_SPENDING, project, run_scope(run))
            await connection.execute(DELETE_RUN, project, run)


async def _fetch_run(connection: Connection, project: ProjectId, run: RunId) -> RunProgress:
    row = require_row(await connection.fetchrow(SELECT_RUN, project, run), RUN_NOT_FOUND)
    [progress] = await fetch_progress(connection, project, [row])
    return progress


def _pieces(authors: Collection[UserId] | None, *, with_scores: bool) -> _Pieces:
    if not with_scores:
        return {DETACH_SCORES: ()}
    if authors is None:
        return {DELETE_SCORES: ()}
    return {DELETE_SCORES_OF_AUTHORS: ([*authors],), DETACH_SCORES_OF_OTHERS: ([*authors],)}


async def _delete_some_rows(
    connection: Connection, project: ProjectId, run: RunId, pieces: _Pieces
) -> bool:
    """Deletes some rows of a run that is over; returns whether there were any."""
    for table in (TRACE_SCORES.name, SESSION_SCORES.name, TARGETS_TABLE):
        if await connection.fetchval(HAS_ROWS_OF_RUN.format(table=table), project, run):
            due: _Pieces = {DELETE_TARGETS: ()} if table == TARGETS_TABLE else pieces
            for sql, more in due.items():
                key = (project, run, ROWS_PER_TRANSACTION, *more)
                if affected_rows(await connection.execute(sql.format(table=table), *key)):
                    break
            return True
    return False
