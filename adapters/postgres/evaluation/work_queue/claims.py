"""Claims of targets: claim, renew, finish, requeue, dead-letter."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import RUN_WITHOUT_FILTERS, run_from_row
from adapters.postgres.evaluation.work_queue.settlement import (
    RESULT_COLUMNS,
    close_scores,
    lock_pending_by_id,
    lock_run,
    settle,
)
from adapters.postgres.evaluation.work_queue.tally import fetch_outcomes, work_from_row
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, LEASE, RENEW_DEBOUNCE, Claim
from domain.evaluation.runs.run import EvalRun, RunStatus, Target, WorkItem
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId

# The expression keeps the planner from an index of the open targets of a run, which it would rate
# as good as the primary key.
_STATE: Final = "(state || '')"
# `run_after` is for those that were postponed. Others were dispatched by a clock that may be ahead.
IS_CLAIMABLE: Final = (
    f"({_STATE} = 'queued' AND (attempts = 0 OR run_after <= $4)"
    f" OR {_STATE} = 'running' AND due_at <= $4)"
)
# Waits for a transaction that cancels or settles the run, and blocks those that follow.
LOCK_RUNNING_RUN: Final = f"""
SELECT {RUN_WITHOUT_FILTERS} FROM eval_runs
WHERE {OF_PROJECT} AND id = $2 AND status = '{RunStatus.RUNNING}' FOR SHARE
"""
CLAIM_TARGET: Final = f"""
UPDATE eval_jobs SET state = 'running', attempts = attempts + 1, due_at = $5, updated_at = $4
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE} AND attempts < {ATTEMPTS_MAX}
RETURNING metrics, attempts
"""
IS_EXHAUSTED: Final = f"""
SELECT EXISTS (
  SELECT 1 FROM eval_jobs
  WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE}
    AND attempts >= {ATTEMPTS_MAX}
)
"""
LOCK_EXHAUSTED_TARGET: Final = f"""
SELECT target, metrics, last_code, attempts FROM eval_jobs
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE} AND attempts >= {ATTEMPTS_MAX}
FOR UPDATE
"""
# Only the latest claim matches.
_WHERE_CLAIMED: Final = f"""
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {_STATE} = 'running' AND attempts = $4
"""
# Metrics of one target are recorded concurrently: if the lease was renewed recently, none of them
# waits for this lock.
RENEW_LEASE: Final = (
    f"UPDATE eval_jobs SET due_at = $5, updated_at = $6 {_WHERE_CLAIMED} AND due_at <= $7"
)
LOCK_CLAIMED_TARGET: Final = f"SELECT target, metrics FROM eval_jobs {_WHERE_CLAIMED} FOR UPDATE"
FINISH_TARGET: Final = f"""
UPDATE eval_jobs SET state = $4, due_at = NULL, updated_at = $5,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(RESULT_COLUMNS, start=6))}
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3
"""
REQUEUE_TARGET: Final = f"""
UPDATE eval_jobs SET state = 'queued', run_after = $5, due_at = $5, last_code = $6, updated_at = $7
{_WHERE_CLAIMED}
"""


async def claim(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> Claim | None:
    """As `WorkQueue.claim`, without dead-lettering."""
    running = await connection.fetchrow(LOCK_RUNNING_RUN, project, run)
    if running is None:
        return None
    row = await connection.fetchrow(CLAIM_TARGET, project, run, target, now, now + LEASE)
    if row is None:
        return None
    known = run_from_row(running)
    metrics = tuple(row["metrics"] or known.metrics)
    ids = {known.score_id(target, metric): metric for metric in metrics}
    outcomes = await fetch_outcomes(connection, known, list(ids))
    still_open = {ids[one["id"]] for one in outcomes if one["outcome"] == ScoreOutcome.PENDING}
    left = tuple(metric for metric in metrics if metric in still_open)
    return Claim(known, target, left, row["attempts"])


async def dead_letter_exhausted(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> None:
    """Dead-letters a target that is claimable but has no attempt left."""
    if not await connection.fetchval(IS_EXHAUSTED, project, run, target, now):
        return
    stored = await lock_run(connection, project, run)
    row = await connection.fetchrow(LOCK_EXHAUSTED_TARGET, project, run, target, now)
    if stored is not None and row is not None:
        known, code = run_from_row(stored), FailCode(row["last_code"] or FailCode.INTERNAL)
        await _close(connection, known, work_from_row(known, row), ("dead", code), now)


async def renew(connection: Connection, claim: Claim, now: datetime) -> None:
    until = now + LEASE
    await connection.execute(RENEW_LEASE, *_claim_key(claim), until, now, until - RENEW_DEBOUNCE)


async def record(
    connection: Connection, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime
) -> int:
    """As `WorkQueue.record_all`."""
    await renew(connection, claim, now)
    table, run = SCORE_TABLES[claim.run.target_type], claim.run
    by_id = {run.score_id(claim.target, metric): one for metric, one in outcomes.items()}
    known = await lock_pending_by_id(connection, table, run.project_id, by_id)
    await update_scores(connection, table, [one.with_outcome(by_id[one.id], now) for one in known])
    return len(known)


async def finish(
    connection: Connection, claim: Claim, state: str, code: FailCode, now: datetime
) -> bool:
    """Finishes the target of a claim and settles its run; False if the claim is outdated."""
    stored = await lock_run(connection, claim.run.project_id, claim.run.id)
    row = await connection.fetchrow(LOCK_CLAIMED_TARGET, *_claim_key(claim))
    if stored is None or row is None:
        return False
    run = run_from_row(stored)
    await _close(connection, run, work_from_row(run, row), (state, code), now)
    return True


async def _close(
    connection: Connection, run: EvalRun, work: WorkItem, how: tuple[str, FailCode], now: datetime
) -> None:
    """Finishes a locked target.

    `how` is its new state, and the code with which its open scores fail.
    """
    came_to = await close_scores(connection, run, work, how[1], now)
    key = (run.project_id, run.id, work.target)
    await connection.execute(FINISH_TARGET, *key, how[0], now, *came_to)
    await settle(connection, run, now)


async def postpone(
    connection: Connection, claim: Claim, until: datetime, code: FailCode, now: datetime
) -> None:
    await connection.execute(REQUEUE_TARGET, *_claim_key(claim), until, code, now)


def _claim_key(claim: Claim) -> tuple[object, ...]:
    return claim.run.project_id, claim.run.id, claim.target, claim.attempt
