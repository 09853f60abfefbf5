"""Limits on connections to the API that uvicorn doesn't enforce."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import struct
import uuid
from functools import partial
from itertools import chain
from typing import Any, Final, cast

import httptools
import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from adapters.otlp.decoding.answers import encode_error
from entrypoints.http.middleware.otlp_errors import PATHS as OTLP_PATHS
from entrypoints.http.middleware.otlp_errors import encoding_of
from entrypoints.http.middleware.request_ids import HEADER
from entrypoints.http.middleware.response_headers import DEFAULT_HEADERS
from entrypoints.http.requests.body_io import JSON

CONNECTIONS_MAX: Final = 4_096  # idle ones cost about 20 kB each
HEADERS_TIMEOUT_S: Final = 10.0  # from the connection, or from a request's first byte
UNREAD_TIMEOUT_S: Final = 30.0  # for which a client may read nothing of a pending response
HEAD_MAX_BYTES: Final = 64 << 10  # request line and headers; likewise trailers and chunk framing
GRPC_CONNECTIONS_PART: Final = 4  # so many connections of HTTP are allowed for one of gRPC
OTHER_FILES_MAX: Final = 128  # open files other than connections of clients

_log: Final = logging.getLogger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """Closes connections that stay idle within a request, send too much, or exceed the maximum.

    A connection is closed if its request headers aren't complete within HEADERS_TIMEOUT_S, or if
    the client reads nothing of the response for UNREAD_TIMEOUT_S. New connections beyond
    CONNECTIONS_MAX are closed immediately. entrypoints/http/middleware/load_shedding.py limits the
    rest of a request.

    A request that asks for another protocol is served as any other (RFC 9110, section 7.8). A
    response of unknown length to HTTP/1.0, which has no chunks, ends with the connection.

    The parser collects the head of a request without a limit. A head of more than HEAD_MAX_BYTES is
    answered with 431, as is that much after the head without a byte of the body, such as trailers.
    """

    connections_max = CONNECTIONS_MAX
    headers_timeout_s = HEADERS_TIMEOUT_S
    unread_timeout_s = UNREAD_TIMEOUT_S
    head_max_bytes = HEAD_MAX_BYTES

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.parser = _Parser(self)
        self._asks_for_upgrade = False
        self._is_in_body = False
        self._head_bytes = 0  # of the head that is being received, or since the last part of a body
        self._head_bytes_most = 0  # those, with all that was received at once
        self._is_refused = False
        self._headers_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None  # others may be waiting for its response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.connections_max:
            self.transport.abort()
        else:
            self._start_headers_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_headers_timer()
        self._cancel_unread_timer()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)  # uvicorn ends the newest request, which may still wait

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._head_bytes += len(data)
        self._head_bytes_most = self._head_bytes
        super().data_received(data)
        if self._head_bytes > self.head_max_bytes:
            self._refuse_head()
        # Blank lines don't begin a request, but would keep a connection open for ever.
        is_idle = getattr(self.cycle, "response_complete", True)  # no cycle: no request yet
        if self._headers_timer is None and is_idle:
            self._start_headers_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_body:  # trailers are ignored; uvicorn would add them to the headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._asks_for_upgrade = self.parser.should_upgrade() and any(
            name == b"upgrade" for name, _ in self.headers
        )
        if self._asks_for_upgrade:
            return  # the parser gets the head again, without this header
        self._cancel_headers_timer()
        if self._head_bytes_most > self.head_max_bytes:
            texts = chain(*self.headers)  # names and values; 4 bytes of a line separate them
            size = len(self.url) + sum(map(len, texts)) + 4 * len(self.headers)
            if size > self.head_max_bytes:  # it arrived whole, in one large read
                self._refuse_head()
        if not self._is_refused:
            self._is_in_body, self._head_bytes = True, 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            self._head_bytes = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not (self._is_refused or self._asks_for_upgrade):
            self._is_in_body, self._head_bytes = False, 0
            super().on_message_complete()

    def head_without_upgrade(self) -> bytes | None:
        """The head without its request for another protocol; None if it has no such request."""
        if not self._asks_for_upgrade:
            return None
        target = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = (header for header in self.headers if header[0] != b"upgrade")
        lines = b"".join(b"%b: %b\r\n" % header for header in kept)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (*target, lines)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        is_old = cycle.scope["http_version"] == "1.0"
        super()._start_asgi_task(cycle, _without_chunks(app, cycle) if is_old else app)

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
        self._send_error(b"400 Bad Request", msg)

    def _refuse_head(self) -> None:
        """Closes the connection, with an answer unless another response is being sent on it."""
        self._is_refused = True
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            can_answer = self._is_in_body and not cycle.response_started
            cycle.disconnected = True  # the application gets no more of the request
            cycle.message_event.set()
            if not can_answer:
                self.transport.close()
                return
        what = "trailers" if self._is_in_body else "request line and headers"
        detail = f"The {what} are larger than {self.head_max_bytes} bytes"
        self._send_error(b"431 Request Header Fields Too Large", detail)

    def _send_error(self, status: bytes, detail: str) -> None:
        """Answers invalid HTTP in the format of other errors; the application isn't called."""
        media_type, body = JSON, msgspec.json.encode({"detail": detail})
        if self._is_otlp():
            media_type = encoding_of(self.headers)
            body = encode_error(media_type, int(status[:3]), detail)
        headers = (
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (HEADER, str(uuid.uuid4()).encode()),
            *DEFAULT_HEADERS,
        )
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, head, body))
        self.transport.close()

    def _is_otlp(self) -> bool:
        """Whether the request is for OTLP, as far as it was read."""
        path = getattr(self, "url", b"").partition(b"?")[0]
        return path.rstrip(b"/").decode("latin-1") in OTLP_PATHS

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


