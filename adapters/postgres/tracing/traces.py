"""Traces: reads on the pool, writes through group commit."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from adapters.postgres.database.pool import UNSTORABLE_ERRORS, Pool, translate_errors
from adapters.postgres.database.read_transactions import ASK_FOR_FEWER, RETRY_LATER
from adapters.postgres.database.removed_projects import ProjectRemoved
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from adapters.postgres.tracing.trace_details import (
    fetch_detail,
    fetch_shown_span,
    fetch_shown_spans,
    fetch_spans_by_id,
)
from adapters.postgres.tracing.trace_lists import TraceLists
from adapters.postgres.tracing.trace_loader import fetch_trace
from adapters.postgres.tracing.trace_parts import (
    fetch_outline,
    fetch_payload,
    fetch_revision,
)
from adapters.postgres.tracing.writes.batch_writer import (
    Item,
    TraceWriter,
    find_unstorable,
    is_transient,
    json_values,
)
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.postgres.tracing.writes.group_commit import BatchObserver, GroupCommit, NoObserver
from adapters.pricing.price_cache import ProjectPriceCache
from application.read_room import read_within_room
from application.tracing.ports import PriceBook
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest
from domain.tracing.outline import TraceOutline
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadExtent, PayloadName
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, ROW_BYTES
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange
from domain.tracing.trace_detail import ShownSpan, TraceDetail

TAG_BYTES: Final = 600  # of a tag besides its text: it is a row of its own in the roll-ups
COST_ENTRY_BYTES: Final = 100  # approximate size of an entry of the cost of a span


@dataclass(frozen=True, slots=True)
class PostgresTraces(TraceLists):
    """Reads use the pool; writes go through the queue of the group commit."""

    line: GroupCommit[Item]
    edits: TraceEdits
    on_removed: Callable[[ProjectId], None] = lambda _: None
    read_bytes_max: int = field(default=READ_BYTES_MAX, kw_only=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        pool: Pool,
        book: PriceBook,
        on_removed: Callable[[ProjectId], None] = lambda _: None,
        watch: BatchObserver[Item] | None = None,
    ) -> AsyncIterator["PostgresTraces"]:
        """Opens the writer; leaving the block waits for all queued writes.

        Spans are priced by the prices of their project, then by `book`. Calls `on_removed` for a
        project that was written to although another process removed it.
        """
        prices = ProjectPriceCache(PostgresModelPrices(pool).for_projects, book)
        line: GroupCommit[Item] = GroupCommit(
            TraceWriter(pool, prices).write, is_transient, watch=watch or NoObserver()
        )
        line.start()
        try:
            yield cls(pool, line, TraceEdits(pool, prices), on_removed)
        finally:
            await line.close()

    async def put(self, project: ProjectId, trace: Trace) -> None:
        async with translate_errors():
            try:
                await self.line.put((project, trace), _trace_bytes(trace))
            except ProjectRemoved as removed:
                self.on_removed(removed.project)
                raise
            except UNSTORABLE_ERRORS as error:
                values = [*json_values("", trace)]
                for n, span in enumerate(trace.spans):
                    values += json_values(f"spans.{n}.", span)
                raise find_unstorable(values) from error

    async def add_spans(self, project: ProjectId, trace: TraceId, spans: Sequence[Span]) -> None:
        await self.edits.add_spans(project, trace, spans)

    async def change(self, project: ProjectId, trace: TraceId, change: TraceChange) -> Trace:
        return await read_within_room(
            lambda most: self.edits.change(project, trace, change, most), self.read_bytes_max
        )

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

    async def delete(
        self, project: ProjectId, traces: Sequence[TraceId], *, audit: AuditEntry | None = None
    ) -> int:
        return await self.edits.delete(project, traces, audit)

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        async def read(most: int) -> Trace:
            async with self._visible_by_key(RETRY_LATER, project) as connection:
                return await fetch_trace(connection, project, trace, most)

        return await read_within_room(read, self.read_bytes_max)

    async def revision(self, project: ProjectId, trace: TraceId) -> str:
        async with self._visible_by_key(RETRY_LATER, project) as connection:
            return await fetch_revision(connection, project, trace)

    async def outline(
        self, project: ProjectId, trace: TraceId, first: int, limit: int
    ) -> TraceOutline:
        async with self._visible_snapshot(ASK_FOR_FEWER, project) as connection:
            return await fetch_outline(connection, project, trace, first, limit)

    async def span(
        self, project: ProjectId, trace: TraceId, span: SpanId, extent: PayloadExtent
    ) -> ShownSpan:
        async def read(most: int) -> ShownSpan:
            async with self._visible_by_key(RETRY_LATER, project) as connection:
                return await fetch_shown_span(
                    connection, project, trace, span, extent, bytes_max=most
                )

        return await read_within_room(read, self.read_bytes_max, is_single=True)

    async def spans_by_id(
        self, project: ProjectId, trace: TraceId, spans: Sequence[SpanId], extent: PayloadExtent
    ) -> Sequence[ShownSpan]:
        async def read(most: int) -> Sequence[ShownSpan]:
            async with self._visible_by_key(ASK_FOR_FEWER, project) as connection:
                return await fetch_spans_by_id(
                    connection, project, trace, spans, extent, bytes_max=most
                )

        return await read_within_room(read, self.read_bytes_max, is_single=len(set(spans)) == 1)

    async def spans(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent, window: PageRequest
    ) -> Page[ShownSpan]:
        async def read(most: int) -> Page[ShownSpan]:
            async with self._visible_by_key(ASK_FOR_FEWER, project) as connection:
                return await fetch_shown_spans(
                    connection, project, trace, extent, window, bytes_max=most
                )

        return await read_within_room(read, self.read_bytes_max, is_single=window.limit == 1)

    async def detail(
        self, project: ProjectId, trace: TraceId, extent: PayloadExtent
    ) -> TraceDetail:
        async def read(most: int) -> TraceDetail:
            async with self._visible_by_key(RETRY_LATER, project) as connection:
                return await fetch_detail(connection, project, trace, extent, most)

        return await read_within_room(read, self.read_bytes_max)

    async def payload(
        self, project: ProjectId, trace: TraceId, span: SpanId | None, name: PayloadName
    ) -> JsonText | None:
        async def read(most: int) -> JsonText | None:
            async with self._visible_by_key(RETRY_LATER, project) as connection:
                return await fetch_payload(connection, project, trace, span, name, bytes_max=most)

        return await read_within_room(read, self.read_bytes_max, is_single=True)


def _trace_bytes(trace: Trace) -> int:
    size = ROW_BYTES + len(trace.input or b"") + len(trace.output or b"") + len(trace.metadata)
    size += sum(TAG_BYTES + len(tag) for tag in trace.tags)
    for span in trace.spans:
        size += ROW_BYTES + len(span.input or b"") + len(span.output or b"") + len(span.metadata)
        size += len(span.token_usage or b"") + len(span.model_parameters or b"")
        size += len(span.error or "") + COST_ENTRY_BYTES * len(span.cost or ())
    return size
