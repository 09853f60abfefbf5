"""Cancels a run: its work at once, and its scores in several transactions if there are many.

The first transaction ends all work: it sets `cancelled_at`, nothing is claimed any more, and the
result of the run is final. The status follows with the last score, so that no final run has a
PENDING score. After an interruption, the planning job continues the cancellation.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection, affected_rows
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES, ScoreTable
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import (
    TALLY_COLUMNS,
    final_tally,
    run_from_row,
    tally_row,
)
from adapters.postgres.evaluation.work_queue.settlement import (
    IS_OPEN_TARGET,
    IS_PENDING,
    lock_pending_by_id,
    store_finished_run,
)
from adapters.postgres.evaluation.work_queue.tally import count_run, score_ids, work_from_row
from domain.evaluation.runs.run import EvalRun, Tally
from domain.evaluation.scores.score import ScoreOutcome

SKIPPED_AT_ONCE: Final = 5_000  # scores of one transaction
DETAILED_AT_ONCE: Final = 64  # those with details: each is read, and may have half a megabyte

LOCK_TARGETS_IN_FLIGHT: Final = f"""
SELECT target, metrics FROM eval_jobs
WHERE {IN_PROJECT} AND run_id = $2 AND due_at IS NOT NULL
ORDER BY target FOR UPDATE
"""
CLOSE_OPEN_TARGETS: Final = f"""
UPDATE eval_jobs SET state = 'done', due_at = NULL, updated_at = $3
WHERE {IN_PROJECT} AND run_id = $2 AND {IS_OPEN_TARGET}
"""
BEGIN_CANCELLATION: Final = f"""
UPDATE eval_runs SET cancelled_at = $3, announced_at = $3,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=4))}
WHERE {IN_PROJECT} AND id = $2
"""
UPDATE_CANCELLATION: Final = f"""
UPDATE eval_runs SET skipped_count = $3, announced_at = $4 WHERE {IN_PROJECT} AND id = $2
"""
IS_PENDING_SCORE: Final = f"run_id = $2 AND outcome = '{ScoreOutcome.PENDING}'"
# A reason or metadata from a client. An object without members has two characters.
HAS_DETAILS: Final = "(reason IS NOT NULL OR length(metadata::text) > 2)"
IS_PENDING_WITH_DETAILS: Final = f"{IS_PENDING_SCORE} AND {HAS_DETAILS}"
IS_PENDING_WITHOUT_DETAILS: Final = f"{IS_PENDING_SCORE} AND NOT {HAS_DETAILS}"
# By ctid, and in the order of a row, which no index has: no statistics can mislead the planner.
# Skips rows that another transaction has locked, which the next call updates: this transaction
# holds other locks by now, and the other one may wait for them. Or it writes details, which are
# looked for once the row is locked.
SKIP_SCORES: Final = f"""
UPDATE {{table}}
SET outcome = $3, source = $4, reason = $5, metadata = $6, code = $7, updated_at = $8
WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {{table}} WHERE {IS_PENDING} AND NOT {HAS_DETAILS} AND ctid = ANY(ARRAY(
    SELECT ctid FROM {{table}} WHERE {IN_PROJECT} AND {IS_PENDING_WITHOUT_DETAILS} LIMIT $9
  )) ORDER BY (project_id, id) FOR UPDATE SKIP LOCKED
))
"""
LOCK_DETAILED: Final = f"""
SELECT {{columns}} FROM {{table}}
WHERE {IS_PENDING} AND {HAS_DETAILS} AND ctid = ANY(ARRAY(
  SELECT ctid FROM {{table}} WHERE {IN_PROJECT} AND {IS_PENDING_WITH_DETAILS} LIMIT $3
)) ORDER BY (project_id, id) FOR UPDATE SKIP LOCKED
"""
WAIT_FOR_SCORE: Final = f"""
SELECT 1 FROM {{table}} WHERE {IN_PROJECT} AND {IS_PENDING_SCORE} LIMIT 1 FOR SHARE
"""


async def continue_cancellation(
    connection: Connection, row: Record, now: datetime, most: int = SKIPPED_AT_ONCE
) -> bool:
    """Skips up to `most` more scores of a locked run; returns whether the cancellation is complete.

    Raises Conflict if the run has ended otherwise.
    """
    run, since = run_from_row(row), row["cancelled_at"] or now
    cancelled = run.cancelled(since)
    if cancelled is run:
        return True
    tally, begun = final_tally(row), 0
    if tally is None:
        tally, begun = await _begin_cancellation(connection, run, since)
    skipped = tally.skipped
    if not begun:  # else in the next transaction: each locks the rows of newest scores in order
        skipped += await _skip_some(connection, run, since, most)
    key, table = (run.project_id, run.id), SCORE_TABLES[run.target_type]
    more = f"SELECT EXISTS (SELECT 1 FROM {table.name} WHERE {IN_PROJECT} AND {IS_PENDING_SCORE})"
    if await connection.fetchval(more, *key):
        await connection.execute(UPDATE_CANCELLATION, *key, skipped, now)
        return False
    await store_finished_run(connection, cancelled, replace(tally, pending=0, skipped=skipped))
    return True


async def wait_for_locked_score(connection: Connection, run: EvalRun) -> None:
    """Waits for another transaction that has locked a PENDING score of the run.

    Its own transaction has locked nothing else, so that the other one doesn't wait for it. Raises
    LockNotAvailableError after the lock timeout.
    """
    table = SCORE_TABLES[run.target_type].name
    sql = WAIT_FOR_SCORE.format(table=table)
    await connection.execute(sql, run.project_id, run.id)


async def _begin_cancellation(
    connection: Connection, run: EvalRun, now: datetime
) -> tuple[Tally, int]:
    """Ends all work of a run; returns its tally, and how many scores were skipped.

    The tally is without those that are skipped later.
    """
    key = (run.project_id, run.id)
    held = await connection.fetch(LOCK_TARGETS_IN_FLIGHT, *key)
    # A concurrent writer of one of these waits, and then finds the score skipped.
    ids = [score for one in held for score in score_ids(run, work_from_row(run, one))]
    table = SCORE_TABLES[run.target_type]
    begun = await lock_pending_by_id(connection, table, run.project_id, ids)
    tally = await count_run(connection, run)  # targets that are closed now were not evaluated
    await update_scores(connection, table, [one.cancelled(now) for one in begun])
    tally = replace(tally, skipped=tally.skipped + len(begun))
    await connection.execute(CLOSE_OPEN_TARGETS, *key, now)
    await connection.execute(BEGIN_CANCELLATION, *key, now, *tally_row(tally))
    return tally, len(begun)


async def _skip_some(connection: Connection, run: EvalRun, now: datetime, most: int) -> int:
    """Skips some PENDING scores of a run; returns how many. First those with details, if any."""
    table, key = SCORE_TABLES[run.target_type], (run.project_id, run.id)
    sql = LOCK_DETAILED.format(columns=table.select(), table=table.name)
    detailed = await connection.fetch(sql, *key, min(most, DETAILED_AT_ONCE))
    await update_scores(connection, table, [table.score(row).cancelled(now) for row in detailed])
    return len(detailed) or await _skip_without_details(connection, table, key, now, most)


async def _skip_without_details(
    connection: Connection, table: ScoreTable[Any], key: tuple[Any, ...], now: datetime, most: int
) -> int:
    """Skips scores without details; all get the values of one example. Returns how many."""
    where = f"{IN_PROJECT} AND {IS_PENDING_WITHOUT_DETAILS}"
    sql = f"SELECT {table.select()} FROM {table.name} WHERE {where} LIMIT 1"
    row = await connection.fetchrow(sql, *key)
    if row is None:
        return 0
    score = table.score(row).cancelled(now)
    ended = (score.outcome, score.source, score.reason, score.metadata, score.code, now)
    status = await connection.execute(SKIP_SCORES.format(table=table.name), *key, *ended, most)
    return affected_rows(status)
