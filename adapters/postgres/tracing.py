"""Traces in Postgres: the port. Writing is `ingest.py`'s business."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.engine import ACQUIRE_TIMEOUT_S, UNSTORABLE, Connection, Pool, translated
from adapters.postgres.group_commit import GroupCommit
from adapters.postgres.ingest import Item, TraceWriter, is_passing
from adapters.postgres.rows import SPAN_COLUMNS, TRACE_COLUMNS, span_of, totals_of, trace_of
from application.tracing.ports import PriceBook
from domain.errors import NotFound
from domain.ids import ProjectId, TraceId
from domain.page import Page, SortOrder, Window
from domain.tracing.query import TraceFilter, TraceSort, folded
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus, TraceSummary, in_order

SPAN_WRITERS: Final = 2  # who waits for the lock of a busy trace holds a connection: a few may
ROW_BYTES: Final = 600  # what a row weighs beside its payloads, about; for the bounds of the line

COST_BYTES: Final = 100  # a member of a span's cost, about

READ_TRACE: Final = f"""
SELECT {", ".join(f"traces.{column}" for column in TRACE_COLUMNS)}, input, output
FROM traces LEFT JOIN trace_payloads USING (project_id, trace_id)
WHERE traces.project_id = $1 AND traces.trace_id = $2
"""
READ_SPANS: Final = f"""
SELECT {", ".join(SPAN_COLUMNS)} FROM spans WHERE project_id = $1 AND trace_id = $2
"""
# The trace first: whoever wants to write to it waits, and then finds it gone. The statements that
# follow see what was committed while this one waited.
DELETE_TRACES: Final = """
DELETE FROM traces USING (
  SELECT project_id, trace_id FROM traces
  WHERE project_id = $1 AND trace_id = ANY($2::uuid[])
  ORDER BY project_id, trace_id FOR UPDATE
) AS locked
WHERE traces.project_id = locked.project_id AND traces.trace_id = locked.trace_id
RETURNING traces.trace_id
"""
DELETE_SPANS: Final = "DELETE FROM spans WHERE project_id = $1 AND trace_id = ANY($2::uuid[])"
DELETE_PAYLOADS: Final = """
DELETE FROM trace_payloads WHERE project_id = $1 AND trace_id = ANY($2::uuid[])
"""
COUNT: Final = "SELECT count(*) FROM traces WHERE"
SUMMARIES: Final = """
SELECT trace_id, name, status, started_at, ended_at, session_id, user_id, environment, release,
       tags, span_count, error_span_count, prompt_tokens, completion_tokens, total_cost
FROM traces WHERE
"""


@dataclass(frozen=True, slots=True)
class PostgresTraces:
    """Reads on the pool; writes through the line of a group commit."""

    pool: Pool
    writer: TraceWriter
    line: GroupCommit[Item]
    span_turns: asyncio.Semaphore

    @classmethod
    @asynccontextmanager
    async def over(cls, pool: Pool, prices: PriceBook) -> AsyncIterator["PostgresTraces"]:
        """Writes while the block is open; leaving it waits for all that was taken."""
        writer = TraceWriter(pool, prices)
        line: GroupCommit[Item] = GroupCommit(writer.write, is_passing)
        line.start()
        try:
            yield cls(pool, writer, line, asyncio.Semaphore(SPAN_WRITERS))
        finally:
            await line.close()

    async def put(self, project: ProjectId, trace: Trace) -> None:
        async with translated():
            try:
                await self.line.put((project, trace), _size(trace))
            except UNSTORABLE as error:
                spans = [(f"spans.{n}.", span) for n, span in enumerate(trace.spans)]
                raise await self.writer.unstorable([("", trace), *spans]) from error

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        async with translated(), self._turn():
            try:
                await self.writer.add_spans(project, trace, spans)
            except UNSTORABLE as error:
                owners = [(f"{n}.", span) for n, span in enumerate(spans)]
                raise await self.writer.unstorable(owners) from error

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Connection]:
        """A write between two statements must not show half of itself."""
        async with (
            translated(),
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
            await self.span_turns.acquire()
        try:
            yield
        finally:
            self.span_turns.release()

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        async with self._snapshot() as connection:
            row = await connection.fetchrow(READ_TRACE, project, trace)
            if row is None:
                raise NotFound("Trace not found")
            spans = await connection.fetch(READ_SPANS, project, trace)
        return replace(trace_of(row), spans=in_order(map(span_of, spans)))

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: Window,
    ) -> Page[TraceSummary]:
        where, values = _conditions(project, matching)
        direction = "ASC" if order is SortOrder.ASC else "DESC"
        async with self._snapshot() as connection:
            total = await connection.fetchval(f"{COUNT} {where}", *values)
            rows = []
            if window.offset < total:
                rows = await connection.fetch(
                    f"{SUMMARIES} {where}"
                    f" ORDER BY started_at {direction}, trace_id {direction}"
                    f" LIMIT {window.limit:d} OFFSET {window.offset:d}",
                    *values,
                )
        return Page([_summary(row) for row in rows], total)

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        async with (
            translated(),
            self.pool.acquire() as connection,
            connection.transaction(),
        ):
            gone = [row[0] for row in await connection.fetch(DELETE_TRACES, project, traces)]
            await connection.execute(DELETE_SPANS, project, gone)
            await connection.execute(DELETE_PAYLOADS, project, gone)
        return len(gone)


def _conditions(project: ProjectId, matching: TraceFilter) -> tuple[str, list[object]]:
    """SQL for what `TraceFilter.admits` says, and its values from $1 on."""
    clauses, values = ["project_id = $1"], list[object]([project])

    def where(clause: str, value: object) -> None:
        values.append(value)
        clauses.append(clause.format(f"${len(values)}"))

    if matching.session_id is not None:
        where("session_id = {}", matching.session_id)
    if matching.user_id is not None:
        where("user_id = {}", matching.user_id)
    if matching.status is not None:
        where("status = {}", matching.status)
    if matching.name:
        where("strpos(search_name, {}) > 0", folded(matching.name))
    if matching.started_after is not None:
        where("started_at >= {}", matching.started_after)
    if matching.started_before is not None:
        where("started_at < {}", matching.started_before)
    return " AND ".join(clauses), values


def _summary(row: Record) -> TraceSummary:
    return TraceSummary(
        id=TraceId(row["trace_id"]),
        name=row["name"],
        status=TraceStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        environment=row["environment"],
        release=row["release"],
        tags=tuple(row["tags"]),
        totals=totals_of(row),
    )


def _size(trace: Trace) -> int:
    size = ROW_BYTES + len(trace.input or b"") + len(trace.output or b"") + len(trace.metadata)
    size += sum(map(len, trace.tags))
    for span in trace.spans:
        size += ROW_BYTES + len(span.input or b"") + len(span.output or b"") + len(span.metadata)
        size += len(span.token_usage or b"") + len(span.model_parameters or b"")
        size += len(span.error or "") + COST_BYTES * len(span.cost or ())
    return size
