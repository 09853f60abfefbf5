"""Limits concurrent requests to a provider: halves the limit on a 429, then raises it slowly."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from domain.ids import ProjectId

SUCCESSES_PER_SLOT: Final = 20  # after so many successes the limit rises by one


class AdaptiveLimiter:
    """A semaphore whose `limit` adapts between 1 and `limit_max`.

    A slot that gets free goes to the project that waits and holds the fewest. Of equals it goes to
    the one that waits the longest, since it came or got its last slot from the queue; within a
    project, first come first served.
    """

    def __init__(self, limit_max: int) -> None:
        self._limit_max = limit_max
        self._held = Counter[ProjectId]()  # of those that hold any
        # The waiting ones of each project; the project that is next comes first.
        self._waiting: dict[ProjectId, deque[asyncio.Future[None]]] = {}
        self._successes = 0
        self.limit = limit_max
        self.epoch = 0  # how often the limit was halved

    def record_success(self) -> None:
        self._successes += 1
        if self._successes >= SUCCESSES_PER_SLOT:
            self._successes = 0
            self.limit = min(self.limit + 1, self._limit_max)
            self._wake()

    def record_rate_limit(self, epoch: int) -> None:
        """Halves the limit, unless the request began in an earlier `epoch`.

        Requests that were sent together are refused together: a burst halves the limit once.
        """
        if epoch == self.epoch:
            self.epoch += 1
            self._successes = 0
            self.limit = max(self.limit // 2, 1)

    @asynccontextmanager
    async def slot(self, project: ProjectId) -> AsyncIterator[None]:
        """Waits for a slot, and holds it during the block."""
        await self._acquire(project)
        try:
            yield
        finally:
            self._release(project)

    async def _acquire(self, project: ProjectId) -> None:
        if self._held.total() < self.limit and not self._waiting:
            self._held[project] += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(project, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._forget(project, granted)
            else:  # the slot was granted in the same moment
                self._release(project)
            raise

    def _release(self, project: ProjectId) -> None:
        self._held[project] -= 1
        if not self._held[project]:
            del self._held[project]
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._held.total() < self.limit:
            project = min(self._waiting, key=self._held.__getitem__)
            waiting = self._waiting.pop(project)
            granted = waiting.popleft()
            if waiting:
                self._waiting[project] = waiting  # behind the others
            if not granted.done():
                self._held[project] += 1
                granted.set_result(None)

    def _forget(self, project: ProjectId, granted: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(project, deque())
        if granted in waiting:  # else a slot was offered after the cancellation
            waiting.remove(granted)
            if not waiting:
                del self._waiting[project]


def provider_limiters(limit_max: int) -> Mapping[str, AdaptiveLimiter]:
    """The limiters of a process by provider, each created when it is first looked up."""
    return defaultdict(lambda: AdaptiveLimiter(limit_max))
