"""OtlpTraces: fragments go through the queue of a group commit; workers settle traces."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from adapters.postgres.database.pool import translate_errors
from adapters.postgres.database.removed_projects import ProjectRemoved
from adapters.postgres.tracing.otlp.otlp_remapping import remap
from adapters.postgres.tracing.otlp.otlp_settling import delete_orphaned_records, settle_open_traces
from adapters.postgres.tracing.otlp.otlp_writer import OtlpItem, OtlpWriter
from adapters.postgres.tracing.writes.batch_writer import is_transient
from adapters.postgres.tracing.writes.edits import TraceEdits
from adapters.postgres.tracing.writes.group_commit import BatchObserver, GroupCommit, NoObserver
from application.tracing.otlp.ports import (
    CHUNK_BYTES,
    FragmentRules,
    OrphanedRecord,
    RemappedTraces,
    TracePosition,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.fragments import Fragment
from domain.tracing.payloads.read_limit import ROW_BYTES


@dataclass(frozen=True, slots=True)
class PostgresOtlpTraces:
    """Waiting requests are bounded as native ones are, in a queue of their own."""

    line: GroupCommit[OtlpItem]
    edits: TraceEdits
    rules: FragmentRules
    on_removed: Callable[[ProjectId], None] = lambda _: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        edits: TraceEdits,
        rules: FragmentRules,
        on_removed: Callable[[ProjectId], None] = lambda _: None,
        watch: BatchObserver[OtlpItem] | None = None,
    ) -> AsyncIterator["PostgresOtlpTraces"]:
        """Opens the writer; leaving the block waits for all queued writes."""
        line: GroupCommit[OtlpItem] = GroupCommit(
            OtlpWriter(edits.pool, edits.prices, rules).write,
            is_transient,
            watch=watch or NoObserver(),
            batch_bytes=CHUNK_BYTES,  # two are in memory at a time
        )
        line.start()
        try:
            yield cls(line, edits, rules, on_removed)
        finally:
            await line.close()

    async def put(self, project: ProjectId, trace: TraceId, fragments: Sequence[Fragment]) -> None:
        size = sum(one.size + ROW_BYTES for one in fragments)
        async with translate_errors():
            try:
                await self.line.put((project, trace, fragments), size)
            except ProjectRemoved as removed:
                self.on_removed(removed.project)
                raise

    async def settle_open_traces(self, before: datetime) -> int:
        return await settle_open_traces(self.edits, self.rules, before)

    async def delete_orphaned_records(self, before: datetime) -> Sequence[OrphanedRecord]:
        return await delete_orphaned_records(self.edits.pool, self.rules, before)

    async def remap(
        self, project: ProjectId | None, after: TracePosition | None, *, is_dry_run: bool
    ) -> RemappedTraces:
        return await remap(self.edits, self.rules, project, after, is_dry_run=is_dry_run)
