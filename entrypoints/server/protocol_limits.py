"""Connections to the API, with the bounds that uvicorn leaves open."""

import asyncio
import resource
import uuid
from typing import Any, Final, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entrypoints.http.middleware.request_ids import HEADER
from entrypoints.http.middleware.security_headers import HEADERS

CONNECTIONS_MAX: Final = 4_096  # idle ones cost about 20 kB each
HEADERS_S: Final = 10.0  # from a connection's first moment, or a request's first byte
UNREAD_S: Final = 30.0  # for which a client may take nothing of an answer that waits for it
FILES_BESIDE: Final = 128  # open files that are no connections of clients


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection that sends no whole request head in HEADERS_S.

    And one that takes nothing of its answer for UNREAD_S; beyond the most, new ones are closed at
    once. What is within a request is bounded in entrypoints/http/middleware/load_shedding.py.
    """

    connections_max = CONNECTIONS_MAX
    headers_s = HEADERS_S
    unread_s = UNREAD_S

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.connections_max:
            self.transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Blank lines begin no request, and would keep a connection for ever.
        is_between = getattr(self.cycle, "response_complete", True)  # no cycle: no request yet
        if self._head is None and is_between:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._head_came()  # the time between requests has a limit of its own

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_read()
        self._unread = self.loop.call_later(self.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP: in the form of every answer, though no application sees it."""
        body = msgspec.json.encode({"detail": msg})
        headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (HEADER, str(uuid.uuid4()).encode()),
            *HEADERS,
        )
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, body))
        self.transport.close()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _head_came(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _await_head(self) -> None:
        if not self.transport.is_closing():
            self._head = self.loop.call_later(self.headers_s, self.transport.abort)


def raise_file_limit() -> int:
    """Lets this process open as many files as connections need; how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, soft - FILES_BESIDE))
