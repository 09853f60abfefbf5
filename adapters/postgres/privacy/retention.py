"""Deletes traces, and scores of sessions that have none, after their retention time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.kept_since import fetch_all_kept_since, fetch_kept_since
from adapters.postgres.database.pool import IN_PROJECT, Pool, translate_errors
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.tracing.writes.deletes import (
    delete_old_session_scores,
    delete_session_scores,
    delete_traces,
    list_empty_sessions,
    select_some_traces,
)
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.privacy.ports import PROJECTS_AT_ONCE, SESSIONS_AT_ONCE
from domain.ids import ProjectId, TraceId

# Across projects. OFFSET 0 makes it a look-up for each project.
SELECT_PROJECTS_WITH_EXPIRED_TRACES: Final = f"""
SELECT id FROM unnest($1::uuid[], $2::timestamptz[]) AS kept (id, since) WHERE EXISTS (
  SELECT 1 FROM traces WHERE project_id = kept.id AND created_at < kept.since OFFSET 0
) ORDER BY id LIMIT {PROJECTS_AT_ONCE}
"""
SELECT_PROJECTS_WITH_OLD_SESSION_SCORES: Final = f"""
SELECT id FROM unnest($1::uuid[], $2::timestamptz[]) AS kept (id, since) WHERE EXISTS (
  SELECT 1 FROM session_scores WHERE project_id = kept.id AND created_at < kept.since OFFSET 0
) AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT {PROJECTS_AT_ONCE}
"""
_NEXT_SESSION: Final = f"""
SELECT session_id FROM session_scores WHERE {IN_PROJECT} AND session_id > {{after}}
ORDER BY session_id LIMIT 1
"""
# One look-up for each session. Without statistics the planner expects so few scores that it would
# read and sort those of all sessions, for each page of them.
SELECT_SCORED_SESSIONS: Final = f"""
WITH RECURSIVE scored AS (
  ({_NEXT_SESSION.format(after="$2")})
  UNION ALL
  SELECT following.session_id FROM scored CROSS JOIN LATERAL (
    {_NEXT_SESSION.format(after="scored.session_id")}
  ) AS following
), page AS MATERIALIZED (SELECT session_id FROM scored LIMIT {SESSIONS_AT_ONCE})
SELECT session_id, EXISTS (
  SELECT 1 FROM session_scores
  WHERE {IN_PROJECT} AND session_id BETWEEN page.session_id AND page.session_id
    AND created_at < $3
  ORDER BY session_id OFFSET 0
) AS has_old_scores
FROM page ORDER BY session_id
"""
SELECT_NOW: Final = "SELECT now()"
# Skips locked rows, so that concurrent workers take different traces.
LOCK_EXPIRED_TRACES: Final = select_some_traces(
    "traces",
    f"{IN_PROJECT} AND created_at < $2::timestamptz",
    order="created_at",
    lock="FOR UPDATE SKIP LOCKED",
)


@dataclass(frozen=True, slots=True)
class PostgresExpiredTraces:
    """Uses the clock of the database, which sets `created_at` of traces."""

    edits: TraceEdits

    async def current_time(self) -> datetime:
        return await fetch_current_time(self.edits.pool)

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        return await self._projects(SELECT_PROJECTS_WITH_EXPIRED_TRACES, now)

    async def _projects(self, sql: str, now: datetime, *more: object) -> Sequence[ProjectId]:
        across = within(self.edits.pool, ALL_TENANTS)
        async with translate_errors(), across.transaction() as connection:
            kept = await fetch_all_kept_since(connection, now)
            rows = await connection.fetch(sql, *kept, *more)
            return [ProjectId(row[0]) for row in rows]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        async with self.edits.transaction(project) as (connection, deltas):
            since = await fetch_kept_since(connection, project, now)
            if since is None:
                return 0
            rows = await connection.fetch(LOCK_EXPIRED_TRACES, project, since)
            some = [TraceId(row[0]) for row in rows]
            gone = await delete_traces(connection, deltas[project], project, some)
            if over := await list_empty_sessions(connection, project, gone.sessions):
                await delete_session_scores(connection, project, over)
            return gone.traces

    async def projects_with_old_session_scores(
        self, now: datetime, after: ProjectId | None
    ) -> Sequence[ProjectId]:
        return await self._projects(SELECT_PROJECTS_WITH_OLD_SESSION_SCORES, now, after)

    async def delete_session_scores(
        self, project: ProjectId, now: datetime, after: str
    ) -> tuple[int, str | None]:
        async with self.edits.transaction(project) as (connection, _):
            since = await fetch_kept_since(connection, project, now)
            if since is None:
                return 0, None
            rows = await connection.fetch(SELECT_SCORED_SESSIONS, project, after, since)
            some = [row["session_id"] for row in rows if row["has_old_scores"]]
            gone = 0
            if some and (over := await list_empty_sessions(connection, project, some)):
                gone = await delete_old_session_scores(connection, project, over, since)
            return gone, rows[-1]["session_id"] if len(rows) == SESSIONS_AT_ONCE else None


async def fetch_current_time(pool: Pool) -> datetime:
    """By the clock of the database, which dates traces. Raises Unavailable."""
    async with translate_errors():
        now: datetime = await within(pool, ALL_TENANTS).fetchval(SELECT_NOW)
        return now
