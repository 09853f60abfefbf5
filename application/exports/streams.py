"""Streams all traces that match a filter, while the client reads."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from application.exports.ports import Batches, TraceArchive
from domain.errors import LimitExceeded, Unavailable
from domain.ids import ProjectId, TraceId
from domain.page import SortOrder
from domain.tracing.query import TraceFilter, TraceSort

CONCURRENT_STREAMS_MAX: Final = (
    4  # in a process: each has a connection, a snapshot and megabytes of memory
)
STREAMS_PER_PROJECT_MAX: Final = 2  # of one project, in a process
RETRY_AFTER_S: Final = 10  # how long a refused client has to wait
TOO_MANY_STREAMS: Final = "Too many exports are in progress; try again"
TOO_MANY_OF_PROJECT: Final = (
    f"{STREAMS_PER_PROJECT_MAX} exports of this project are in progress: wait for one to end, "
    "or ask for a file with POST /traces/exports"
)


class StreamLimiter:
    """Limits the concurrent streams of this process, in total and by project."""

    def __init__(self) -> None:
        self._running: Counter[ProjectId] = Counter()

    @contextmanager
    def slot(self, project: ProjectId) -> Iterator[None]:
        """Counts a stream during the block. Raises LimitExceeded, Unavailable."""
        if self._running[project] >= STREAMS_PER_PROJECT_MAX:
            raise LimitExceeded(TOO_MANY_OF_PROJECT, retry_after_s=RETRY_AFTER_S)
        if self._running.total() >= CONCURRENT_STREAMS_MAX:
            raise Unavailable(TOO_MANY_STREAMS, retry_after_s=RETRY_AFTER_S)
        self._running[project] += 1
        try:
            yield
        finally:
            self._running[project] -= 1
            if not self._running[project]:
                del self._running[project]


@dataclass(frozen=True, slots=True)
class StreamTraces:
    """All traces that match a filter, whole, with their scores, from one snapshot."""

    archive: TraceArchive
    limiter: StreamLimiter

    @asynccontextmanager
    async def __call__(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        left_out: list[TraceId],
    ) -> AsyncIterator[Batches]:
        """`left_out` and what is raised are as of TraceArchive.

        Raises LimitExceeded beyond STREAMS_PER_PROJECT_MAX too.
        """
        with self.limiter.slot(project):
            async with self.archive.read(project, matching, sort, order, left_out) as batches:
                yield batches
