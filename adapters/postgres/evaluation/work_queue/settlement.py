"""Settles targets and runs: their tallies, and how they end."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES, ScoreTable
from adapters.postgres.evaluation.scores.scores import update_scores
from adapters.postgres.evaluation.work_queue.run_rows import (
    RUN_COLUMNS,
    RUN_WITHOUT_FILTERS,
    TALLY_COLUMNS,
    tally_row,
)
from adapters.postgres.evaluation.work_queue.tally import (
    count_run,
    fetch_executions,
    score_ids,
)
from domain.evaluation.runs.run import EvalRun, Execution, Tally, WorkItem
from domain.evaluation.scores.outcome import FailCode, Failed
from domain.evaluation.scores.score import Score, ScoreOutcome
from domain.ids import ProjectId, RunId, ScoreId

type RunWork = tuple[EvalRun, WorkItem]

_STATE: Final = ", ".join((*TALLY_COLUMNS, "cancelled_at"))
RUN_SELECT_LIST: Final = f"{', '.join(RUN_COLUMNS)}, {_STATE}"
# Serialises finishing, planning and cancelling: the last of them settles the run. Several runs are
# locked in the order of their ids.
LOCK_RUNS: Final = f"""
SELECT found.* FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT {RUN_WITHOUT_FILTERS}, {_STATE} FROM eval_runs
  WHERE {IN_PROJECT} AND id = wanted.id LIMIT 1 FOR NO KEY UPDATE
) AS found
"""
END_RUN: Final = f"""
UPDATE eval_runs SET status = $3, error_message = $4, completed_at = $5, announced_at = NULL,
  {", ".join(f"{column} = ${n}" for n, column in enumerate(TALLY_COLUMNS, start=6))}
WHERE {IN_PROJECT} AND id = $2
"""
IS_OPEN_TARGET: Final = "state IN ('unplanned', 'waiting', 'queued', 'running')"
# A subquery for each run, instead of a join, for which the planner may read all targets. It has the
# order of an index, since the planner may look for one of many open targets in the whole table.
SELECT_RUNS_TO_SETTLE: Final = f"""
SELECT run.id FROM unnest($2::uuid[]) AS run (id) WHERE (
  SELECT 1 FROM eval_jobs WHERE {IN_PROJECT} AND run_id = run.id AND {IS_OPEN_TARGET}
  ORDER BY state LIMIT 1
) IS NULL
"""
# The expression keeps the planner from the index of PENDING scores of the project, which it would
# rate as good as the primary key.
IS_PENDING: Final = f"outcome || '' = '{ScoreOutcome.PENDING}'"
RESULT_COLUMNS: Final = ("scored", "failed", "skipped", "codes")


async def lock_run(connection: Connection, project: ProjectId, run: RunId) -> Record | None:
    """Locks a run for a change of its tally; returns its row without the filters."""
    return next(iter(await lock_runs(connection, project, [run])), None)


async def lock_runs(
    connection: Connection, project: ProjectId, runs: Collection[RunId]
) -> Sequence[Record]:
    """As `lock_run`, for several at once."""
    return await connection.fetch(LOCK_RUNS, project, sorted(runs))


async def close_scores(
    connection: Connection, work: Sequence[RunWork], code: FailCode, now: datetime
) -> list[tuple[object, ...]]:
    """Fails the PENDING scores of targets of a project with `code`.

    Returns the values of RESULT_COLUMNS of each target, the codes in one text.
    """

    def close(score: Score) -> Score:
        return score.with_outcome(Failed(code), now)

    found: dict[ScoreId, Execution] = {}
    for table in SCORE_TABLES.values():
        table_work = [one for one in work if SCORE_TABLES[one[0].target_type] is table]
        if ids := [score for one in table_work for score in score_ids(*one)]:
            project = table_work[0][0].project_id
            found |= await _close_scores(connection, table, project, ids, close)
    results: list[tuple[object, ...]] = []
    for run, item in work:
        executions = [found[score] for score in score_ids(run, item) if score in found]
        tally = Tally.from_executions(run.metrics, 1, executions)
        codes = [*Counter(tally.codes).elements()]
        results.append((tally.scored, tally.failed, tally.skipped, ",".join(codes) or None))
    return results


async def _close_scores(
    connection: Connection,
    table: ScoreTable[Any],
    project: ProjectId,
    ids: Sequence[ScoreId],
    close: Callable[[Score], Score],
) -> Mapping[ScoreId, Execution]:
    executions = await fetch_executions(connection, table, project, ids)
    if not any(one.outcome is ScoreOutcome.PENDING for one in executions.values()):
        return executions
    left = await lock_pending_by_id(connection, table, project, ids)
    await update_scores(connection, table, [close(one) for one in left])
    return await fetch_executions(connection, table, project, ids)


async def settle(connection: Connection, runs: Mapping[RunId, EvalRun], now: datetime) -> None:
    """Ends the locked runs of a project of which no target is open."""
    project = next(iter(runs.values())).project_id
    for row in await connection.fetch(SELECT_RUNS_TO_SETTLE, project, sorted(runs)):
        run = runs[row["id"]]
        tally = await count_run(connection, run)
        settled = run.settled(tally, now)
        if settled is not run:
            await store_finished_run(connection, settled, tally)


async def store_finished_run(connection: Connection, over: EvalRun, tally: Tally) -> None:
    """Stores the end of a locked run, and its tally."""
    ended = (over.status, over.error_message, over.completed_at)
    await connection.execute(END_RUN, over.project_id, over.id, *ended, *tally_row(tally))


async def lock_pending_by_id(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, ids: Iterable[ScoreId]
) -> list[Score]:
    """Locks the PENDING ones of the scores, in the order of the key."""
    rows = await connection.fetch(
        f"""
        SELECT {table.select("found")}
        FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
          SELECT * FROM {table.name} WHERE {IN_PROJECT} AND id = wanted.id AND {IS_PENDING}
          LIMIT 1 FOR UPDATE
        ) AS found
        """,
        project, sorted(ids),
    )  # fmt: skip
    return [table.score(row) for row in rows]
