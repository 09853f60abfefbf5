"""Writes of one turn of the event loop are sent together."""

import asyncio
from collections.abc import Iterable

import pytest

from entrypoints.server.joined_writes import JOINED_BYTES_MAX, JoinedWrites


class RecordedTransport(asyncio.Transport):
    """Keeps what is written, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.end = ""

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(list_of_data))

    def close(self) -> None:
        self.end = "closed"

    def abort(self) -> None:
        self.end = "aborted"

    def is_closing(self) -> bool:
        return bool(self.end)


@pytest.fixture
async def recorded() -> RecordedTransport:
    return RecordedTransport()


@pytest.fixture
async def joined(recorded: RecordedTransport) -> JoinedWrites:
    return JoinedWrites(recorded, asyncio.get_running_loop())


async def test_writes_of_a_turn_are_sent_together(recorded, joined):
    joined.write(b"head")
    joined.write(b"body")
    assert recorded.sent == []
    await asyncio.sleep(0)
    assert recorded.sent == [b"headbody"]
    joined.write(b"next")
    await asyncio.sleep(0)
    assert recorded.sent == [b"headbody", b"next"]


async def test_many_bytes_are_sent_at_once(recorded, joined):
    joined.write(b"head")
    joined.write(b"x" * JOINED_BYTES_MAX)
    assert recorded.sent == [b"head" + b"x" * JOINED_BYTES_MAX]
    await asyncio.sleep(0)
    assert len(recorded.sent) == 1


async def test_a_close_sends_what_was_written_before(recorded, joined):
    joined.write(b"last")
    joined.close()
    await asyncio.sleep(0)
    assert (recorded.sent, recorded.end) == ([b"last"], "closed")


async def test_nothing_is_sent_after_an_abort(recorded, joined):
    joined.write(b"lost")
    joined.abort()
    joined.write(b"late")
    await asyncio.sleep(0)
    assert (recorded.sent, recorded.end) == ([], "aborted")
