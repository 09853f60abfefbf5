"""Counts the scores of days that are over: see docs/adr/0056."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import asyncpg

from adapters.postgres.database.pool import IN_PROJECT, Connection, Pool
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS, Begin, within
from adapters.postgres.database.transactions import transaction
from adapters.postgres.evaluation.scores.score_cells import (
    COUNTED_COLUMNS,
    PART,
    SCORES_OF,
    count_scores,
)
from adapters.postgres.tracing.rollups.span_bins import BIN_DIGITS
from domain.evaluation.scores.score import ScoreTarget
from domain.ids import ProjectId

DAYS_PER_CALL: Final = 50
TARGETS_PER_CALL: Final = 1_000  # projects and kinds of targets whose changed days are looked for
# Clocks of the server may be set back by this much.
CLOSED_AFTER: Final = timedelta(minutes=10)

BEGIN_SNAPSHOT: Final = Begin("BEGIN ISOLATION LEVEL REPEATABLE READ")
# The id is taken after the last of the days before `closed` was over. A transaction that wrote to
# one of them without noting it in `changed_score_days` has a lower one. With Citus it is an id of
# the worker, as those in that table are: so the statement names a table of it.
SELECT_CLOSED: Final = f"""
SELECT pg_current_xact_id()::text AS xid,
       ((clock_timestamp() - interval '{CLOSED_AFTER.total_seconds():.0f} s')
         AT TIME ZONE 'UTC')::date AS closed
FROM (SELECT count(*) FROM (SELECT 1 FROM score_rollups LIMIT 1) AS one) AS one_row
"""
SELECT_CHANGED: Final = f"""
SELECT DISTINCT project_id, target FROM changed_score_days
WHERE day < $1 AND {not_removed("changed_score_days")} LIMIT {TARGETS_PER_CALL}
"""


def _next_project(table: str, among: str, after: str) -> str:
    return f"""
    (SELECT project_id FROM {table} WHERE {among} AND project_id > {after}
     ORDER BY project_id LIMIT 1)
    """


def _select_grown(target: ScoreTarget) -> str:
    """Projects with a score of a day that is over and isn't counted: from project to project."""
    table, among = SCORES_OF[target]
    among = among.replace(IN_PROJECT, "true")
    first = "'00000000-0000-0000-0000-000000000000'::uuid"
    return f"""
    WITH RECURSIVE projects AS (
      SELECT {_next_project(table, among, first)} AS project_id
      UNION ALL
      SELECT {_next_project(table, among, "projects.project_id")} FROM projects
      WHERE projects.project_id IS NOT NULL
    )
    SELECT project_id FROM projects
    CROSS JOIN LATERAL (
      SELECT coalesce(
        (SELECT until FROM score_rollups AS r
         WHERE r.project_id = projects.project_id AND r.target = '{target}'), '-infinity'::date
      )::timestamptz AS until OFFSET 0
    ) AS known
    WHERE project_id IS NOT NULL AND {not_removed("projects")} AND EXISTS (
      SELECT 1 FROM {table} AS s
      WHERE s.project_id = projects.project_id AND {among}
        AND s.created_at >= known.until AND s.created_at < $1::date::timestamptz
    )
    LIMIT $2
    """


SELECT_GROWN: Final = {target: _select_grown(target) for target in ScoreTarget}
# Whether all transactions up to an id are over, and the next day to count: one that changed after
# it was counted, or the first of the others that has scores or changes.
SELECT_DUE: Final = {
    target: f"""
    WITH found AS MATERIALIZED (
      SELECT coalesce(
        (SELECT until FROM score_rollups WHERE {IN_PROJECT} AND target = $2), '-infinity'::date
      ) AS until
    ), known AS MATERIALIZED (
      SELECT until, until::timestamptz AS since FROM found
    )
    SELECT pg_snapshot_xmin(pg_current_snapshot()) > $4::text::xid8 AS is_settled, coalesce(
      (SELECT min(day) FROM changed_score_days
       WHERE {IN_PROJECT} AND target = $2 AND day < least(until, $3::date)),
      least(
        (SELECT min(day) FROM changed_score_days
         WHERE {IN_PROJECT} AND target = $2 AND day >= until AND day < $3::date),
        (SELECT (created_at AT TIME ZONE 'UTC')::date FROM {table}
         WHERE {among} AND created_at >= since AND created_at < $3::date::timestamptz
         ORDER BY created_at LIMIT 1)
      )
    )::text AS day
    FROM known
    """
    for target, (table, among) in SCORES_OF.items()
}
# A day is a text: asyncpg takes the first day of the year 1 for -infinity. If two workers do it
# at once, the second one fails.
EXTEND_ROLLUP: Final = """
INSERT INTO score_rollups (project_id, target, until) VALUES ($1, $2, $3::text::date + 1)
ON CONFLICT (project_id, target) DO UPDATE SET until = greatest(score_rollups.until, excluded.until)
"""
_OF_DAY: Final = f"{IN_PROJECT} AND target = $2 AND day = $3::text::date"
# Changes that this transaction doesn't see stay, and so do their days.
DELETE_DAY: Final = tuple(
    f"DELETE FROM {table} WHERE {_OF_DAY}"
    for table in ("changed_score_days", "score_days", "score_day_numbers")
)
_KEY: Final = "$1::uuid, $2::text, $3::text::date"


