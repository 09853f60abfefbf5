"""Cancelling a run: at once, and of a large one its scores piece by piece.

The first transaction ends all work: from then on `cancelled_at` is there, nothing is claimed, and
what the run came to stands. Its status follows with the last of its scores, so that nobody sees
a final run with a PENDING one. After an interruption planning goes on with it.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.evaluation.scores.score_rows import ScoreTable
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import (
    TALLY_COLUMNS,
    final_tally,
    run_of,
    tally_row,
)
from adapters.postgres.evaluation.work_queue.settlement import (
    IS_PENDING,
    OPEN,
    pending,
    pending_of,
    store_ended,
)
from adapters.postgres.evaluation.work_queue.tally import counted, ids_of, table_of
from domain.evaluation.runs.run import EvalRun, Tally, WorkItem
from domain.evaluation.scores.score import ScoreOutcome

SKIPPED_AT_ONCE: Final = 5_000  # scores of one transaction

HOLD_IN_FLIGHT: Final = f"""
SELECT target, metrics FROM eval_jobs
WHERE {OF_PROJECT} AND run_id = $2 AND due_at IS NOT NULL
ORDER BY target FOR UPDATE
"""
CLOSE_ALL: Final = f"""
UPDATE eval_jobs SET state = 'done', due_at = NULL, updated_at = $3
WHERE {OF_PROJECT} AND run_id = $2 AND {OPEN}
"""
BEGIN: Final = f"""
UPDATE eval_runs SET cancelled_at = $3, announced_at = $3,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=4))}
WHERE {OF_PROJECT} AND id = $2
"""
GO_ON: Final = f"""
UPDATE eval_runs SET skipped_count = $3, announced_at = $4 WHERE {OF_PROJECT} AND id = $2
"""
WAITS: Final = f"run_id = $2 AND outcome = '{ScoreOutcome.PENDING}'"
# Of a waiting score that somebody has said something about.
REMARKED: Final = f"{WAITS} AND (reason IS NOT NULL OR metadata::text <> '{{}}')"
# By their places, which no statistics can mislead. What somebody holds is left for the next piece:
# by now others are held, and whoever holds this may wait for one of them.
SKIP: Final = f"""
UPDATE {{table}}
SET outcome = $3, source = $4, reason = $5, metadata = $6, code = $7, updated_at = $8
WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {{table}} WHERE {IS_PENDING} AND ctid = ANY(ARRAY(
    SELECT ctid FROM {{table}} WHERE {OF_PROJECT} AND {WAITS} LIMIT $9
  )) ORDER BY project_id, id FOR UPDATE SKIP LOCKED
))
"""


async def cancel(
    connection: Connection, row: Record, now: datetime, most: int = SKIPPED_AT_ONCE
) -> bool:
    """Takes the cancelling of a locked run further by `most` scores; whether it is over then.

    Raises Conflict where it has ended otherwise.
    """
    run, since = run_of(row), row["cancelled_at"] or now
    cancelled = run.cancelled(since)
    if cancelled is run:
        return True
    tally = final_tally(row) or await _begin(connection, run, since)
    skipped = tally.skipped + await _skip_some(connection, run, since, most)
    key, table = (run.project_id, run.id), table_of(run.target_type)
    more = f"SELECT EXISTS (SELECT FROM {table.name} WHERE {OF_PROJECT} AND {WAITS})"
    if await connection.fetchval(more, *key):
        await connection.execute(GO_ON, *key, skipped, now)
        return False
    await store_ended(connection, cancelled, replace(tally, pending=0, skipped=skipped))
    return True


async def _begin(connection: Connection, run: EvalRun, now: datetime) -> Tally:
    """Ends all work of a run; what it came to, but for what is skipped after that."""
    key = (run.project_id, run.id)
    held = await connection.fetch(HOLD_IN_FLIGHT, *key)
    work = [WorkItem(row["target"], tuple(row["metrics"] or run.metrics)) for row in held]
    # Whoever is about to write one of these waits, and then finds it skipped.
    table, ids = table_of(run.target_type), [score for one in work for score in ids_of(run, one)]
    begun = await pending_of(connection, table, run.project_id, ids)
    tally = await counted(connection, run)  # what is closed now was not evaluated
    await update_scores(connection, table, [one.cancelled(now) for one in begun])
    tally = replace(tally, skipped=tally.skipped + len(begun))
    await connection.execute(CLOSE_ALL, *key, now)
    await connection.execute(BEGIN, *key, now, *tally_row(tally))
    return tally


async def _skip_some(connection: Connection, run: EvalRun, now: datetime, most: int) -> int:
    """Some PENDING scores of a run as `cancelled` leaves them; how many."""
    table, key = table_of(run.target_type), (run.project_id, run.id)
    remarked = await pending(connection, table, run.project_id, REMARKED, run.id)
    await update_scores(connection, table, [one.cancelled(now) for one in remarked])
    return len(remarked) + await _skip_alike(connection, table, key, now, most)


async def _skip_alike(
    connection: Connection, table: ScoreTable[Any], key: tuple[Any, ...], now: datetime, most: int
) -> int:
    """Those that nobody has said anything about: one tells how all of them end."""
    one = f"SELECT {table.select()} FROM {table.name} WHERE {OF_PROJECT} AND {WAITS} LIMIT 1"
    row = await connection.fetchrow(one, *key)
    if row is None:
        return 0
    score = table.score(row).cancelled(now)
    ended = (score.outcome, score.source, score.reason, score.metadata, score.code, now)
    status = await connection.execute(SKIP.format(table=table.name), *key, *ended, most)
    return int(status.rpartition(" ")[2])
