"""Room in memory for reads of large traces, which a process gives to few of them at a time.

The read data is in memory several times, until the response is sent. Small reads
need no room, so nothing waits for them.
"""

import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from domain.tracing.payloads.read_limit import TooLargeToRead

SMALL_READ_BYTES: Final = 1 << 20  # read without room
MEDIUM_READ_BYTES: Final = 16 << 20  # most that need room need no more


@dataclass(frozen=True, slots=True)
class ReadRoom:
    """The room of one request, which has it until its response is sent.

    `take` waits for so many bytes more, and raises Unavailable if there is no room in time.
    """

    take: Callable[[int], Awaitable[None]]
    give_back: Callable[[int], None]


room_of_request: Final[ContextVar[ReadRoom | None]] = ContextVar("room", default=None)
"""None where nothing bounds reads, as in workers, which read one target at a time."""


async def read_within_room[T](
    read: Callable[[int], Awaitable[T]], bytes_max: int, *, is_single: bool = False
) -> T:
    """What `read` returns, which gets how many bytes it may read.

    It is called with more, once there is room, if it raises TooLargeToRead; with `bytes_max` at
    last, or with no limit where `is_single`: a single span is read, whatever its size. Raises
    Unavailable, and what `read` raises.
    """
    last = sys.maxsize if is_single else bytes_max
    room = room_of_request.get()
    if room is None or bytes_max <= SMALL_READ_BYTES:
        return await read(last)
    try:
        return await read(SMALL_READ_BYTES)
    except TooLargeToRead:
        pass
    if bytes_max > MEDIUM_READ_BYTES:
        await room.take(MEDIUM_READ_BYTES)
        try:
            return await read(MEDIUM_READ_BYTES)
        except TooLargeToRead:
            room.give_back(MEDIUM_READ_BYTES)
    await room.take(bytes_max)
    return await read(last)
