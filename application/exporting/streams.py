"""Handing out everything that a filter admits, while somebody reads it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from application.exporting.ports import Archive, Batches
from domain.errors import LimitExceeded, Unavailable
from domain.ids import ProjectId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

AT_ONCE_MAX: Final = 4  # in a process: each holds a connection, a snapshot and some megabytes
OF_PROJECT_MAX: Final = 2  # of them one project's
WAIT_S: Final = 10  # before it is worth asking again
FULL: Final = "As many exports are under way as can be; try again"
FULL_OF_YOURS: Final = (
    f"{OF_PROJECT_MAX} exports of this project are under way: wait for one to end, "
    "or ask for a file with POST /traces/exports"
)


class StreamLimiter:
    """Who streams right now, in this process."""

    def __init__(self) -> None:
        self._taken: Counter[ProjectId] = Counter()

    @contextmanager
    def taken(self, project: ProjectId) -> Iterator[None]:
        """A seat inside the block. Raises LimitExceeded, Unavailable."""
        if self._taken[project] >= OF_PROJECT_MAX:
            raise LimitExceeded(FULL_OF_YOURS, retry_after_s=WAIT_S)
        if self._taken.total() >= AT_ONCE_MAX:
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

    archive: Archive
    seats: StreamLimiter

    @asynccontextmanager
    async def __call__(
        self, project: ProjectId, matching: TraceFilter, sort: TraceSort, order: SortOrder
    ) -> AsyncIterator[Batches]:
        """Raises LimitExceeded beyond OF_PROJECT_MAX at once, Unavailable; also later."""
        with self.seats.taken(project):
            async with self.archive.reading(project, matching, sort, order) as batches:
                yield batches
