"""Deletes traces after their retention time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, translate_errors
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.tracing.deletes import (
    delete_session_scores,
    delete_traces,
    list_empty_sessions,
    select_some_traces,
)
from adapters.postgres.tracing.edits import TraceEdits
from application.privacy.ports import PROJECTS_AT_ONCE
from domain.ids import ProjectId, TraceId

# Across projects. Removed projects have no row here. OFFSET 0 makes it a look-up for each project:
# in a join, PostgreSQL would use no index for the age, because the subtraction of an interval might
# leak rows that a policy hides.
SELECT_PROJECTS_WITH_EXPIRED_TRACES: Final = f"""
SELECT id FROM projects WHERE retention_days IS NOT NULL AND EXISTS (
  SELECT 1 FROM traces WHERE project_id = projects.id
    AND created_at < $1::timestamptz - make_interval(days => retention_days)
  OFFSET 0
) ORDER BY id LIMIT {PROJECTS_AT_ONCE}
"""
# Skips locked rows, so that concurrent workers take different traces.
LOCK_EXPIRED_TRACES: Final = select_some_traces(
    "traces",
    f"""
    {OF_PROJECT} AND created_at < $2::timestamptz - (
      SELECT make_interval(days => retention_days) FROM projects WHERE id = $1
    )
    """,
    order="created_at",
    lock="FOR UPDATE SKIP LOCKED",
)


@dataclass(frozen=True, slots=True)
class PostgresExpiredTraces:
    """Uses the clock of the database, which sets `created_at` of traces."""

    edits: TraceEdits

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        async with translate_errors():
            return [
                ProjectId(row[0])
                for row in await within(self.edits.pool, ALL_TENANTS).fetch(
                    SELECT_PROJECTS_WITH_EXPIRED_TRACES, now
                )
            ]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        async with self.edits.transaction(project) as (connection, deltas):
            rows = await connection.fetch(LOCK_EXPIRED_TRACES, project, now)
            some = [TraceId(row[0]) for row in rows]
            gone = await delete_traces(connection, deltas[project], project, some)
            if over := await list_empty_sessions(connection, project, gone):
                await delete_session_scores(connection, project, over)
            return gone.traces
