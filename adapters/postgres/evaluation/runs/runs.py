"""Runs in Postgres: the port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.keyset_pages import Ordered, Where
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, snapshot
from adapters.postgres.database.sql_builder import Parameters, Sql
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_rows import SESSION_SCORES, TRACE_SCORES
from adapters.postgres.evaluation.work_queue.cancel import cancel
from adapters.postgres.evaluation.work_queue.plan import store
from adapters.postgres.evaluation.work_queue.run_rows import RUN_COLUMNS, TALLY_COLUMNS, run_of
from adapters.postgres.evaluation.work_queue.settlement import SHOWN, locked_run
from adapters.postgres.evaluation.work_queue.tally import progress
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

ADVICE: Final = "narrow the list with status, or try again later"
STEP: Final = 5_000  # rows of one transaction, where a run is removed

READ_RUN: Final = f"SELECT {SHOWN} FROM eval_runs WHERE {OF_PROJECT} AND id = $2"
DELETE_RUN: Final = f"DELETE FROM eval_runs WHERE {OF_PROJECT} AND id = $2"
WORK: Final = "eval_jobs"
DELETE_WORK: Final = f"""
DELETE FROM eval_jobs WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM eval_jobs WHERE {OF_PROJECT} AND run_id = $2 LIMIT $3
))
"""
# Nobody adds to it any more: who adds a signal holds the run.
HOLD_RUN: Final = f"SELECT FROM eval_runs WHERE {OF_PROJECT} AND id = $2 FOR UPDATE"
# By their places, which no statistics can mislead.
SOME_SCORES: Final = f"""
SELECT ctid FROM {{table}} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {{table}} WHERE {OF_PROJECT} AND run_id = $2 LIMIT $3
)) ORDER BY project_id, id FOR UPDATE
"""
FREE_SCORES: Final = f"""
UPDATE {{table}} SET run_id = NULL WHERE ctid = ANY(ARRAY({SOME_SCORES}))
"""
DELETE_SCORES: Final = f"DELETE FROM {{table}} WHERE ctid = ANY(ARRAY({SOME_SCORES}))"
IS_THERE: Final = f"SELECT EXISTS (SELECT FROM {{table}} WHERE {OF_PROJECT} AND run_id = $2)"
FAILURES: Final = f"""
SELECT {{target}}::text AS target, name, code FROM {{table}}
WHERE {OF_PROJECT} AND run_id = $2 AND outcome = '{ScoreOutcome.FAILED}'
"""


@dataclass(frozen=True, slots=True)
class PostgresRuns:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def create(self, run: EvalRun, work: Sequence[WorkItem]) -> RunProgress:
        async with transaction(self.pool) as connection:
            await store(connection, run, work)
            return await _read(connection, run.project_id, run.id)

    async def get(self, project: ProjectId, run: RunId) -> RunProgress:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            return await _read(connection, project, run)

    async def page(
        self, project: ProjectId, of: TargetType, status: RunStatus | None, window: PageRequest
    ) -> Page[RunProgress]:
        ordered = Ordered(
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
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            p = Parameters([project])
            counting = f"SELECT count(*) FROM eval_runs WHERE {OF_PROJECT}"
            sql = " AND ".join([counting, *p.all_of(where)])
            total: int = await connection.fetchval(sql, *p.values)
            found = await ordered.matching(
                connection, Where(served=where, among=total, total=total)
            )
            shown = await progress(connection, project, found.rows[: window.limit])
        end = _place(shown[-1]) if len(found.rows) > len(shown) else None
        return Page(shown, total, end)

    async def failures(self, project: ProjectId, run: RunId) -> tuple[EvalRun, Sequence[Execution]]:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            row = await connection.fetchrow(READ_RUN, project, run)
            if row is None:
                raise NotFound("Run not found")
            failed = [
                Execution(one["target"], one["name"], ScoreOutcome.FAILED, one["code"])
                for table in (TRACE_SCORES, SESSION_SCORES)
                for one in await connection.fetch(
                    FAILURES.format(table=table.name, target=table.target), project, run
                )
            ]
        return run_of(row), sorted(failed, key=lambda one: (one.target, one.metric))

    async def cancel(self, project: ProjectId, run: RunId, now: datetime) -> RunProgress:
        is_over = False
        while not is_over:
            async with transaction(self.pool) as connection:
                row = await locked_run(connection, project, run)
                if row is None:
                    raise NotFound("Run not found")
                is_over = await cancel(connection, row, now)
                found = await _read(connection, project, run)
        return found

    async def delete(
        self, project: ProjectId, run: RunId, now: datetime, *, with_scores: bool
    ) -> None:
        if not (await self.get(project, run)).run.status.is_final:
            await self._cancel_if_live(project, run, now)
        pieces = DELETE_SCORES if with_scores else FREE_SCORES
        while True:
            async with transaction(self.pool) as connection:
                if not await _take_apart(connection, project, run, pieces):
                    break
        async with transaction(self.pool) as connection:
            await connection.execute(HOLD_RUN, project, run)
            while await _take_apart(connection, project, run, pieces):
                pass
            await connection.execute(DELETE_RUN, project, run)

    async def _cancel_if_live(self, project: ProjectId, run: RunId, now: datetime) -> None:
        try:
            await self.cancel(project, run, now)
        except Conflict:  # it has ended meanwhile, which is as good
            return


async def _read(connection: Connection, project: ProjectId, run: RunId) -> RunProgress:
    row = await connection.fetchrow(READ_RUN, project, run)
    if row is None:
        raise NotFound("Run not found")
    [found] = await progress(connection, project, [row])
    return found


async def _take_apart(connection: Connection, project: ProjectId, run: RunId, pieces: str) -> bool:
    """Removes a piece of a run that is over; whether there was anything to be removed."""
    for table in (TRACE_SCORES.name, SESSION_SCORES.name, WORK):
        if await connection.fetchval(IS_THERE.format(table=table), project, run):
            sql = DELETE_WORK if table == WORK else pieces.format(table=table)
            await connection.execute(sql, project, run, STEP)
            return True
    return False


def _place(one: RunProgress) -> Position:
    return Position(one.run.created_at, one.run.id)
