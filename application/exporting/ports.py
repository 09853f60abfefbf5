"""What exports need from the world."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from domain.exporting.archive import ArchivedTrace
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

type Batches = AsyncIterator[Sequence[ArchivedTrace]]
"""Traces in an order, some at a time: as many as a process can hold several times."""

BATCH_TRACES_MAX: Final = 100


class Archive(Protocol):
    """Whole traces with their scores, of one project.

    Contract of Archive: tests/contracts/test_archive.py, run against every adapter.
    """

    def reading(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AbstractAsyncContextManager[Batches]:
        """All traces that `matching` admits, in the order of the list, as they are at one moment.

        A batch has 1 to BATCH_TRACES_MAX traces. Bounded in time: raises Unavailable beyond it,
        or where the store is out of reach, on entering or later.
        """
        ...

    async def known(self, project: ProjectId, traces: Sequence[TraceId]) -> Sequence[ArchivedTrace]:
        """Those of at most BATCH_TRACES_MAX traces that are there, in any order.

        Raises Unavailable.
        """
        ...
