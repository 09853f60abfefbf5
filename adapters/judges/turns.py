"""How many may go at once, by how it went: fewer where it was too many, then slowly more."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Final

MORE_AFTER: Final = 20  # that went well: then one more may go


class Turns:
    """Lets `limit` through at once, first come first served; at least 1 and at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._well = 0
        self.limit = most
        self.epoch = 0  # how often it was too many

    def went_well(self) -> None:
        self._well += 1
        if self._well >= MORE_AFTER:
            self._well = 0
            self.limit = min(self.limit + 1, self._most)
            self._wake()

    def too_many_erasures(self, epoch: int) -> None:
        """Halves it; not for what began in an earlier `epoch`, which was told of already."""
        if epoch == self.epoch:
            self.epoch += 1
            self._well = 0
            self.limit = max(self.limit // 2, 1)

    async def __aenter__(self) -> None:
        if self._taken < self.limit and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._taken -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
