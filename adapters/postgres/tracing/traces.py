"""Traces in Postgres: the port. Writing is `ingest.py`'s business."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import UNSTORABLE, Pool, translated
from adapters.postgres.database.read_transactions import snapshot
from adapters.postgres.database.removed_projects import ProjectRemoved
from adapters.postgres.tracing.batch_writer import (
    Item,
    TraceWriter,
    is_transient,
    suspects,
    unstorable,
)
from adapters.postgres.tracing.edits import TraceEdits, read_trace
from adapters.postgres.tracing.group_commit import GroupCommit, Unwatched, Watch
from adapters.postgres.tracing.model_prices import PostgresModelPrices
from adapters.postgres.tracing.trace_lists import TraceLists
from adapters.pricing.price_cache import ProjectPriceCache
from application.tracing.ports import PriceBook
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import Span, SpanChange
from domain.tracing.trace import Trace, TraceChange, TraceSummary

ROW_BYTES: Final = 600  # what a row weighs beside its payloads, about; for the bounds of the line
COST_BYTES: Final = 100  # a member of a span's cost, about
READ_ADVICE: Final = "try again later"  # one trace can't be narrowed


@dataclass(frozen=True, slots=True)
class PostgresTraces:
    """Reads on the pool; writes through the line of a group commit."""

    pool: Pool
    line: GroupCommit[Item]
    edits: TraceEdits
    on_removed: Callable[[ProjectId], None] = lambda _: None

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        pool: Pool,
        book: PriceBook,
        on_removed: Callable[[ProjectId], None] = lambda _: None,
        watch: Watch[Item] | None = None,
    ) -> AsyncIterator["PostgresTraces"]:
        """Writes while the block is open; leaving it waits for all that was taken.

        Spans are priced by their project's own prices, and by `book`. `on_removed` is told of a
        project that was written to though another process removed it.
        """
        prices = ProjectPriceCache(PostgresModelPrices(pool).for_projects, book)
        line: GroupCommit[Item] = GroupCommit(
            TraceWriter(pool, prices).write, is_transient, watch=watch or Unwatched()
        )
        line.start()
        try:
            yield cls(pool, line, TraceEdits(pool, prices), on_removed)
        finally:
            await line.close()

    async def put(self, project: ProjectId, trace: Trace) -> None:
        async with translated():
            try:
                await self.line.put((project, trace), _size(trace))
            except ProjectRemoved as removed:
                self.on_removed(removed.project)
                raise
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

    async def get(self, project: ProjectId, trace: TraceId) -> Trace:
        async with snapshot(self.pool, READ_ADVICE, shown_of=project) as connection:
            return await read_trace(connection, project, trace)

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        return await TraceLists(self.pool).summaries(project, matching, sort, order, window)


def _size(trace: Trace) -> int:
    size = ROW_BYTES + len(trace.input or b"") + len(trace.output or b"") + len(trace.metadata)
    size += sum(map(len, trace.tags))
    for span in trace.spans:
        size += ROW_BYTES + len(span.input or b"") + len(span.output or b"") + len(span.metadata)
        size += len(span.token_usage or b"") + len(span.model_parameters or b"")
        size += len(span.error or "") + COST_BYTES * len(span.cost or ())
    return size
