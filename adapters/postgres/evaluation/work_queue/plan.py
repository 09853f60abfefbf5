"""Inserts a run with its targets, and plans it: inserts its first scores."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.statements.columns import array_text, arrays
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES, ScoreTable
from adapters.postgres.evaluation.work_queue.cancel import continue_cancellation
from adapters.postgres.evaluation.work_queue.run_rows import (
    RUN_COLUMNS,
    TALLY_COLUMNS,
    final_tally,
    run_from_row,
    run_row,
    tally_row,
)
from adapters.postgres.evaluation.work_queue.settlement import lock_run
from adapters.postgres.evaluation.work_queue.tally import work_from_row
from application.evaluation.ports.work_queue import PLANNED_TARGETS_BATCH
from domain.evaluation.runs.run import (
    EvalRun,
    RunStatus,
    Tally,
    Target,
    TargetType,
    WorkItem,
    pending_scores,
)
from domain.evaluation.scores.score import Score, ScoreSource
from domain.ids import ProjectId, RunId, TraceId

_INSERTED_COLUMNS: Final = (*RUN_COLUMNS, *TALLY_COLUMNS, "announced_at")
INSERT_RUN: Final = f"""
INSERT INTO eval_runs ({", ".join(_INSERTED_COLUMNS)})
VALUES ({", ".join(f"${n}" for n in range(1, len(_INSERTED_COLUMNS) + 1))})
ON CONFLICT (project_id, id) DO NOTHING RETURNING id
"""
INSERT_TARGETS: Final = """
INSERT INTO eval_jobs (project_id, run_id, target, place, metrics, state, attempts, run_after,
                       updated_at)
