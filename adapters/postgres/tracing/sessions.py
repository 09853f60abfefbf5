"""Sessions in Postgres: the port."""

from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, snapshot
from adapters.postgres.tracing.edits import TraceEdits
from adapters.postgres.tracing.session_lists import COLUMNS, SessionLists, summary_of
from adapters.postgres.tracing.trace_loader import SPAN_PAYLOADS, stored, whole_traces
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary

PAGE_BYTES_MAX: Final = 64 << 20  # as stored: what one request may hold in memory, several times

TOO_LARGE: Final = f"these traces hold more than {PAGE_BYTES_MAX >> 20} MiB"
ADVICE: Final = "ask for fewer traces with limit"

READ_SESSION: Final = f"""
WITH shown AS MATERIALIZED (
  SELECT trace_id FROM traces WHERE {OF_PROJECT} AND session_id = $2
  ORDER BY started_at, trace_id LIMIT $3 OFFSET $4
)
SELECT {", ".join(COLUMNS)}, ARRAY(SELECT trace_id FROM shown) AS shown,
  (SELECT coalesce(sum(stored.bytes), 0)::bigint FROM shown CROSS JOIN LATERAL (
    SELECT sum({stored(("metadata",))}) AS bytes FROM traces
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({stored(("input", "output"))}) FROM trace_payloads
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({stored(SPAN_PAYLOADS)}) FROM spans
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
  ) AS stored) AS bytes
FROM sessions WHERE {OF_PROJECT} AND session_id = $2
"""


@dataclass(frozen=True, slots=True)
class PostgresSessions:
    """Each read is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    edits: TraceEdits
    timeout_s: float = READ_TIMEOUT_S

    async def summaries(
        self,
        project: ProjectId,
        matching: SessionFilter,
        sort: SessionSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SessionSummary]:
        lists = SessionLists(self.pool, self.timeout_s)
        return await lists.summaries(project, matching, sort, order, window)

    async def get(self, project: ProjectId, session: str, window: PageRequest) -> Session:
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            row = await connection.fetchrow(
                READ_SESSION, project, session, window.limit, window.offset
            )
            if row is None:
                raise NotFound("Session not found")
            if row["bytes"] > PAGE_BYTES_MAX and window.limit > 1:
                raise Invalid.field("query.limit", f"{TOO_LARGE}: ask for fewer traces")
            traces = await whole_traces(connection, project, row["shown"])
        return Session(summary_of(row), traces)

    async def delete(self, project: ProjectId, session: str) -> int:
        return await self.edits.delete_session(project, session)
