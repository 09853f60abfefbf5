"""Handing out everything that a filter admits, while somebody reads it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from application.exporting.ports import TraceArchive, Batches
from domain.errors import LimitExceeded, Unavailable
from domain.ids import ProjectId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

CONCURRENT_STREAMS_MAX: Final = (
    4  # in a process: each holds a connection, a snapshot and some megabytes
)
STREAMS_PER_PROJECT_MAX: Final = 2  # of them one project's
WAIT_S: Final = 10  # before it is worth asking again
FULL: Final = "As many exports are under way as can be; try again"
FULL_OF_YOURS: Final = (
    f"{STREAMS_PER_PROJECT_MAX} exports of this project are under way: wait for one to end, "
    "or ask for a file with POST /traces/exports"
)


class StreamLimiter:
    """Who streams right now, in this process."""

    def __init__(self) -> None:
        self._taken: Counter[ProjectId] = Counter()

    @contextmanager
    def slot(self, project: ProjectId) -> Iterator[None]:
        """A seat inside the block. Raises LimitExceeded, Unavailable."""
        if self._taken[project] >= STREAMS_PER_PROJECT_MAX:
            raise LimitExceeded(FULL_OF_YOURS, retry_after_s=WAIT_S)
        if self._taken.total() >= CONCURRENT_STREAMS_MAX:
            raise Unavailable(FULL, retry_after_s=WAIT_S)
        self._taken[project] += 1
        try:
            yield
        finally:
            self._taken[project] -= 1
            if not self._taken[project]:
                del self._taken[project]


@dataclass(frozen=True, slots=True)
class StreamTraces:
    """Every trace that a filter admits, whole, with its scores, of one moment."""

    archive: TraceArchive
    limiter: StreamLimiter

    @asynccontextmanager
    async def __call__(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AsyncIterator[Batches]:
        """Raises LimitExceeded beyond STREAMS_PER_PROJECT_MAX at once, Unavailable; also later."""
        with self.limiter.slot(project):
            async with self.archive.read(project, matching, sort, order) as batches:
                yield batches
