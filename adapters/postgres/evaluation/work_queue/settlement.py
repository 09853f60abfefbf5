"""What the rows of a run come to, and how it ends."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.evaluation.scores.score_rows import ScoreTable
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import RUN_COLUMNS, TALLY_COLUMNS, tally_row
from adapters.postgres.evaluation.work_queue.tally import counted, executed, ids_of, table_of
from domain.evaluation.runs.run import EvalRun, Tally, WorkItem
from domain.evaluation.scores.outcome import FailCode, Failed
from domain.evaluation.scores.score import Score, ScoreOutcome
from domain.ids import ProjectId, RunId, ScoreId

SHOWN: Final = ", ".join((*RUN_COLUMNS, *TALLY_COLUMNS, "cancelled_at"))
# Who finishes a target, plans or cancels goes one after the other: the last of them settles it.
LOCK_RUN: Final = f"SELECT {SHOWN} FROM eval_runs WHERE {OF_PROJECT} AND id = $2 FOR NO KEY UPDATE"
END_RUN: Final = f"""
UPDATE eval_runs SET status = $3, error_message = $4, completed_at = $5, announced_at = NULL,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=6))}
WHERE {OF_PROJECT} AND id = $2
"""
OPEN: Final = "state IN ('unplanned', 'waiting', 'queued', 'running')"
IS_OPEN: Final = (
    f"SELECT EXISTS (SELECT FROM eval_jobs WHERE {OF_PROJECT} AND run_id = $2 AND {OPEN})"
)
# Said so that no index of all that is PENDING in a project is taken to be as good as the key.
IS_PENDING: Final = f"outcome || '' = '{ScoreOutcome.PENDING}'"
CAME_TO: Final = ("scored", "failed", "skipped", "codes")


async def locked_run(connection: Connection, project: ProjectId, run: RunId) -> Record | None:
    """Its row of RUN_COLUMNS and TALLY_COLUMNS, for whoever changes what it comes to."""
    row: Record | None = await connection.fetchrow(LOCK_RUN, project, run)
    return row


async def closed(
    connection: Connection, run: EvalRun, work: WorkItem, code: FailCode, now: datetime
) -> tuple[object, ...]:
    """What a target that is finished came to, as its row keeps it: see CAME_TO.

    What is PENDING of it FAILS with `code`.
    """
    table, ids = table_of(run.target_type), ids_of(run, work)
    left = await pending_of(connection, table, run.project_id, ids)
    await update_scores(connection, table, [one.with_outcome(Failed(code), now) for one in left])
    tally = await executed(connection, run, work)
    codes = [*Counter(tally.codes).elements()] or None
    return tally.scored, tally.failed, tally.skipped, codes


async def settle(connection: Connection, run: EvalRun, now: datetime) -> None:
    """Ends a locked run where nothing of it is left to be done."""
    if await connection.fetchval(IS_OPEN, run.project_id, run.id):
        return
    tally = await counted(connection, run)
    settled = run.settled(tally, now)
    if settled is not run:
        await store_ended(connection, settled, tally)


async def store_ended(connection: Connection, over: EvalRun, tally: Tally) -> None:
    """Stores that a locked run is over, and what it came to."""
    ended = (over.status, over.error_message, over.completed_at)
    await connection.execute(END_RUN, over.project_id, over.id, *ended, *tally_row(tally))


async def pending(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, where: str, *values: object
) -> list[Score]:
    """Scores that `where` says, locked; those that somebody holds are left out."""
    rows = await connection.fetch(
        f"""
        SELECT {table.select()} FROM {table.name}
        WHERE {OF_PROJECT} AND {where} ORDER BY project_id, id FOR UPDATE SKIP LOCKED
        """,
        project, *values,
    )  # fmt: skip
    return [table.score(row) for row in rows]


async def pending_of(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, ids: Iterable[ScoreId]
) -> list[Score]:
    """Those of some scores that are PENDING, locked in the order of the key."""
    rows = await connection.fetch(
        f"""
        SELECT {table.select("found")}
        FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
          SELECT * FROM {table.name} WHERE {OF_PROJECT} AND id = wanted.id AND {IS_PENDING}
          LIMIT 1 FOR UPDATE
        ) AS found
        """,
        project, sorted(ids),
    )  # fmt: skip
    return [table.score(row) for row in rows]
