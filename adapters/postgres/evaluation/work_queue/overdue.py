"""Queries across projects: overdue runs and targets, the oldest wait, dead targets.

Rows of removed projects are skipped, as `IN_PROJECT` does for one project.
"""

from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.evaluation.work_queue.dispatch import COUNT_IN_FLIGHT, target_job
from adapters.postgres.evaluation.work_queue.run_rows import RUN_WITHOUT_FILTERS, run_from_row
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT, OVERDUE_JOBS_MAX
from application.jobs import Job, PlanRunJob
from domain.ids import ProjectId, RunId

# Skips locked rows: another transaction works on them. A row that this statement has locked cannot
# move, so its ctid stays valid.
ANNOUNCE_OVERDUE_RUNS: Final = f"""
WITH late AS MATERIALIZED (
  SELECT ctid, announced_at FROM eval_runs
  WHERE announced_at <= $2 AND {not_removed("eval_runs")}
  ORDER BY announced_at, project_id, id LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE eval_runs SET announced_at = $1 FROM late WHERE eval_runs.ctid = late.ctid
RETURNING late.announced_at, eval_runs.project_id, eval_runs.id
"""
# The limit makes it a look-up for each target: a join would compare each with each run, if the
# table was empty when its statistics were made.
REQUEUE_OVERDUE_TARGETS: Final = f"""
WITH late AS MATERIALIZED (
  SELECT ctid, due_at FROM eval_jobs
  WHERE due_at <= $1 AND {not_removed("eval_jobs")}
  ORDER BY due_at, project_id, run_id, target LIMIT $3 FOR UPDATE SKIP LOCKED
), requeued AS (
  UPDATE eval_jobs AS j SET state = 'queued', due_at = $2, updated_at = $1,
    run_after = CASE WHEN j.state = 'running' THEN j.due_at ELSE j.run_after END
  FROM late WHERE j.ctid = late.ctid
  RETURNING late.due_at, j.project_id, j.run_id, j.target, j.metrics AS own
)
SELECT requeued.due_at, requeued.target, requeued.own, r.*
FROM requeued CROSS JOIN LATERAL (
  SELECT {RUN_WITHOUT_FILTERS} FROM eval_runs
  WHERE project_id = requeued.project_id AND id = requeued.run_id LIMIT 1
) AS r
ORDER BY requeued.due_at, requeued.project_id, requeued.run_id, requeued.target
"""
SELECT_PROJECTS_WITH_ROOM: Final = f"""
SELECT project_id FROM eval_runs CROSS JOIN LATERAL (
  {COUNT_IN_FLIGHT.format(now="$3")}
) AS counted CROSS JOIN LATERAL (
  SELECT EXISTS (
    SELECT 1 FROM eval_jobs
    WHERE project_id = eval_runs.project_id AND run_id = eval_runs.id AND state = 'waiting'
  ) AS has_some
) AS waiting
WHERE status = 'RUNNING' AND {not_removed("eval_runs")}
GROUP BY project_id HAVING bool_or(has_some AND going < $1) AND sum(going - put_back) < $1
ORDER BY project_id LIMIT $2
"""
SELECT_OLDEST_WAITING: Final = f"""
SELECT min(since) FROM (
  SELECT created_at AS since FROM eval_runs
  WHERE announced_at IS NOT NULL AND status = 'PENDING' AND {not_removed("eval_runs")}
  UNION ALL
  SELECT CASE WHEN state = 'queued' THEN run_after ELSE due_at END FROM eval_jobs
  WHERE due_at IS NOT NULL AND {not_removed("eval_jobs")}
    AND (state = 'queued' AND run_after <= $1 OR state = 'running' AND due_at <= $1)
) AS waiting
"""
COUNT_DEAD_TARGETS: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM eval_jobs WHERE state = 'dead' AND {not_removed("eval_jobs")}
  LIMIT {OVERDUE_JOBS_MAX}
) AS dead
"""


async def announce_overdue_runs(connection: Connection, now: datetime) -> list[Job]:
    """Runs whose planning or cancellation is overdue. Marks them as announced now."""
    rows = await connection.fetch(
        ANNOUNCE_OVERDUE_RUNS, now, now - ANNOUNCE_TIMEOUT, OVERDUE_JOBS_MAX
    )
    announced = sorted((row["announced_at"], row["project_id"], row["id"]) for row in rows)
    return [PlanRunJob(ProjectId(project), RunId(run)) for _, project, run in announced]


async def requeue_overdue_targets(connection: Connection, now: datetime, most: int) -> list[Job]:
    """Targets whose job is overdue. Marks them as announced now."""
    rows = await connection.fetch(REQUEUE_OVERDUE_TARGETS, now, now + ANNOUNCE_TIMEOUT, most)
    return [target_job(run_from_row(row), row) for row in rows]


async def list_projects_with_room(
    connection: Connection, now: datetime, window: int
) -> list[ProjectId]:
    """Projects with waiting targets and room in their window; at most OVERDUE_MAX."""
    rows = await connection.fetch(SELECT_PROJECTS_WITH_ROOM, window, OVERDUE_JOBS_MAX, now)
    return [ProjectId(row["project_id"]) for row in rows]
