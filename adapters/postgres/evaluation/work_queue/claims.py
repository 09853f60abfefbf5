"""Claims of targets: claim, renew, finish, requeue, release, dead-letter."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.columns import arrays
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import RUN_WITHOUT_FILTERS, run_from_row
from adapters.postgres.evaluation.work_queue.settlement import (
    RESULT_COLUMNS,
    RunWork,
    close_scores,
    lock_pending_by_id,
    lock_run,
    lock_runs,
    settle,
)
from adapters.postgres.evaluation.work_queue.tally import fetch_executions, work_from_row
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, LEASE, RENEW_DEBOUNCE, Claim
from domain.evaluation.runs.run import RunStatus, Target
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
WHERE {IN_PROJECT} AND id = $2 AND status = '{RunStatus.RUNNING}' FOR SHARE
"""
CLAIM_TARGET: Final = f"""
UPDATE eval_jobs SET state = 'running', attempts = attempts + 1, due_at = $5, updated_at = $4
WHERE {IN_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE} AND attempts < {ATTEMPTS_MAX}
RETURNING metrics, attempts
"""
IS_EXHAUSTED: Final = f"""
SELECT EXISTS (
  SELECT 1 FROM eval_jobs
  WHERE {IN_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE}
    AND attempts >= {ATTEMPTS_MAX}
)
"""
LOCK_EXHAUSTED_TARGET: Final = f"""
SELECT target, metrics, last_code, attempts FROM eval_jobs
WHERE {IN_PROJECT} AND run_id = $2 AND target = $3 AND {IS_CLAIMABLE} AND attempts >= {ATTEMPTS_MAX}
FOR UPDATE
"""
# Only the latest claim matches.
_WHERE_CLAIMED: Final = f"""
WHERE {IN_PROJECT} AND run_id = $2 AND target = $3 AND {_STATE} = 'running' AND attempts = $4
"""
# Metrics of one target are recorded concurrently: if the lease was renewed recently, none of them
# waits for this lock.
RENEW_LEASE: Final = (
    f"UPDATE eval_jobs SET due_at = $5, updated_at = $6 {_WHERE_CLAIMED} AND due_at <= $7"
)
LOCK_CLAIMED_TARGETS: Final = f"""
SELECT found.* FROM unnest($2::uuid[], $3::text[], $4::int[]) AS held (run_id, target, attempt)
CROSS JOIN LATERAL (
  SELECT run_id, target, metrics FROM eval_jobs
  WHERE {IN_PROJECT} AND run_id = held.run_id AND target = held.target
    AND {_STATE} = 'running' AND attempts = held.attempt
  LIMIT 1 FOR UPDATE
) AS found
"""
# Looks up each target by its key: for a join the planner may read all targets. Codes come as one
# text: Citus refuses to cast a text to an array here.
FINISH_TARGETS: Final = f"""
UPDATE eval_jobs SET state = $2, due_at = NULL, updated_at = $3,
  {", ".join(f"{column} = over.{column}" for column in RESULT_COLUMNS[:-1])},
  codes = string_to_array(over.codes, ',')
FROM unnest($4::uuid[], $5::text[], $6::int[], $7::int[], $8::int[], $9::text[])
  AS over (run_id, target, {", ".join(RESULT_COLUMNS)})
CROSS JOIN LATERAL (
  SELECT ctid AS place FROM eval_jobs
  WHERE {IN_PROJECT} AND run_id = over.run_id AND target = over.target LIMIT 1
) AS found
WHERE eval_jobs.ctid = found.place
"""
RELEASE_TARGET: Final = f"""
UPDATE eval_jobs SET state = 'queued', attempts = attempts - 1, run_after = $5, due_at = $5,
  updated_at = $5
{_WHERE_CLAIMED}
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
    table = SCORE_TABLES[known.target_type]
    found = await fetch_executions(connection, table, project, list(ids))
    still_open = {ids[id_] for id_, one in found.items() if one.outcome is ScoreOutcome.PENDING}
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
        await _close(connection, [(known, work_from_row(known, row))], ("dead", code), now)


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
    connection: Connection, claims: Sequence[Claim], state: str, code: FailCode, now: datetime
) -> bool:
    """Finishes the targets of claims of a project, and settles their runs.

    Outdated claims are left out; False if all are.
    """
    project = claims[0].run.project_id
    rows = await lock_runs(connection, project, {one.run.id for one in claims})
    runs = {run.id: run for run in map(run_from_row, rows)}
    keys = sorted((one.run.id, one.target, one.attempt) for one in claims)
    held = await connection.fetch(LOCK_CLAIMED_TARGETS, project, *arrays(keys))
    work = [
        (run, work_from_row(run, row))
        for row in held
        if (run := runs.get(row["run_id"])) is not None
    ]
    if work:
        await _close(connection, work, (state, code), now)
    return bool(work)


async def _close(
    connection: Connection, work: Sequence[RunWork], how: tuple[str, FailCode], now: datetime
) -> None:
    """Finishes locked targets of a project.

    `how` is their new state, and the code with which their open scores fail.
    """
    came_to = await close_scores(connection, work, how[1], now)
    rows = [
        (run.id, item.target, *result) for (run, item), result in zip(work, came_to, strict=True)
    ]
    project = work[0][0].project_id
    await connection.execute(FINISH_TARGETS, project, how[0], now, *arrays(rows))
    await settle(connection, {run.id: run for run, _ in work}, now)


async def postpone(
    connection: Connection, claim: Claim, until: datetime, code: FailCode, now: datetime
) -> None:
    await connection.execute(REQUEUE_TARGET, *_claim_key(claim), until, code, now)


async def release(connection: Connection, claim: Claim, now: datetime) -> None:
    await connection.execute(RELEASE_TARGET, *_claim_key(claim), now)


def _claim_key(claim: Claim) -> tuple[object, ...]:
    return claim.run.project_id, claim.run.id, claim.target, claim.attempt
