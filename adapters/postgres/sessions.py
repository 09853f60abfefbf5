"""Sessions in Postgres: the port."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from adapters.postgres.engine import OF_PROJECT, Pool
from adapters.postgres.reading.session_lists import COLUMNS, SessionLists, summary_of
from adapters.postgres.reading.snapshots import READ_TIMEOUT_S, snapshot
from adapters.postgres.rows import SPAN_COLUMNS, TRACE_COLUMNS, span_of, trace_of
from adapters.postgres.writing.edits import TraceEdits
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId, TraceId
from domain.page import Page, SortOrder, Window
from domain.tracing.session import Session, SessionFilter, SessionSort, SessionSummary
from domain.tracing.span import Span
from domain.tracing.trace import in_order

PAGE_BYTES_MAX: Final = 64 << 20  # as stored: what one request may hold in memory, several times
ROW_BYTES: Final = 600  # what a row weighs beside its payloads, about

TOO_LARGE: Final = f"these traces hold more than {PAGE_BYTES_MAX >> 20} MiB"
ADVICE: Final = "ask for fewer traces with limit"
_SPAN_PAYLOADS: Final = (
    *("input", "output", "metadata", "token_usage", "model_parameters", "error", "cost"),
)


def _stored(columns: tuple[str, ...]) -> str:
    # What is stored out of line is weighed without being read.
    return " + ".join([str(ROW_BYTES), *(f"coalesce(pg_column_size({one}), 0)" for one in columns)])


READ_SESSION: Final = f"""
WITH shown AS MATERIALIZED (
  SELECT trace_id FROM traces WHERE {OF_PROJECT} AND session_id = $2
  ORDER BY started_at, trace_id LIMIT $3 OFFSET $4
)
SELECT {", ".join(COLUMNS)}, ARRAY(SELECT trace_id FROM shown) AS shown,
  (SELECT coalesce(sum(stored.bytes), 0)::bigint FROM shown CROSS JOIN LATERAL (
    SELECT sum({_stored(("metadata",))}) AS bytes FROM traces
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({_stored(("input", "output"))}) FROM trace_payloads
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
    UNION ALL
    SELECT sum({_stored(_SPAN_PAYLOADS)}) FROM spans
    WHERE {OF_PROJECT} AND trace_id = shown.trace_id
  ) AS stored) AS bytes
FROM sessions WHERE {OF_PROJECT} AND session_id = $2
"""
READ_TRACES: Final = f"""
SELECT {", ".join(f"traces.{column}" for column in TRACE_COLUMNS)}, input, output
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id)
WHERE traces.{OF_PROJECT} AND traces.trace_id = ANY($2::uuid[])
ORDER BY traces.started_at, traces.trace_id
"""
READ_SPANS: Final = f"""
SELECT {", ".join(SPAN_COLUMNS)} FROM spans
WHERE {OF_PROJECT} AND trace_id = ANY($2::uuid[])
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
        window: Window,
    ) -> Page[SessionSummary]:
        lists = SessionLists(self.pool, self.timeout_s)
        return await lists.summaries(project, matching, sort, order, window)

    async def get(self, project: ProjectId, session: str, window: Window) -> Session:
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            row = await connection.fetchrow(
                READ_SESSION, project, session, window.limit, window.offset
            )
            if row is None:
                raise NotFound("Session not found")
            if row["bytes"] > PAGE_BYTES_MAX and window.limit > 1:
                raise Invalid.field("query.limit", f"{TOO_LARGE}: ask for fewer traces")
            traces = await connection.fetch(READ_TRACES, project, row["shown"])
            spans = await connection.fetch(READ_SPANS, project, row["shown"])
        by_trace: dict[TraceId, list[Span]] = defaultdict(list)
        for span in spans:
            by_trace[TraceId(span["trace_id"])].append(span_of(span))
        return Session(
            summary_of(row),
            [replace(trace, spans=in_order(by_trace[trace.id])) for trace in map(trace_of, traces)],
        )

    async def delete(self, project: ProjectId, session: str) -> int:
        return await self.edits.delete_session(project, session)
