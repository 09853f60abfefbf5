"""Sends together what is written in one turn of the event loop."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

JOINED_BYTES_MAX: Final = 64 << 10  # as much as the buffer of a transport holds without a pause


class JoinedWrites(asyncio.Transport):
    """A transport over another one, which gets the writes of a turn as one.

    uvicorn writes the head of a response and its body one after the other, and uvloop sends each at
    once: two system calls, and two packets for a response of 100 bytes. More than JOINED_BYTES_MAX
    bytes are passed on immediately, so that the transport tells when to pause.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > JOINED_BYTES_MAX:
            self._send()
        elif len(self._parts) == 1:
            self._loop.call_soon(self._send)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self._send()
        self._transport.close()

    def abort(self) -> None:
        self._take()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _send(self) -> None:
        parts = self._take()
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)

    def _take(self) -> list[bytes]:
        parts, self._parts, self._size = self._parts, [], 0
        return parts