SELECT $1, $2, sent.target, sent.place, sent.metrics::text[], 'unplanned', 0, $6, $6
FROM unnest($3::text[], $4::int[], $5::text[]) AS sent (target, place, metrics)
RETURNING 1
"""
SELECT_UNPLANNED_TARGETS: Final = f"""
SELECT target, metrics, place FROM eval_jobs
WHERE {IN_PROJECT} AND run_id = $2 AND state = 'unplanned' ORDER BY place LIMIT $3
"""
SELECT_TRACE_ENVIRONMENTS: Final = f"""
SELECT trace_id, environment FROM traces
WHERE {IN_PROJECT} AND trace_id = ANY($2::uuid[]) AND environment IS NOT NULL
"""
MARK_TARGETS_PLANNED: Final = f"""
UPDATE eval_jobs SET state = 'waiting', updated_at = $4
WHERE {IN_PROJECT} AND run_id = $2 AND state = 'unplanned' AND place <= $3
"""
UPDATE_RUN_STATUS: Final = f"""
UPDATE eval_runs SET status = $3, announced_at = $4 WHERE {IN_PROJECT} AND id = $2
"""
# A run that is stored again after its delete has the ids of the scores that stayed without it.
# Those that people changed are its scores again, and the others make room for new ones.
_LOCK_DETACHED: Final = f"""
SELECT ctid FROM {{table}}
WHERE {IN_PROJECT} AND id = ANY($2::uuid[]) AND run_id IS NULL AND source {{sign}} $3
ORDER BY project_id, id FOR UPDATE
"""
DELETE_DETACHED: Final = f"""
DELETE FROM {{table}} WHERE ctid = ANY(ARRAY({_LOCK_DETACHED.replace("{sign}", "=")}))
"""
ATTACH_DETACHED: Final = f"""
UPDATE {{table}} SET run_id = $4 WHERE ctid = ANY(ARRAY({_LOCK_DETACHED.replace("{sign}", "<>")}))
"""


async def insert_run(connection: Connection, run: EvalRun, work: Sequence[WorkItem]) -> bool:
    """Inserts the run and its targets; returns whether it is new. Raises ProjectRemoved."""
    await check_not_removed(connection, run.project_id)
    opened = run.completed_if_empty()
    tally = tally_row(Tally()) if opened.status.is_final else (None,) * len(TALLY_COLUMNS)
    row = (*run_row(opened), *tally, None if opened.status.is_final else run.created_at)
    if await connection.fetchval(INSERT_RUN, *row) is None:
        return False
    targets, metrics = [one.target for one in work], [_own_metrics(run, one) for one in work]
    ids, places = (run.project_id, run.id), range(len(work))
    await connection.execute(INSERT_TARGETS, *ids, targets, places, metrics, run.created_at)
    return True


async def _cancel_more(connection: Connection, row: Record, now: datetime) -> bool:
    """Cancels more of the run; returns whether the next call can do more.

    False also if others have locked all scores that are left: the run is then announced when it is
    overdue.
    """
    if await continue_cancellation(connection, row, now):
        return False
    before, after = final_tally(row), await lock_run(connection, row["project_id"], row["id"])
    return after is not None and final_tally(after) != before


def _own_metrics(run: EvalRun, work: WorkItem) -> str | None:
    return None if work.metrics == run.metrics else array_text(work.metrics)


async def plan_run(connection: Connection, project: ProjectId, run: RunId, now: datetime) -> bool:
    """As `WorkQueue.plan`; also continues an interrupted cancellation."""
    row = await lock_run(connection, project, run)
    if row is None:
        return False
    if row["cancelled_at"] is not None:
        return await _cancel_more(connection, row, now)
    if row["status"] != RunStatus.PENDING:
        return False
    known = run_from_row(row)
    left = await connection.fetch(SELECT_UNPLANNED_TARGETS, project, run, PLANNED_TARGETS_BATCH + 1)
    next_ones, has_more = left[:PLANNED_TARGETS_BATCH], len(left) > PLANNED_TARGETS_BATCH
    await _store_scores(connection, known, next_ones, now)
    if next_ones:
        await connection.execute(MARK_TARGETS_PLANNED, project, run, next_ones[-1]["place"], now)
    announced = (known.status, now) if has_more else (known.started().status, None)
    await connection.execute(UPDATE_RUN_STATUS, project, run, *announced)
    return has_more


async def _store_scores(
    connection: Connection, run: EvalRun, work: Sequence[Record], now: datetime
) -> None:
    table = SCORE_TABLES[run.target_type]
    environments = await _fetch_environments(connection, run, [one["target"] for one in work])
    scores = [
        score
        for one in work
        for score in pending_scores(
            run, work_from_row(run, one), now, environments.get(one["target"])
        )
    ]
    if not scores:
        return
    sql = f"{table.insert_from('waiting')} ON CONFLICT (project_id, id) DO NOTHING RETURNING 1"
    rows = arrays(map(table.row, scores))
    # Not by the command tag, in which Citus counts the rows that exist as well.
    if len(await connection.fetch(sql, *rows)) < len(scores):
        await _replace_detached(connection, table, run, scores)
        await connection.execute(sql, *rows)


async def _replace_detached(
    connection: Connection, table: ScoreTable[Any], run: EvalRun, scores: Sequence[Score]
) -> None:
    """Removes, or attaches again, the scores with these ids that the deleted run has left."""
    key = (run.project_id, [one.id for one in scores], ScoreSource.AUTOMATED)
    await connection.execute(ATTACH_DETACHED.format(table=table.name), *key, run.id)
    await connection.execute(DELETE_DETACHED.format(table=table.name), *key)


async def _fetch_environments(
    connection: Connection, run: EvalRun, targets: Sequence[Target]
) -> dict[Target, str]:
    if run.target_type is not TargetType.TRACE:
        return {}
    traces = [TraceId(UUID(target)) for target in targets]
    rows = await connection.fetch(SELECT_TRACE_ENVIRONMENTS, run.project_id, traces)
    return {str(row["trace_id"]): row["environment"] for row in rows}
