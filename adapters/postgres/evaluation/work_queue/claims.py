"""A target in the hands of a worker: claimed, renewed, closed, put back, buried."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import RUN_COLUMNS, run_of
from adapters.postgres.evaluation.work_queue.settlement import (
    CAME_TO,
    closed,
    locked_run,
    pending_of,
    settle,
)
from adapters.postgres.evaluation.work_queue.tally import scores_of, table_of
from application.evaluation.ports.work_queue import ATTEMPTS_MAX, LEASE, RENEW_DEBOUNCE, Claim
from domain.evaluation.runs.run import EvalRun, RunStatus, Target, WorkItem
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId

# Said so that no index of what is open in a run is taken to be as good as the key of a target.
STATE: Final = "(state || '')"
READY: Final = f"({STATE} = 'queued' AND run_after <= $4 OR {STATE} = 'running' AND due_at <= $4)"
# Who cancels or settles it waits, and so does this.
RUNNING: Final = f"""
SELECT {", ".join(RUN_COLUMNS)} FROM eval_runs
WHERE {OF_PROJECT} AND id = $2 AND status = '{RunStatus.RUNNING}' FOR SHARE
"""
CLAIM: Final = f"""
UPDATE eval_jobs SET state = 'running', attempts = attempts + 1, due_at = $5, updated_at = $4
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {READY} AND attempts < {ATTEMPTS_MAX}
RETURNING metrics, attempts
"""
IS_SPENT: Final = f"""
SELECT EXISTS (
  SELECT FROM eval_jobs
  WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {READY} AND attempts >= {ATTEMPTS_MAX}
)
"""
SPENT: Final = f"""
SELECT metrics, last_code, attempts FROM eval_jobs
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {READY} AND attempts >= {ATTEMPTS_MAX}
FOR UPDATE
"""
# Only of who was given it last.
HELD: Final = f"""
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {STATE} = 'running' AND attempts = $4
"""
# Metrics of one target are recorded at the same time: of those that come lately none waits here.
RENEW: Final = f"UPDATE eval_jobs SET due_at = $5, updated_at = $6 {HELD} AND due_at <= $7"
HOLD: Final = f"SELECT metrics FROM eval_jobs {HELD} FOR UPDATE"
FINISH: Final = f"""
UPDATE eval_jobs SET state = $4, due_at = NULL, updated_at = $5,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(CAME_TO, start=6))}
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3
"""
PUT_BACK: Final = f"""
UPDATE eval_jobs SET state = 'queued', run_after = $5, due_at = $5, last_code = $6, updated_at = $7
{HELD}
"""


async def claim(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> Claim | None:
    """As `WorkQueue.claim`, but that nothing is buried."""
    running = await connection.fetchrow(RUNNING, project, run)
    if running is None:
        return None
    row = await connection.fetchrow(CLAIM, project, run, target, now, now + LEASE)
    if row is None:
        return None
    known = run_of(running)
    metrics = tuple(row["metrics"] or known.metrics)
    ids = {known.score_id(target, metric): metric for metric in metrics}
    found = await scores_of(connection, known, list(ids))
    still_open = {ids[one["id"]] for one in found if one["outcome"] == ScoreOutcome.PENDING}
    left = tuple(metric for metric in metrics if metric in still_open)
    return Claim(known, target, left, row["attempts"])


async def bury_spent(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> None:
    """Buries a target that could be claimed, but was too often."""
    if not await connection.fetchval(IS_SPENT, project, run, target, now):
        return
    stored = await locked_run(connection, project, run)
    row = await connection.fetchrow(SPENT, project, run, target, now)
    if stored is not None and row is not None:
        known, code = run_of(stored), FailCode(row["last_code"] or FailCode.INTERNAL)
        work = WorkItem(target, tuple(row["metrics"] or known.metrics))
        await _close(connection, known, work, ("dead", code), now)


async def renew(connection: Connection, claim: Claim, now: datetime) -> None:
    until = now + LEASE
    await connection.execute(RENEW, *_held(claim), until, now, until - RENEW_DEBOUNCE)


async def record(
    connection: Connection, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime
) -> int:
    """As `WorkQueue.record_all`."""
    await renew(connection, claim, now)
    table, run = table_of(claim.run.target_type), claim.run
    by_id = {run.score_id(claim.target, metric): one for metric, one in outcomes.items()}
    known = await pending_of(connection, table, run.project_id, by_id)
    await update_scores(connection, table, [one.with_outcome(by_id[one.id], now) for one in known])
    return len(known)


async def finish(
    connection: Connection, claim: Claim, state: str, code: FailCode, now: datetime
) -> bool:
    """Closes the target of a claim and settles its run; False where it is somebody else's."""
    stored = await locked_run(connection, claim.run.project_id, claim.run.id)
    row = await connection.fetchrow(HOLD, *_held(claim))
    if stored is None or row is None:
        return False
    run = run_of(stored)
    work = WorkItem(claim.target, tuple(row["metrics"] or run.metrics))
    await _close(connection, run, work, (state, code), now)
    return True


async def _close(
    connection: Connection,
    run: EvalRun,
    work: WorkItem,
    how: tuple[str, FailCode],
    now: datetime,
) -> None:
    """Closes a locked row of work; `how`: the state it is in then, and why its open scores FAIL."""
    came_to = await closed(connection, run, work, how[1], now)
    key = (run.project_id, run.id, work.target)
    await connection.execute(FINISH, *key, how[0], now, *came_to)
    await settle(connection, run, now)


async def postpone(
    connection: Connection, claim: Claim, until: datetime, code: FailCode, now: datetime
) -> None:
    await connection.execute(PUT_BACK, *_held(claim), until, code, now)


def _held(claim: Claim) -> tuple[object, ...]:
    return claim.run.project_id, claim.run.id, claim.target, claim.attempt
