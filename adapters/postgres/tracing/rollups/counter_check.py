"""Compares counters with the rows that they count, for `doctor`. It changes nothing.

It reads the newest counters of each kind and project that count few rows. One statement reads the
counters of a kind and their rows, so that writes in between make no difference.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import IN_PROJECT, Pool, translate_errors
from adapters.postgres.database.removed_projects import not_removed
from adapters.postgres.database.tenants import ALL_TENANTS, within

ROWS_MAX: Final = 2_000  # that a counter counts; others are passed over
COUNTERS_MAX: Final = 10  # of a kind and a project
FIRST_ID: Final = UUID(int=0)

_NEXT: Final = f"""(
SELECT project_id FROM trace_hours WHERE project_id > {{}} AND {not_removed("trace_hours")}
ORDER BY project_id LIMIT 1
)"""
SELECT_PROJECTS: Final = f"""
WITH RECURSIVE projects AS (
  SELECT {_NEXT.format("$1")} AS project_id, 1 AS place
  UNION ALL
  SELECT {_NEXT.format("projects.project_id")}, place + 1 FROM projects
  WHERE place < $2 AND project_id IS NOT NULL
) SELECT project_id FROM projects WHERE project_id IS NOT NULL
"""
_IN_HOUR: Final = "started_at >= kept.hour AND started_at < kept.hour + interval '1 hour'"
_FAILED: Final = "count(*) FILTER (WHERE status = 'ERROR')"
# The table, its order, the columns of counters, the same figures computed from rows, and the rows.
# Usage counts spans.
_KINDS: Final = (
    ("trace_hours", "hour", "trace_count, error_count, latency_count, latency_us",
     f"count(*), {_FAILED}, count(latency_us), coalesce(sum(latency_us), 0)",
     f"traces WHERE project_id = $1 AND {_IN_HOUR}"),
    ("usage_of_hours", "hour", "trace_count, tokens, cost",
     "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(cost_amount), 0)",
     f"spans WHERE project_id = $1 AND {_IN_HOUR}"),
    ("sessions", "last_activity_at", "trace_count, error_count, latency_count, span_count",
     f"count(*), {_FAILED}, count(latency_us), sum(span_count)",
     "traces WHERE project_id = $1 AND session_id = kept.session_id"),
    ("trace_users", "last_seen", "trace_count, error_count", f"count(*), {_FAILED}",
     "traces WHERE project_id = $1 AND user_id = kept.user_id"),
)  # fmt: skip


def _select_differing(table: str, order: str, columns: str, counted: str, rows: str) -> str:
    """One row more than ROWS_MAX is counted, so that a counter that is too low is found too."""
    return f"""
WITH usage_of_hours AS (
  SELECT project_id, hour, sum(calls) AS trace_count, sum(prompt_tokens) AS tokens,
         sum(cost) AS cost
  FROM usage_hours WHERE {IN_PROJECT} GROUP BY project_id, hour
)
SELECT '{table} of ' || {order} FROM (
  SELECT * FROM {table} WHERE {IN_PROJECT} AND trace_count <= {ROWS_MAX}
  ORDER BY {order} DESC LIMIT {COUNTERS_MAX}
) AS kept WHERE NOT EXISTS (
  SELECT {columns} INTERSECT SELECT {counted} FROM (SELECT * FROM {rows} LIMIT {ROWS_MAX + 1}) AS r
)
"""


SELECT_DIFFERING: Final = (
    f"""
SELECT 'the sum of trace_hours' FROM trace_facets WHERE {IN_PROJECT} AND kind = 'all'
  AND trace_count <> (SELECT sum(trace_count) FROM trace_hours WHERE project_id = $1)
""",
    *(_select_differing(*kind) for kind in _KINDS),
)
IS_MOVING: Final = "SELECT EXISTS (SELECT 1 FROM organizations WHERE moving_to IS NOT NULL)"


async def is_moving(pool: Pool) -> bool:
    """Whether an organization moves: its new group has its rows in part. Raises Unavailable."""
    async with translate_errors():
        return bool(await within(pool, ALL_TENANTS).fetchval(IS_MOVING))


async def list_projects_from(pool: Pool, start: UUID, most: int) -> Sequence[UUID]:
    """Projects with traces, by id; after the last one come the first ones. Raises Unavailable."""
    async with translate_errors():
        every = within(pool, ALL_TENANTS)
        rows = [
            one for at in (start, FIRST_ID) for one in await every.fetch(SELECT_PROJECTS, at, most)
        ]
    return list(dict.fromkeys(row[0] for row in rows))[:most]


async def wrong_counters(pool: Pool, project: UUID) -> Sequence[str]:
    """What differs, of the counters that are compared. Raises Unavailable."""
    async with translate_errors():
        tenant = within(pool, project)
        return [row[0] for sql in SELECT_DIFFERING for row in await tenant.fetch(sql, project)]
