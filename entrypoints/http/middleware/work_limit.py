"""Bounds the bodies that a process works on at a time: decoded ones take several times their size.

Load shedding bounds the bodies that are received. Those that need more memory wait here, in the
order in which they come.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from domain.errors import Unavailable

WORK_MAX_BYTES: Final = 64 << 20
WORK_WAIT_S: Final = 3.0  # exporters give a request ten seconds in all
NO_ROOM: Final = "The service is overloaded; try again"


@dataclass(slots=True, eq=False)
class WorkLimit:
    """At most `most` bytes at a time; a single one may have more if there is no other."""

    most: int = WORK_MAX_BYTES
    held: int = field(default=0, init=False)
    _waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque, init=False)

    async def acquire(self, size: int, wait_s: float = WORK_WAIT_S) -> None:
        """Waits for room. Raises Unavailable after `wait_s`."""
        if not self._waiting and self._has_room(size):
            self.held += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it got its turn at the same moment
                self.release(size)
            else:
                turn.cancel()
                self._wake()
            if isinstance(error, TimeoutError):
                raise Unavailable(NO_ROOM) from error
            raise

    def release(self, size: int) -> None:
        self.held -= size
        self._wake()

    def _has_room(self, size: int) -> bool:
        return not self.held or self.held + size <= self.most

    def _wake(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self._has_room(size):
                self._waiting.popleft()
                self.held += size
                turn.set_result(None)
            else:
                return
