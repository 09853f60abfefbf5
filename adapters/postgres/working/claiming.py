"""A target in the hands of a worker: claimed, renewed, closed, put back, buried."""

from datetime import datetime
from typing import Final

from adapters.postgres.engine import OF_PROJECT, Connection
from adapters.postgres.run_rows import RUN_COLUMNS, run_of
from adapters.postgres.scores import put_back
from adapters.postgres.working.settling import fail_open, locked_run, pending, settle, table_of
from application.evaluation.assignments import ATTEMPTS_MAX, LEASE, Claim
from domain.evaluation.outcome import FailCode, Outcome
from domain.evaluation.run import Assignment, RunStatus, Target
from domain.evaluation.score import ScoreOutcome
from domain.ids import ProjectId, RunId

READY: Final = "(state = 'queued' AND run_after <= $4 OR state = 'running' AND due_at <= $4)"
CLAIM: Final = f"""
UPDATE eval_jobs AS j SET state = 'running', attempts = attempts + 1, due_at = $5, updated_at = $4
FROM eval_runs AS r
WHERE j.{OF_PROJECT} AND j.run_id = $2 AND j.target = $3 AND {READY} AND attempts < {ATTEMPTS_MAX}
  AND r.project_id = j.project_id AND r.id = j.run_id AND r.status = '{RunStatus.RUNNING}'
RETURNING {", ".join(f"r.{column}" for column in RUN_COLUMNS)}, j.metrics AS own, j.attempts
"""
IS_SPENT: Final = f"""
SELECT EXISTS (
  SELECT FROM eval_jobs
  WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {READY} AND attempts >= {ATTEMPTS_MAX}
)
"""
BURY_SPENT: Final = f"""
UPDATE eval_jobs SET state = 'dead', due_at = NULL, updated_at = $4
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND {READY} AND attempts >= {ATTEMPTS_MAX}
RETURNING metrics, last_code
"""
# Only of who was given it last.
HELD: Final = f"""
WHERE {OF_PROJECT} AND run_id = $2 AND target = $3 AND state = 'running' AND attempts = $4
"""
RENEW: Final = f"UPDATE eval_jobs SET due_at = $5, updated_at = $6 {HELD}"
FINISH: Final = f"""
UPDATE eval_jobs SET state = $5, due_at = NULL, updated_at = $6 {HELD} RETURNING metrics
"""
PUT_BACK: Final = f"""
UPDATE eval_jobs SET state = 'queued', run_after = $5, due_at = $5, last_code = $6, updated_at = $7
{HELD}
"""


async def claim(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> Claim | None:
    """As `Assignments.claim`, but that nothing is buried."""
    row = await connection.fetchrow(CLAIM, project, run, target, now, now + LEASE)
    if row is None:
        return None
    known = run_of(row)
    metrics = tuple(row["own"] or known.metrics)
    ids = {known.score_id(target, metric): metric for metric in metrics}
    found = await connection.fetch(
        f"SELECT id FROM {table_of(known.target_type).name}"
        f" WHERE {OF_PROJECT} AND id = ANY($2::uuid[]) AND outcome = '{ScoreOutcome.PENDING}'",
        project, list(ids),
    )  # fmt: skip
    still_open = {ids[one["id"]] for one in found}
    left = tuple(metric for metric in metrics if metric in still_open)
    return Claim(known, target, left, row["attempts"])


async def bury_spent(
    connection: Connection, project: ProjectId, run: RunId, target: Target, now: datetime
) -> None:
    """Buries a target that could be claimed, but was too often."""
    if not await connection.fetchval(IS_SPENT, project, run, target, now):
        return
    stored = await locked_run(connection, project, run)
    row = await connection.fetchrow(BURY_SPENT, project, run, target, now)
    if stored is not None and row is not None:
        known, code = run_of(stored), FailCode(row["last_code"] or FailCode.INTERNAL)
        work = Assignment(target, tuple(row["metrics"] or known.metrics))
        await fail_open(connection, known, work, code, now)
        await settle(connection, known, now)


async def renew(connection: Connection, claim: Claim, now: datetime) -> None:
    await connection.execute(RENEW, *_held(claim), now + LEASE, now)


async def record(
    connection: Connection, claim: Claim, metric: str, outcome: Outcome, now: datetime
) -> bool:
    """As `Assignments.record`."""
    await renew(connection, claim, now)
    table, project = table_of(claim.run.target_type), claim.run.project_id
    score = claim.run.score_id(claim.target, metric)
    for known in await pending(connection, table, project, "id = $2", score):
        await put_back(connection, table, known.measured(outcome, now))
        return True
    return False


async def finish(
    connection: Connection, claim: Claim, state: str, code: FailCode, now: datetime
) -> bool:
    """Closes the target of a claim and settles its run; False where it is somebody else's."""
    run = await locked_run(connection, claim.run.project_id, claim.run.id)
    row = await connection.fetchrow(FINISH, *_held(claim), state, now)
    if run is None or row is None:
        return False
    known = run_of(run)
    work = Assignment(claim.target, tuple(row["metrics"] or known.metrics))
    await fail_open(connection, known, work, code, now)
    await settle(connection, known, now)
    return True


async def postpone(
    connection: Connection, claim: Claim, until: datetime, code: FailCode, now: datetime
) -> None:
    await connection.execute(PUT_BACK, *_held(claim), until, code, now)


def _held(claim: Claim) -> tuple[object, ...]:
    return claim.run.project_id, claim.run.id, claim.target, claim.attempt
