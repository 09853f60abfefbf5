"""Runs of evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.advice import NARROW_BY_STATUS
from adapters.postgres.database.keyset_pages import KeysetQuery, PageConditions
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, read_snapshot
from adapters.postgres.database.sql_builder import Parameters, Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.evaluation.work_queue.cancel import continue_cancellation
from adapters.postgres.evaluation.work_queue.plan import insert_run
from adapters.postgres.evaluation.work_queue.run_rows import (
    RUN_COLUMNS,
    TALLY_COLUMNS,
    run_from_row,
)
from adapters.postgres.evaluation.work_queue.settlement import RUN_SELECT_LIST, lock_run
from adapters.postgres.evaluation.work_queue.tally import fetch_progress
from domain.errors import Conflict, NotFound
from domain.evaluation.runs.run import (
    EvalRun,
    Execution,
    RunProgress,
    RunStatus,
    TargetType,
    WorkItem,
)
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId
from domain.page import Page, PageRequest, Position

ROWS_PER_TRANSACTION: Final = 5_000  # rows that one transaction deletes

SELECT_RUN: Final = f"SELECT {RUN_SELECT_LIST} FROM eval_runs WHERE {OF_PROJECT} AND id = $2"
DELETE_RUN: Final = f"DELETE FROM eval_runs WHERE {OF_PROJECT} AND id = $2"
TARGETS_TABLE: Final = "eval_jobs"
DELETE_TARGETS: Final = f"""
DELETE FROM eval_jobs WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM eval_jobs WHERE {OF_PROJECT} AND run_id = $2 LIMIT $3
))
"""
# Blocks new signals of the run: their inserts lock its row.
LOCK_RUN_EXCLUSIVELY: Final = f"SELECT FROM eval_runs WHERE {OF_PROJECT} AND id = $2 FOR UPDATE"
# By ctid, so that no statistics can mislead the planner.
_LOCK_SOME_SCORES: Final = f"""
SELECT ctid FROM {{table}} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {{table}} WHERE {OF_PROJECT} AND run_id = $2 LIMIT $3
)) ORDER BY project_id, id FOR UPDATE
"""
DETACH_SCORES: Final = f"""
UPDATE {{table}} SET run_id = NULL WHERE ctid = ANY(ARRAY({_LOCK_SOME_SCORES}))
"""
DELETE_SCORES: Final = f"DELETE FROM {{table}} WHERE ctid = ANY(ARRAY({_LOCK_SOME_SCORES}))"
HAS_ROWS_OF_RUN: Final = f"SELECT EXISTS (SELECT FROM {{table}} WHERE {OF_PROJECT} AND run_id = $2)"
SELECT_FAILURES: Final = f"""
SELECT {{target}}::text AS target, name, code FROM {{table}}
WHERE {OF_PROJECT} AND run_id = $2 AND outcome = '{ScoreOutcome.FAILED}'
"""


@dataclass(frozen=True, slots=True)
class PostgresRuns:
    """Each read is from one snapshot, and takes at most `timeout_s`."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        async with transaction(self.pool) as connection:
            await insert_run(connection, run, work)
            return await _fetch_run(connection, run.project_id, run.id)

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        async with read_snapshot(self.pool, NARROW_BY_STATUS, self.timeout_s) as connection:
            return await _fetch_run(connection, project, run)

    async def page(
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
    ) -> Page[RunProgress]:
        query = KeysetQuery(
            project=project,
            table="eval_runs",
            id="id",
            value="created_at",
            columns=(*RUN_COLUMNS, *TALLY_COLUMNS),
            down=True,
            window=window,
        )
        where = [Sql("target_type = {}", (of,))]
        where += [Sql("status = {}", (status,))] if status is not None else []
        async with read_snapshot(self.pool, NARROW_BY_STATUS, self.timeout_s) as connection:
            p = Parameters([project])
            counting = f"SELECT count(*) FROM eval_runs WHERE {OF_PROJECT}"
            sql = " AND ".join([counting, *p.all_of(where)])
            total: int = await connection.fetchval(sql, *p.values)
            found = await query.fetch_page(
                connection, PageConditions(served=where, among=total, total=total)
            )
            shown = await fetch_progress(connection, project, found.rows[: window.limit])
        end = _list_position(shown[-1]) if len(found.rows) > len(shown) else None
        return Page(shown, total, end)

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        async with read_snapshot(self.pool, NARROW_BY_STATUS, self.timeout_s) as connection:
            row = await connection.fetchrow(SELECT_RUN, project, run)
            if row is None:
                raise NotFound("Run not found")
            failed = [
                Execution(one["target"], one["name"], ScoreOutcome.FAILED, one["code"])
                for table in (TRACE_SCORES, SESSION_SCORES)
                for one in await connection.fetch(
                    SELECT_FAILURES.format(table=table.name, target=table.target), project, run
                )
            ]
        return run_from_row(row), sorted(failed, key=lambda one: (one.target, one.metric))

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        is_over = False
        while not is_over:
            async with transaction(self.pool) as connection:
                row = await lock_run(connection, project, run)
                if row is None:
                    raise NotFound("Run not found")
                is_over = await continue_cancellation(connection, row, now)
                found = await _fetch_run(connection, project, run)
        return found

    async def delete(
        self, project: ProjectId, run: RunId, now: datetime, *, with_scores: bool
    ) -> None:
        if not (await self.get(project, run)).run.status.is_final:
            await self._cancel_if_live(project, run, now)
        pieces = DELETE_SCORES if with_scores else DETACH_SCORES
        while True:
            async with transaction(self.pool) as connection:
                if not await _delete_some_rows(connection, project, run, pieces):
                    break
        async with transaction(self.pool) as connection:
            await connection.execute(LOCK_RUN_EXCLUSIVELY, project, run)
            while await _delete_some_rows(connection, project, run, pieces):
                pass
            await connection.execute(DELETE_RUN, project, run)

    async def _cancel_if_live(self, project: ProjectId, run: RunId, now: datetime) -> None:
        try:
            await self.cancel(project, run, now)
        except Conflict:  # it has ended meanwhile
            return


async def _fetch_run(connection: Connection, project: ProjectId, run: RunId) -> RunProgress:
    row = await connection.fetchrow(SELECT_RUN, project, run)
    if row is None:
        raise NotFound("Run not found")
    [found] = await fetch_progress(connection, project, [row])
    return found


async def _delete_some_rows(
    connection: Connection, project: ProjectId, run: RunId, pieces: str
) -> bool:
    """Deletes some rows of a run that is over; returns whether there were any."""
    for table in (TRACE_SCORES.name, SESSION_SCORES.name, TARGETS_TABLE):
        if await connection.fetchval(HAS_ROWS_OF_RUN.format(table=table), project, run):
            sql = DELETE_TARGETS if table == TARGETS_TABLE else pieces.format(table=table)
            await connection.execute(sql, project, run, ROWS_PER_TRANSACTION)
            return True
    return False


def _list_position(one: RunProgress) -> Position:
    return Position(one.run.created_at, one.run.id)