def _scores_of_day(target: ScoreTarget) -> str:
    table, among = SCORES_OF[target]
    return f"""(
      SELECT {COUNTED_COLUMNS} FROM {table}
      WHERE {among} AND created_at >= $3::text::date::timestamptz
        AND created_at < ($3::text::date + 1)::timestamptz
    ) AS day_scores"""


# The rows to insert are read first: Citus can't insert straight from a table with a policy.
def _insert_cells(target: ScoreTarget) -> str:
    packed = (
        f"coalesce(sum(n * ('1E' || {BIN_DIGITS} * part)::numeric)"
        " FILTER (WHERE part IS NOT NULL), 0) AS number_parts"
    )
    cells = count_scores(_scores_of_day(target), "NULL::date", packed)
    columns = (
        "source, judge_kind, fingerprint, threshold, outcome, score_count, number_count,"
        " number_sum, minimum, maximum, passed_count, latest_at, newest_number_at, number_parts"
    )
    return f"""
    WITH cells AS MATERIALIZED ({cells})
    INSERT INTO score_days (project_id, target, day, name, place, {columns})
    SELECT {_KEY}, name, row_number() OVER (PARTITION BY name), {columns} FROM cells
    ON CONFLICT DO NOTHING
    """


def _insert_numbers(target: ScoreTarget) -> str:
    return f"""
    WITH counted AS MATERIALIZED (
      SELECT name, source, judge_kind, {PART} AS part, number, count(*) AS n
      FROM {_scores_of_day(target)} WHERE number IS NOT NULL GROUP BY 1, 2, 3, 5
    )
    INSERT INTO score_day_numbers (project_id, target, day, name, part, place, source, judge_kind,
                                   numbers, counts)
    SELECT {_KEY}, name, part, row_number() OVER (PARTITION BY name, part), source, judge_kind,
           array_agg(number ORDER BY number), array_agg(n ORDER BY number)
    FROM counted GROUP BY name, part, source, judge_kind
    ON CONFLICT DO NOTHING
    """


INSERT_CELLS: Final = {target: _insert_cells(target) for target in ScoreTarget}
INSERT_NUMBERS: Final = {target: _insert_numbers(target) for target in ScoreTarget}


@dataclass(frozen=True, slots=True)
class PostgresScoreRollups:
    """Each day is counted in one transaction, from one snapshot."""

    pool: Pool

    async def count_days(self) -> int:
        closed, xid = await self._select_closed()
        counted = 0
        for project, target in await self._select_due(closed):
            while counted < DAYS_PER_CALL and await self._count_day(project, target, closed, xid):
                counted += 1
        return counted

    async def count_days_of(self, project: ProjectId) -> int:
        """As `count_days`, of one project."""
        closed, xid = await self._select_closed()
        counted = 0
        for target in ScoreTarget:
            while await self._count_day(project, target, closed, xid):
                counted += 1
        return counted

    async def _select_closed(self) -> tuple[date, str]:
        """The day before which days are over, and an id above those of all writes to them."""
        async with transaction(self.pool, ALL_TENANTS) as connection:
            row = await connection.fetchrow(SELECT_CLOSED)
            assert row is not None
            return row["closed"], row["xid"]

    async def _select_due(self, closed: date) -> Sequence[tuple[ProjectId, ScoreTarget]]:
        async with transaction(self.pool, ALL_TENANTS) as connection:
            changed = [
                (row["project_id"], ScoreTarget(row["target"]))
                for row in await connection.fetch(SELECT_CHANGED, closed)
            ]
            grown = [
                (row["project_id"], target)
                for target, sql in SELECT_GROWN.items()
                for row in await connection.fetch(sql, closed, DAYS_PER_CALL)
            ]
        return list(dict.fromkeys([*changed, *grown]))

    async def _count_day(
        self, project: ProjectId, target: ScoreTarget, closed: date, xid: str
    ) -> bool:
        """Counts the next day of the scores of a target; False if there is none to count now."""
        try:
            async with within(self.pool, project).transaction(BEGIN_SNAPSHOT) as connection:
                due = await connection.fetchrow(SELECT_DUE[target], project, target, closed, xid)
                if due is None or due["day"] is None or not due["is_settled"]:
                    return False
                await self._count(connection, (project, target, due["day"]))
        except asyncpg.SerializationError:  # another worker counts it
            return False
        return True

    @staticmethod
    async def _count(connection: Connection, key: tuple[ProjectId, ScoreTarget, str]) -> None:
        await connection.execute(EXTEND_ROLLUP, *key)
        for sql in DELETE_DAY:
            await connection.execute(sql, *key)
        await connection.execute(INSERT_CELLS[key[1]], *key)
        await connection.execute(INSERT_NUMBERS[key[1]], *key)