def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle) -> Any:
    """Lets the end of the connection be that of a response without a Content-Length.

    uvicorn sends such a response in chunks, also to HTTP/1.0 (RFC 9112, section 6.1). The
    connection is reset if the response isn't completed, so that the client doesn't take it for
    complete.
    """
    has_length = True

    async def send_to_end(send: Send, message: Message) -> None:
        nonlocal has_length
        if message["type"] == "http.response.start":
            headers = [*message["headers"]]
            message["headers"] = headers
            has_length = any(name.lower() == b"content-length" for name, _ in headers)
            if not has_length:
                cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and not has_length:
            cycle.expected_content_length = len(message["body"])
        await send(message)

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, partial(send_to_end, send))
        finally:
            if not (has_length or cycle.response_complete or cycle.transport.is_closing()):
                _reset(cycle.transport)

    return respond


def _reset(transport: asyncio.Transport) -> None:
    descriptor = os.dup(transport.get_extra_info("socket").fileno())
    with contextlib.closing(socket.socket(fileno=descriptor)) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Parser(httptools.HttpRequestParser):
    """Reads the body of a request that asks for another protocol.

    The parser of the library ends such a request with its head. Its body would be lost, or, if it
    came later, be read as the next request.
    """

    def __init__(self, connection: BoundedConnection) -> None:
        super().__init__(connection)
        self._connection = connection
        # As uvicorn's: the first request of several gets its response.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: Any) -> None:
        rest = memoryview(data)  # a copy for each of many small requests would take too long
        while True:
            try:
                super().feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                head = self._connection.head_without_upgrade()
                if head is None:  # CONNECT
                    raise
                rest = rest[upgrade.args[0] :]
                super().feed_data(head)
            else:
                return


def raise_file_limit(*, has_grpc: bool = False) -> int:
    """Raises the limit of open files for CONNECTIONS_MAX, and for those of gRPC if it is served.

    Returns how many connections of HTTP fit, in addition to `grpc_connections` of gRPC.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    grpc_max = grpc_connections(CONNECTIONS_MAX) if has_grpc else 0
    wanted = CONNECTIONS_MAX + grpc_max + OTHER_FILES_MAX
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    left = soft - OTHER_FILES_MAX
    if has_grpc:
        left = left * GRPC_CONNECTIONS_PART // (GRPC_CONNECTIONS_PART + 1)
    most = max(1, min(CONNECTIONS_MAX, left))
    if most < CONNECTIONS_MAX:
        _log.warning(
            "the limit of open files, %d, leaves room for %d of %d connections; others are closed "
            "at once: raise the hard limit",
            soft,
            most,
            CONNECTIONS_MAX,
        )
    return most


def grpc_connections(http_connections: int) -> int:
    """How many connections the gRPC server may have in addition to so many of HTTP."""
    return max(1, http_connections // GRPC_CONNECTIONS_PART)
