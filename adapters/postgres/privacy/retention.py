"""Traces that were kept for long enough, in Postgres: the port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, translated
from adapters.postgres.tracing.deletes import (
    CHUNK,
    CHUNK_SPANS,
    delete_session_scores,
    delete_traces,
    ended,
)
from adapters.postgres.tracing.edits import TraceEdits
from application.privacy.ports import PROJECTS_AT_ONCE
from domain.ids import ProjectId, TraceId

# Across projects; one that was removed has no row here.
PROJECTS: Final = f"""
SELECT id FROM projects WHERE retention_days IS NOT NULL AND EXISTS (
  SELECT FROM traces WHERE project_id = projects.id
    AND created_at < $1::timestamptz - make_interval(days => retention_days)
) ORDER BY id LIMIT {PROJECTS_AT_ONCE}
"""
# What somebody holds is passed by: of several workers each takes others.
OLDEST: Final = f"""
WITH oldest AS MATERIALIZED (
  SELECT trace_id, created_at, span_count FROM traces
  WHERE {OF_PROJECT} AND created_at < $2::timestamptz - (
    SELECT make_interval(days => retention_days) FROM projects WHERE id = $1
  )
  ORDER BY created_at, trace_id LIMIT {CHUNK} FOR UPDATE SKIP LOCKED
)
SELECT trace_id FROM (
  SELECT trace_id, row_number() OVER upto AS place, sum(span_count) OVER upto AS spans
  FROM oldest WINDOW upto AS (ORDER BY created_at, trace_id)
) AS counted
WHERE spans <= {CHUNK_SPANS} OR place = 1
"""


@dataclass(frozen=True, slots=True)
class PostgresExpiredTraces:
    """By the clock of the database, as far as it says when a trace was stored."""

    edits: TraceEdits

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        async with translated():
            return [ProjectId(row[0]) for row in await self.edits.pool.fetch(PROJECTS, now)]

    async def delete(self, project: ProjectId, now: datetime) -> int:
        async with self.edits.transaction() as (connection, deltas):
            rows = await connection.fetch(OLDEST, project, now)
            some = [TraceId(row[0]) for row in rows]
            gone = await delete_traces(connection, deltas[project], project, some)
            if over := await ended(connection, project, gone):
                await delete_session_scores(connection, project, over)
            return gone.traces
