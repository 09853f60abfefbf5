"""Traces in Postgres: the port. Writing is `ingest.py`'s business."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.edits import TraceEdits, read_trace
from adapters.postgres.engine import UNSTORABLE, Connection, Pool, translated
from adapters.postgres.group_commit import GroupCommit
from adapters.postgres.ingest import Item, TraceWriter, is_passing, suspects, unstorable
from adapters.postgres.rows import totals_of
from application.tracing.ports import PriceBook
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, SortOrder, Window
from domain.tracing.change import SpanChange, TraceChange
from domain.tracing.query import TraceFilter, TraceSort, folded
from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus, TraceSummary

ROW_BYTES: Final = 600  # what a row weighs beside its payloads, about; for the bounds of the line
COST_BYTES: Final = 100  # a member of a span's cost, about

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
    line: GroupCommit[Item]
    edits: TraceEdits

    @classmethod
    @asynccontextmanager
    async def over(cls, pool: Pool, prices: PriceBook) -> AsyncIterator["PostgresTraces"]:
        """Writes while the block is open; leaving it waits for all that was taken."""
        line: GroupCommit[Item] = GroupCommit(TraceWriter(pool, prices).write, is_passing)
        line.start()
        try:
            yield cls(pool, line, TraceEdits(pool, prices))
        finally:
            await line.close()

    async def put(self, project: ProjectId, trace: Trace) -> None:
        async with translated():
            try:
                await self.line.put((project, trace), _size(trace))
            except UNSTORABLE as error:
                values = [*suspects("", trace)]
                for n, span in enumerate(trace.spans):
                    values += suspects(f"spans.{n}.", span)
                raise await unstorable(self.pool, values) from error

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        await self.edits.add_spans(project, trace, spans)

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        return await self.edits.change(project, trace, change)

    async def change_span(
        self, project: ProjectId, trace: TraceId, span: SpanId, change: SpanChange
    ) -> Span:
        return await self.edits.change_span(project, trace, span, change)

    async def retag(
        self,
        project: ProjectId,
        traces: Sequence[TraceId],
        add: Sequence[str],
        remove: Sequence[str],
    ) -> int:
        return await self.edits.retag(project, traces, add, remove)

    async def delete(self, project: ProjectId, traces: Sequence[TraceId]) -> int:
        return await self.edits.delete(project, traces)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Connection]:
        """A write between two statements must not show half of itself."""
        async with (
            translated(),
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        async with self._snapshot() as connection:
            return await read_trace(connection, project, trace)

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
