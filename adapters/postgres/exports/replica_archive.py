"""Exports from a replica: whole snapshots, so an interrupted one can't go on elsewhere."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.postgres.database.pool import translate_errors
from adapters.postgres.read_replica import ReadOutcome, Replica
from application.exports.ports import Batches, TraceArchive
from domain.errors import Unavailable
from domain.exports.export import TraceWithScores
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class ReplicaTraceArchive:
    """Reads from `copy`, the archive over a replica, if that can be used.

    A failure before the first batch is repeated on the main database. After one that comes later,
    all reads of this process use the main database for a while: the next attempt comes through.
    """

    main: TraceArchive
    copy: TraceArchive
    replica: Replica

    @asynccontextmanager
    async def read(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        left_out: list[TraceId],
    ) -> AsyncIterator[Batches]:
        wanted = (project, matching, sort, order, left_out)
        async with AsyncExitStack() as stack:
            batches = await self._open_copy(stack, *wanted)
            if batches is None:
                left_out.clear()
                batches = await stack.enter_async_context(self.main.read(*wanted))
            yield batches

    async def load(self, project: ProjectId, traces: Sequence[TraceId]) -> Sequence[Trace]:
        return await self.main.load(project, traces)

    async def _open_copy(self, stack: AsyncExitStack, *wanted: Any) -> Batches | None:
        """The batches of the replica, once the first is there; None if it can't be used."""
        replica = self.replica
        if not replica.takes_streams:
            return None
        try:
            async with AsyncExitStack() as attempt:
                batches = await attempt.enter_async_context(self.copy.read(*wanted))
                first = await anext(batches, None)
                await stack.enter_async_context(attempt.pop_all())
        except Unavailable as error:
            if not replica.should_repeat(error):
                raise
            return None
        replica.on_read(ReadOutcome.REPLICA)
        return self._pausing_after_failure(first, batches)

    async def _pausing_after_failure(
        self, first: Sequence[TraceWithScores] | None, others: Batches
    ) -> Batches:
        if first is not None:
            yield first
        try:
            while True:
                async with translate_errors():
                    batch = await anext(others, None)
                if batch is None:
                    return
                yield batch
        except Unavailable as error:
            self.replica.pause_streams()
            self.replica.should_repeat(error)  # counts it; what was read can't be repeated
            raise
