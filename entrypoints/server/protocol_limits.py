"""Limits on connections to the API that uvicorn doesn't enforce."""

import asyncio
import resource
import uuid
from typing import Any, Final, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entrypoints.http.middleware.request_ids import HEADER
from entrypoints.http.middleware.security_headers import DEFAULT_HEADERS

CONNECTIONS_MAX: Final = 4_096  # idle ones cost about 20 kB each
HEADERS_TIMEOUT_S: Final = 10.0  # from the connection, or from a request's first byte
UNREAD_TIMEOUT_S: Final = 30.0  # for which a client may read nothing of a pending response
OTHER_FILES_MAX: Final = 128  # open files other than connections of clients


class BoundedConnection(HttpToolsProtocol):
    """Closes connections that stay idle within a request, and those beyond the maximum.

    A connection is closed if its request headers aren't complete within HEADERS_TIMEOUT_S, or if
    the client reads nothing of the response for UNREAD_TIMEOUT_S. New connections beyond
    CONNECTIONS_MAX are closed immediately. entrypoints/http/middleware/load_shedding.py limits the
    rest of a request.
    """

    connections_max = CONNECTIONS_MAX
    headers_timeout_s = HEADERS_TIMEOUT_S
    unread_timeout_s = UNREAD_TIMEOUT_S

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._headers_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.connections_max:
            self.transport.abort()
        else:
            self._start_headers_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_headers_timer()
        self._cancel_unread_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Blank lines don't begin a request, but would keep a connection open for ever.
        is_idle = getattr(self.cycle, "response_complete", True)  # no cycle: no request yet
        if self._headers_timer is None and is_idle:
            self._start_headers_timer()

    def on_headers_complete(self) -> None:
        self._cancel_headers_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._cancel_headers_timer()  # the keep-alive timeout applies between requests

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cancel_unread_timer()
        self._unread_timer = self.loop.call_later(self.unread_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._cancel_unread_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answers invalid HTTP in the format of other errors; the application isn't called."""
        body = msgspec.json.encode({"detail": msg})
        headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (HEADER, str(uuid.uuid4()).encode()),
            *DEFAULT_HEADERS,
        )
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, body))
        self.transport.close()

    def _cancel_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _cancel_headers_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _start_headers_timer(self) -> None:
        if not self.transport.is_closing():
            self._headers_timer = self.loop.call_later(self.headers_timeout_s, self.transport.abort)


def raise_file_limit() -> int:
    """Raises the limit of open files for CONNECTIONS_MAX. Returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + OTHER_FILES_MAX
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, soft - OTHER_FILES_MAX))
