"""Deletes traces after their retention time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.kept_since import fetch_all_kept_since, fetch_kept_since
from adapters.postgres.database.pool import OF_PROJECT, translate_errors
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.tracing.writes.deletes import (
    delete_session_scores,
    delete_traces,
    list_empty_sessions,
    select_some_traces,
)
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.privacy.ports import PROJECTS_AT_ONCE
from domain.ids import ProjectId, TraceId

# Across projects. OFFSET 0 makes it a look-up for each project.
SELECT_PROJECTS_WITH_EXPIRED_TRACES: Final = f"""
SELECT id FROM unnest($1::uuid[], $2::timestamptz[]) AS kept (id, since) WHERE EXISTS (
  SELECT 1 FROM traces WHERE project_id = kept.id AND created_at < kept.since OFFSET 0
) ORDER BY id LIMIT {PROJECTS_AT_ONCE}
"""
SELECT_NOW: Final = "SELECT now()"
# Skips locked rows, so that concurrent workers take different traces.
LOCK_EXPIRED_TRACES: Final = select_some_traces(
    "traces",
    f"{OF_PROJECT} AND created_at < $2::timestamptz",
    order="created_at",
    lock="FOR UPDATE SKIP LOCKED",
)


@dataclass(frozen=True, slots=True)
class PostgresExpiredTraces:
    """Uses the clock of the database, which sets `created_at` of traces."""

    edits: TraceEdits

    async def current_time(self) -> datetime:
        async with translate_errors():
            now: datetime = await within(self.edits.pool, ALL_TENANTS).fetchval(SELECT_NOW)
            return now

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        across = within(self.edits.pool, ALL_TENANTS)
        async with translate_errors(), across.transaction() as connection:
            kept = await fetch_all_kept_since(connection, now)
            rows = await connection.fetch(SELECT_PROJECTS_WITH_EXPIRED_TRACES, *kept)
            return [ProjectId(row[0]) for row in rows]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        async with self.edits.transaction(project) as (connection, deltas):
            since = await fetch_kept_since(connection, project, now)
            if since is None:
                return 0
            rows = await connection.fetch(LOCK_EXPIRED_TRACES, project, since)
            some = [TraceId(row[0]) for row in rows]
            gone = await delete_traces(connection, deltas[project], project, some)
            if over := await list_empty_sessions(connection, project, gone):
                await delete_session_scores(connection, project, over)
            return gone.traces
