"""Chooses the targets of a project that are queued next, evenly among its runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.evaluation.work_queue.run_rows import RUN_WITHOUT_FILTERS, run_from_row
from application.evaluation.ports.work_queue import ANNOUNCE_TIMEOUT
from application.jobs import EvaluateTargetJob
from domain.evaluation.custom_metrics.custom_metric import needs_model
from domain.evaluation.runs.run import EvalRun
from domain.ids import ProjectId, RunId

# The targets of a run in flight, and how many of them were postponed. Those that were just
# dispatched by a process whose clock is ahead were never claimed.
COUNT_IN_FLIGHT: Final = """
SELECT count(*) AS going,
  count(*) FILTER (WHERE state = 'queued' AND attempts > 0 AND run_after > {now}) AS put_back
FROM eval_jobs
WHERE project_id = eval_runs.project_id AND run_id = eval_runs.id AND due_at IS NOT NULL
"""
# The runs that get the next targets: those with the fewest in flight, then the oldest. All running
# ones are counted: a limit there would hide new ones behind old ones that can't go on. As many as
# there is room for targets, since one that gets none comes before each that has got one.
SELECT_NEXT_RUNS: Final = f"""
WITH running AS MATERIALIZED (
  SELECT id, created_at, going, put_back FROM eval_runs
  CROSS JOIN LATERAL ({COUNT_IN_FLIGHT.format(now="$4")}) AS counted
  WHERE {IN_PROJECT} AND status = 'RUNNING'
), free AS MATERIALIZED (
  SELECT greatest(least($2 - sum(going - put_back), $3), 0)::integer AS room FROM running
)
SELECT run.*, next.going, next.room FROM (
  SELECT id, created_at, going, (SELECT room FROM free) AS room FROM running
  WHERE going < $2 AND (
    SELECT 1 FROM eval_jobs
    WHERE {IN_PROJECT} AND run_id = running.id AND state = 'waiting' ORDER BY place LIMIT 1
  ) IS NOT NULL
  ORDER BY going, created_at, id LIMIT (SELECT room FROM free)
) AS next CROSS JOIN LATERAL (
  SELECT {RUN_WITHOUT_FILTERS} FROM eval_runs WHERE {IN_PROJECT} AND id = next.id LIMIT 1
) AS run
ORDER BY next.created_at, next.id
"""
SELECT_WAITING_TARGETS: Final = f"""
SELECT next.run_id, next.target, next.metrics AS own FROM unnest($2::uuid[]) AS run (id)
CROSS JOIN LATERAL (
  SELECT run_id, target, metrics, place FROM eval_jobs
  WHERE {IN_PROJECT} AND run_id = run.id AND state = 'waiting' ORDER BY place LIMIT $3
) AS next
ORDER BY next.place
"""
# Looks up each target by its key; otherwise the planner reads all waiting ones. A locked target is
# being closed, and is skipped.
QUEUE_TARGETS: Final = f"""
UPDATE eval_jobs SET state = 'queued', run_after = $4, due_at = $5, updated_at = $4
FROM unnest($2::uuid[], $3::text[]) AS picked (run, target) CROSS JOIN LATERAL (
  SELECT ctid AS place FROM eval_jobs
  WHERE {IN_PROJECT} AND run_id = picked.run AND target = picked.target
    AND state || '' = 'waiting'
  LIMIT 1 FOR UPDATE SKIP LOCKED
) AS free
WHERE eval_jobs.ctid = free.place
RETURNING eval_jobs.run_id, eval_jobs.target
"""


def target_job(run: EvalRun, row: Record) -> EvaluateTargetJob:
    """The job for a target row, with its `target` and its `own` metrics."""
    metrics = row["own"] or run.metrics
    asks_judge = needs_model(metrics, run.model, run.definitions, run.signal_weights)
    return EvaluateTargetJob(run.project_id, run.id, row["target"], asks_judge)


async def dispatch(
    connection: Connection, project: ProjectId, now: datetime, window: int, most: int
) -> Sequence[EvaluateTargetJob]:
    """Queues at most `most` targets, within the free part of `window`.

    The last step of a transaction, which holds the dispatch lock until it ends.
    """
    await lock_project(connection, AdvisoryLock.DISPATCH, project)
    rows = await connection.fetch(SELECT_NEXT_RUNS, project, window, most, now)
    if not rows:
        return []
    room, runs = rows[0]["room"], {RunId(row["id"]): run_from_row(row) for row in rows}
    waiting: dict[RunId, list[Record]] = {run: [] for run in runs}
    for row in await connection.fetch(SELECT_WAITING_TARGETS, project, list(runs), room):
        waiting[RunId(row["run_id"])].append(row)
    going = {RunId(row["id"]): row["going"] for row in rows}
    picked = _pick_evenly(going, waiting, room, window)
    if not picked:
        return []
    keys = [[row["run_id"] for row in picked], [row["target"] for row in picked]]
    queued = await connection.fetch(QUEUE_TARGETS, project, *keys, now, now + ANNOUNCE_TIMEOUT)
    taken = {(row["run_id"], row["target"]) for row in queued}
    return [
        target_job(runs[RunId(row["run_id"])], row)
        for row in picked
        if (row["run_id"], row["target"]) in taken
    ]


def _pick_evenly(
    going: dict[RunId, int], waiting: dict[RunId, list[Record]], room: int, window: int
) -> list[Record]:
    """Picks rows of the run with the fewest targets in flight; the oldest run first if equal.

    At most so many that none has more than `window`.
    """
    picked: list[Record] = []
    ahead = {run: iter(rows) for run, rows in waiting.items()}
    while going and len(picked) < room:
        run = min(going, key=going.__getitem__)
        row = next(ahead[run], None)
        if row is None or going[run] >= window:
            del going[run]
        else:
            going[run] += 1
            picked.append(row)
    return picked
