"""Sessions."""

from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, read_snapshot
from adapters.postgres.tracing.edits import TraceEdits
from adapters.postgres.tracing.session_lists import SESSION_COLUMNS, SessionLists, summary_from_row
from adapters.postgres.tracing.trace_loader import SPAN_PAYLOADS, fetch_whole_traces, stored_bytes
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary

PAGE_BYTES_MAX: Final = 64 << 20  # stored size of one response, which is in memory several times

TOO_LARGE: Final = f"these traces hold more than {PAGE_BYTES_MAX >> 20} MiB"
REDUCE_LIMIT: Final = "ask for fewer traces with limit"

SELECT_SESSION: Final = f"""
WITH shown AS MATERIALIZED (
  SELECT trace_id FROM traces WHERE {OF_PROJECT} AND session_id = $2
  ORDER BY started_at, trace_id LIMIT $3 OFFSET $4
)
SELECT {", ".join(SESSION_COLUMNS)}, ARRAY(SELECT trace_id FROM shown) AS shown,
  (SELECT coalesce(sum(stored.bytes), 0)::bigint FROM shown CROSS JOIN LATERAL (
    SELECT sum({stored_bytes(("metadata",))}) AS bytes FROM traces
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({stored_bytes(("input", "output"))}) FROM trace_payloads
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({stored_bytes(SPAN_PAYLOADS)}) FROM spans
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
  ) AS stored) AS bytes
FROM sessions WHERE {OF_PROJECT} AND session_id = $2
"""


@dataclass(frozen=True, slots=True)
class PostgresSessions:
    """Each read is from one snapshot, and takes at most `timeout_s`."""

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
        async with read_snapshot(
            self.pool, REDUCE_LIMIT, self.timeout_s, hide_erased_in=project
        ) as connection:
            row = await connection.fetchrow(
                SELECT_SESSION, project, session, window.limit, window.offset
            )
            if row is None:
                raise NotFound("Session not found")
            if row["bytes"] > PAGE_BYTES_MAX and window.limit > 1:
                raise Invalid.field("query.limit", f"{TOO_LARGE}: ask for fewer traces")
            traces = await fetch_whole_traces(connection, project, row["shown"])
        return Session(summary_from_row(row), traces)

    async def delete(self, project: ProjectId, session: str) -> int:
        return await self.edits.delete_session(project, session)
