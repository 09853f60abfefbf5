"""Counts the results of runs from their targets: one row a target, however many metrics."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES, ScoreTable
from adapters.postgres.evaluation.work_queue.run_rows import (
    RUNS_WITH_TALLIES,
    final_tally,
    run_from_row,
)
from domain.evaluation.runs.run import (
    EvalRun,
    Execution,
    RunProgress,
    RunWait,
    Tally,
    WorkItem,
)
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId, ScoreId
from domain.page import Page, PageRequest, Position

# All metrics of a waiting target are pending: those of the run if the row has none of its own.
# There are few distinct lists of codes.
SUM_TARGETS_OF_RUNS: Final = f"""
SELECT run_id, codes, count(*) AS targets, count(scored) AS evaluated,
  coalesce(sum(scored), 0) AS scored, coalesce(sum(failed), 0) AS failed,
  coalesce(sum(skipped), 0) AS skipped,
  count(*) FILTER (WHERE state = 'waiting' AND metrics IS NULL) AS alike,
  coalesce(sum(cardinality(metrics)) FILTER (WHERE state = 'waiting'), 0) AS others
FROM eval_jobs WHERE {IN_PROJECT} AND run_id = ANY($2::uuid[]) GROUP BY run_id, codes
"""
SELECT_TARGETS_IN_FLIGHT: Final = f"""
SELECT run_id, target, metrics, state, run_after, last_code FROM eval_jobs
WHERE {IN_PROJECT} AND run_id = ANY($2::uuid[]) AND due_at IS NOT NULL
"""


def work_from_row(run: EvalRun, row: Record) -> WorkItem:
    """From the target of a row, and its metrics if they differ from those of the run."""
    return WorkItem(row["target"], tuple(row["metrics"] or run.metrics))


def score_ids(run: EvalRun, work: WorkItem) -> list[ScoreId]:
    return [run.score_id(work.target, metric) for metric in work.metrics]


async def fetch_run_page(
    connection: Connection, project: ProjectId, where: Sequence[Sql], window: PageRequest
) -> Page[RunProgress]:
    """A page of the runs that match all of `where`, newest first; in a snapshot."""
    query = KeysetQuery.newest_first(project, RUNS_WITH_TALLIES, window)
    page = await query.fetch_served(connection, where)
    shown = await fetch_progress(connection, project, page.rows[: window.limit])
    has_more = len(page.rows) > len(shown)
    end = Position(shown[-1].run.created_at, shown[-1].run.id) if has_more else None
    return Page(shown, page.total, end)


async def fetch_progress(
    connection: Connection, project: ProjectId, rows: Sequence[Record]
) -> list[RunProgress]:
    """Runs of one target type with their tallies, in the order of the rows."""
    runs = [(run_from_row(row), final_tally(row)) for row in rows]
    live = [run for run, tally in runs if tally is None]
    tallies, waits = await _count_runs(connection, project, live) if live else ({}, {})
    return [RunProgress(run, tally or tallies[run.id], waits.get(run.id)) for run, tally in runs]


async def count_run(connection: Connection, run: EvalRun) -> Tally:
    """The current tally of a run."""
    tallies, _ = await _count_runs(connection, run.project_id, [run])
    return tallies[run.id]


async def _count_runs(
    connection: Connection, project: ProjectId, runs: Sequence[EvalRun]
) -> tuple[Mapping[RunId, Tally], Mapping[RunId, RunWait | None]]:
    ids, tallies = [run.id for run in runs], {run.id: Tally() for run in runs}
    by_id = {run.id: run for run in runs}
    for row in await connection.fetch(SUM_TARGETS_OF_RUNS, project, ids):
        tallies[row["run_id"]] += _tally_from_row(by_id[row["run_id"]], row)
    going: dict[RunId, list[Record]] = defaultdict(list)
    for row in await connection.fetch(SELECT_TARGETS_IN_FLIGHT, project, ids):
        going[RunId(row["run_id"])].append(row)
    for run, rows in going.items():
        tallies[run] += await _count_in_flight(connection, by_id[run], rows)
    return tallies, {run: _wait_from_rows(rows) for run, rows in going.items()}


def _wait_from_rows(rows: Sequence[Record]) -> RunWait | None:
    return RunWait.from_targets(
        (row["run_after"], row["last_code"])
        for row in rows
        if row["state"] == "queued" and row["last_code"] is not None
    )


def _tally_from_row(run: EvalRun, row: Record) -> Tally:
    codes = Counter(row["codes"] or ())
    return Tally(
        evaluated=row["evaluated"],
        pending=row["alike"] * len(run.metrics) + row["others"],
        scored=row["scored"],
        failed=row["failed"],
        skipped=row["skipped"],
        codes={code: count * row["targets"] for code, count in codes.items()},
    )


async def _count_in_flight(connection: Connection, run: EvalRun, rows: Sequence[Record]) -> Tally:
    ids = [score for row in rows for score in score_ids(run, work_from_row(run, row))]
    if not ids:
        return Tally()
    table = SCORE_TABLES[run.target_type]
    found = await fetch_executions(connection, table, run.project_id, ids)
    return Tally.from_executions(run.metrics, 0, found.values())


async def fetch_executions(
    connection: Connection, table: ScoreTable[Any], project: ProjectId, ids: Sequence[ScoreId]
) -> dict[ScoreId, Execution]:
    """The outcomes of those of the scores that exist. Their targets are left empty."""
    # Looks up each id by itself: for a list of ids the planner may choose another index.
    sql = f"""
    SELECT found.* FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
      SELECT id, name, outcome, code FROM {table.name}
      WHERE {IN_PROJECT} AND id = wanted.id LIMIT 1
    ) AS found
    """
    return {
        ScoreId(row["id"]): Execution("", row["name"], ScoreOutcome(row["outcome"]), row["code"])
        for row in await connection.fetch(sql, project, ids)
    }
