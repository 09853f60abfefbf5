"""Limits concurrent requests to a provider: halves the limit on a 429, then raises it slowly."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Final

SUCCESSES_PER_SLOT: Final = 20  # after so many successes the limit rises by one


class AdaptiveLimiter:
    """A semaphore, first come first served, whose `limit` adapts between 1 and `limit_max`."""

    def __init__(self, limit_max: int) -> None:
        self._limit_max = limit_max
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
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

    async def __aenter__(self) -> None:
        if self._held < self.limit and not self._waiting:
            self._held += 1
            return
        slot = asyncio.get_running_loop().create_future()
        self._waiting.append(slot)
        try:
            await slot
        except asyncio.CancelledError:
            if not slot.cancelled():  # the slot was granted in the same moment
                self._release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        self._held -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._held < self.limit:
            slot = self._waiting.popleft()
            if not slot.done():
                self._held += 1
                slot.set_result(None)


def provider_limiters(limit_max: int) -> Mapping[str, AdaptiveLimiter]:
    """The limiters of a process by provider, each created when it is first looked up."""
    return defaultdict(lambda: AdaptiveLimiter(limit_max))
