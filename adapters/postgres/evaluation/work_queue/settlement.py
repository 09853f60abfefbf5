"""Settles targets and runs: their tallies, and how they end."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES, ScoreTable
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import (
    RUN_COLUMNS,
    RUN_WITHOUT_FILTERS,
    TALLY_COLUMNS,
    tally_row,
)
from adapters.postgres.evaluation.work_queue.tally import count_run, count_target, score_ids
from domain.evaluation.runs.run import EvalRun, Tally, WorkItem
from domain.evaluation.scores.outcome import FailCode, Failed
from domain.evaluation.scores.score import Score, ScoreOutcome
from domain.ids import ProjectId, RunId, ScoreId

_STATE: Final = ", ".join((*TALLY_COLUMNS, "cancelled_at"))
RUN_SELECT_LIST: Final = f"{', '.join(RUN_COLUMNS)}, {_STATE}"
# Serialises finishing, planning and cancelling: the last of them settles the run.
LOCK_RUN: Final = (
    f"SELECT {RUN_WITHOUT_FILTERS}, {_STATE} FROM eval_runs"
    f" WHERE {OF_PROJECT} AND id = $2 FOR NO KEY UPDATE"
)
END_RUN: Final = f"""
UPDATE eval_runs SET status = $3, error_message = $4, completed_at = $5, announced_at = NULL,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=6))}
WHERE {OF_PROJECT} AND id = $2
"""
IS_OPEN_TARGET: Final = "state IN ('unplanned', 'waiting', 'queued', 'running')"
HAS_OPEN_TARGETS: Final = f"""
SELECT EXISTS (
  SELECT 1 FROM eval_jobs WHERE {OF_PROJECT} AND run_id = $2 AND {IS_OPEN_TARGET}
)
"""
# The expression keeps the planner from the index of PENDING scores of the project, which it would
# rate as good as the primary key.
IS_PENDING: Final = f"outcome || '' = '{ScoreOutcome.PENDING}'"
RESULT_COLUMNS: Final = ("scored", "failed", "skipped", "codes")


async def lock_run(connection: Connection, project: ProjectId, run: RunId) -> Record | None:
    """Locks a run for a change of its tally; returns its row without the filters."""
    row: Record | None = await connection.fetchrow(LOCK_RUN, project, run)
    return row


async def close_scores(
    connection: Connection, run: EvalRun, work: WorkItem, code: FailCode, now: datetime
) -> tuple[object, ...]:
    """Fails the PENDING scores of a target with `code`; returns the values of RESULT_COLUMNS."""
    table, ids = SCORE_TABLES[run.target_type], score_ids(run, work)
    left = await lock_pending_by_id(connection, table, run.project_id, ids)
    await update_scores(connection, table, [one.with_outcome(Failed(code), now) for one in left])
    tally = await count_target(connection, run, work)
    codes = [*Counter(tally.codes).elements()] or None
    return tally.scored, tally.failed, tally.skipped, codes


async def settle(connection: Connection, run: EvalRun, now: datetime) -> None:
    """Ends a locked run if none of its targets is open."""
    if await connection.fetchval(HAS_OPEN_TARGETS, run.project_id, run.id):
        return
    tally = await count_run(connection, run)
    settled = run.settled(tally, now)
    if settled is not run:
        await store_finished_run(connection, settled, tally)


async def store_finished_run(connection: Connection, over: EvalRun, tally: Tally) -> None:
    """Stores the end of a locked run, and its tally."""
    ended = (over.status, over.error_message, over.completed_at)
    await connection.execute(END_RUN, over.project_id, over.id, *ended, *tally_row(tally))


async def lock_pending_where(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, where: str, *values: object
) -> list[Score]:
    """Locks the scores that match `where`, and skips those that another transaction has locked."""
    rows = await connection.fetch(
        f"""
        SELECT {table.select()} FROM {table.name}
        WHERE {OF_PROJECT} AND {where} ORDER BY project_id, id FOR UPDATE SKIP LOCKED
        """,
        project, *values,
    )  # fmt: skip
    return [table.score(row) for row in rows]


async def lock_pending_by_id(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, ids: Iterable[ScoreId]
) -> list[Score]:
    """Locks the PENDING ones of the scores, in the order of the key."""
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
