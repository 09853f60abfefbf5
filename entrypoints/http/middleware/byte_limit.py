"""Bounds bytes that are held at a time: of bodies that are received, of decoded ones, of reads.

Decoded bodies take several times their size, and the size of a message of gRPC isn't known before
it has arrived. Such requests wait for room, in the order in which they come.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Self

from domain.errors import Unavailable

WORK_MAX_BYTES: Final = 64 << 20
WORK_WAIT_S: Final = 3.0  # exporters give a request ten seconds in all
VERY_LARGE_READ_BYTES: Final = 64 << 20
NO_ROOM: Final = "The service is overloaded; try again"


@dataclass(slots=True, eq=False)
class ByteLimit:
    """At most `most` bytes at a time; a single one may have more if there is no other."""

    most: int = WORK_MAX_BYTES
    held: int = field(default=0, init=False)
    _waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque, init=False)

    def fits(self, size: int, own: int) -> bool:
        """Whether there is room for `size` more bytes of one that holds `own` bytes already."""
        return self.held <= own or self.held + size <= self.most

    def take(self, size: int) -> None:
        """Takes bytes that fit, before those that wait."""
        self.held += size

    async def acquire(self, size: int, wait_s: float | None = WORK_WAIT_S) -> None:
        """Waits for room. Raises Unavailable after `wait_s`; None: the caller limits the wait."""
        if not self._waiting and self.fits(size, own=0):
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

    def _wake(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self.fits(size, own=0):
                self._waiting.popleft()
                self.held += size
                turn.set_result(None)
            else:
                return


@dataclass(frozen=True, slots=True, eq=False)
class ReadLimits:
    """Bounds large reads, and with a limit of their own those of more than VERY_LARGE_READ_BYTES.

    One of these leaves hardly room for another, and a client may take its response slowly: other
    reads don't wait for it.
    """

    large: ByteLimit
    very_large: ByteLimit

    @classmethod
    def with_limit(cls, most: int) -> Self:
        return cls(ByteLimit(most), ByteLimit(most))

    def limit_of(self, size: int) -> ByteLimit:
        return self.large if size <= VERY_LARGE_READ_BYTES else self.very_large

    @property
    def held(self) -> int:
        return self.large.held + self.very_large.held
