"""Large reads wait for room in memory, and small ones don't."""

from collections.abc import Iterator
from contextvars import Token

import pytest

from application.read_room import (
    MEDIUM_READ_BYTES,
    SMALL_READ_BYTES,
    ReadRoom,
    read_within_room,
    room_of_request,
)
from domain.errors import Unavailable
from domain.tracing.payloads.read_limit import READ_BYTES_MAX, TooLargeToRead, trace_too_large


class Room:
    """The room that a request has."""

    held = 0

    async def take(self, size: int) -> None:
        self.held += size

    def give_back(self, size: int) -> None:
        self.held -= size


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    token: Token[ReadRoom | None] = room_of_request.set(ReadRoom(made.take, made.give_back))
    yield made
    room_of_request.reset(token)


async def read(size: int, most: int = READ_BYTES_MAX, *, is_single: bool = False) -> int:
    """Reads so many bytes; what it was allowed to read."""

    async def attempt(bytes_max: int) -> int:
        if size > bytes_max:
            raise trace_too_large()
        return bytes_max

    return await read_within_room(attempt, most, is_single=is_single)


@pytest.mark.parametrize(
    ("size", "held"),
    [
        (SMALL_READ_BYTES, 0),
        (SMALL_READ_BYTES + 1, MEDIUM_READ_BYTES),
        (MEDIUM_READ_BYTES, MEDIUM_READ_BYTES),
        (MEDIUM_READ_BYTES + 1, READ_BYTES_MAX),
        (READ_BYTES_MAX, READ_BYTES_MAX),
    ],
)
async def test_read_has_room_for_its_size(room, size, held):
    assert await read(size) >= size
    assert room.held == held


async def test_two_reads_have_room_for_both(room):
    await read(SMALL_READ_BYTES + 1)
    await read(MEDIUM_READ_BYTES + 1)
    assert room.held == MEDIUM_READ_BYTES + READ_BYTES_MAX


async def test_what_is_too_large_is_refused(room):
    with pytest.raises(TooLargeToRead):
        await read(READ_BYTES_MAX + 1)
    with pytest.raises(TooLargeToRead):
        await read(101, most=100)
    assert room.held == READ_BYTES_MAX, "until the request ends"


async def test_single_span_is_read_whatever_its_size(room):
    assert await read(2 * READ_BYTES_MAX, is_single=True) >= 2 * READ_BYTES_MAX
    assert room.held == READ_BYTES_MAX
    assert await read(SMALL_READ_BYTES, is_single=True) == SMALL_READ_BYTES


async def test_nothing_is_read_without_room(room):
    async def refuse(_: int) -> None:
        raise Unavailable("no room")

    read_sizes = list[int]()

    async def attempt(bytes_max: int) -> None:
        read_sizes.append(bytes_max)
        raise trace_too_large()

    token = room_of_request.set(ReadRoom(refuse, room.give_back))
    with pytest.raises(Unavailable):
        await read_within_room(attempt, READ_BYTES_MAX)
    room_of_request.reset(token)
    assert read_sizes == [SMALL_READ_BYTES]


async def test_without_a_request_reads_are_not_bounded():
    assert await read(READ_BYTES_MAX) == READ_BYTES_MAX
