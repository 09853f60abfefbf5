"""What the rows of a run come to, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.engine import OF_PROJECT, WRITE_TIMEOUT_S, Connection, Pool, translated
from adapters.postgres.run_rows import (
    RUN_COLUMNS,
    TALLY_COLUMNS,
    by_run,
    final_tally,
    run_of,
    tally_of,
    tally_row,
)
from adapters.postgres.score_rows import SESSION_SCORES, TRACE_SCORES, ScoreTable
from adapters.postgres.scores import put_back
from domain.evaluation.outcome import FailCode, Failed
from domain.evaluation.run import Assignment, EvalRun, RunProgress, Tally, TargetType
from domain.evaluation.score import Score, ScoreOutcome
from domain.ids import ProjectId, RunId

SHOWN: Final = ", ".join((*RUN_COLUMNS, *TALLY_COLUMNS))
# Who finishes a target, plans or cancels goes one after the other: the last of them settles it.
LOCK_RUN: Final = f"SELECT {SHOWN} FROM eval_runs WHERE {OF_PROJECT} AND id = $2 FOR NO KEY UPDATE"
END_RUN: Final = f"""
UPDATE eval_runs SET status = $3, error_message = $4, completed_at = $5,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=6))}
WHERE {OF_PROJECT} AND id = $2
"""
OPEN: Final = "state IN ('unplanned', 'waiting', 'queued', 'running')"
IS_OPEN: Final = (
    f"SELECT EXISTS (SELECT FROM eval_jobs WHERE {OF_PROJECT} AND run_id = $2 AND {OPEN})"
)
OPEN_COUNTS: Final = f"""
SELECT run_id, count(*) AS open FROM eval_jobs
WHERE {OF_PROJECT} AND run_id = ANY($2::uuid[]) AND {OPEN} GROUP BY run_id
"""
# Of a waiting score that somebody has said something about.
REMARKED: Final = "run_id = $2 AND (reason IS NOT NULL OR metadata::text <> '{}')"
CLOSE_ALL: Final = f"""
UPDATE eval_jobs SET state = 'done', due_at = NULL, updated_at = $3
WHERE {OF_PROJECT} AND run_id = $2 AND {OPEN}
"""


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One that is given up where it takes longer than WRITE_TIMEOUT_S. Raises Unavailable."""
    async with (
        translated(),
        asyncio.timeout(WRITE_TIMEOUT_S),
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


def table_of(target_type: TargetType) -> ScoreTable[Any]:
    return TRACE_SCORES if target_type is TargetType.TRACE else SESSION_SCORES


async def locked_run(connection: Connection, project: ProjectId, run: RunId) -> Record | None:
    """Its row of RUN_COLUMNS and TALLY_COLUMNS, for whoever changes what it comes to."""
    row: Record | None = await connection.fetchrow(LOCK_RUN, project, run)
    return row


async def progress(
    connection: Connection, project: ProjectId, rows: Sequence[Record]
) -> list[RunProgress]:
    """Runs of one kind of target with what they come to, in the order of their rows."""
    live = [run_of(row) for row in rows if row["evaluated_count"] is None]
    counted = await _counted(connection, project, live) if live else {}
    found = [(run_of(row), final_tally(row)) for row in rows]
    return [RunProgress(run, tally or counted[run.id]) for run, tally in found]


async def counted(connection: Connection, run: EvalRun) -> Tally:
    return (await _counted(connection, run.project_id, [run]))[run.id]


async def _counted(
    connection: Connection, project: ProjectId, runs: Sequence[EvalRun]
) -> Mapping[RunId, Tally]:
    ids, tallies = [run.id for run in runs], dict[RunId, Tally]()
    left = await connection.fetch(OPEN_COUNTS, project, ids)
    still_open = {RunId(row["run_id"]): row["open"] for row in left}
    for target_type in {run.target_type for run in runs}:
        sql = f"""
        SELECT run_id, name, outcome, code, count(*) AS executions
        FROM {table_of(target_type).name}
        WHERE {OF_PROJECT} AND run_id = ANY($2::uuid[]) GROUP BY run_id, name, outcome, code
        """
        groups = by_run(await connection.fetch(sql, project, ids))
        for run in runs:
            if run.target_type is target_type:
                finished = run.targets - still_open.get(run.id, 0)
                tallies[run.id] = tally_of(run, finished, groups.get(run.id, ()))
    return tallies


async def fail_open(
    connection: Connection, run: EvalRun, work: Assignment, code: FailCode, now: datetime
) -> None:
    """What is PENDING of a target that is finished, FAILS."""
    table = table_of(run.target_type)
    ids = [run.score_id(work.target, metric) for metric in work.metrics]
    for score in await pending(connection, table, run.project_id, "id = ANY($2::uuid[])", ids):
        await put_back(connection, table, score.measured(Failed(code), now))


async def settle(connection: Connection, run: EvalRun, now: datetime) -> None:
    """Ends a locked run where nothing of it is left to be done."""
    if await connection.fetchval(IS_OPEN, run.project_id, run.id):
        return
    tally = await counted(connection, run)
    settled = run.settled(tally, now)
    if settled is not run:
        await _store(connection, settled, tally)


async def end(connection: Connection, over: EvalRun, now: datetime) -> None:
    """Stores a locked run that is over now, with nothing left to be done."""
    project, run = over.project_id, over.id
    still_open = await connection.fetchrow(OPEN_COUNTS, project, [run])
    # What is closed now was not evaluated.
    finished = over.targets - (still_open["open"] if still_open else 0)
    await connection.execute(CLOSE_ALL, project, run, now)
    await _skip_all(connection, over, now)
    table = table_of(over.target_type)
    groups = await connection.fetch(
        f"""
        SELECT name, outcome, code, count(*) AS executions FROM {table.name}
        WHERE {OF_PROJECT} AND run_id = $2 GROUP BY name, outcome, code
        """,
        project, run,
    )  # fmt: skip
    await _store(connection, over, tally_of(over, finished, groups))


async def _store(connection: Connection, over: EvalRun, tally: Tally) -> None:
    ended = (over.status, over.error_message, over.completed_at)
    await connection.execute(END_RUN, over.project_id, over.id, *ended, *tally_row(tally))


async def pending(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, where: str, *values: object
) -> list[Score]:
    """PENDING scores, locked in the order of the key."""
    rows = await connection.fetch(
        f"""
        SELECT {", ".join(table.types)} FROM {table.name}
        WHERE {OF_PROJECT} AND outcome = '{ScoreOutcome.PENDING}' AND {where}
        ORDER BY project_id, id FOR UPDATE
        """,
        project, *values,
    )  # fmt: skip
    return [table.score(row) for row in rows]


async def _skip_all(connection: Connection, run: EvalRun, now: datetime) -> None:
    """Every PENDING score of a run as `cancelled` leaves it."""
    table, project = table_of(run.target_type), run.project_id
    for score in await pending(connection, table, project, REMARKED, run.id):
        await put_back(connection, table, score.cancelled(now))
    # The others are all alike, so that one tells how they end.
    row = await connection.fetchrow(
        f"""
        SELECT {", ".join(table.types)} FROM {table.name}
        WHERE {OF_PROJECT} AND run_id = $2 AND outcome = '{ScoreOutcome.PENDING}' LIMIT 1
        """,
        project, run.id,
    )  # fmt: skip
    if row is None:
        return
    skipped = table.score(row).cancelled(now)
    await connection.execute(
        f"""
        UPDATE {table.name} AS s
        SET outcome = $3, source = $4, reason = $5, metadata = $6, code = $7, updated_at = $8
        FROM (
          SELECT project_id, id FROM {table.name}
          WHERE {OF_PROJECT} AND run_id = $2 AND outcome = '{ScoreOutcome.PENDING}'
          ORDER BY project_id, id FOR UPDATE
        ) AS locked
        WHERE s.project_id = locked.project_id AND s.id = locked.id
        """,
        project, run.id, skipped.outcome, skipped.source, skipped.reason, skipped.metadata,
        skipped.code, skipped.updated_at,
    )  # fmt: skip
