"""The gRPC server of the extra `grpc`: takes OTLP calls for the HTTP application."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from grpc import aio

from entrypoints.http.middleware.load_shedding import REQUESTS_MAX
from entrypoints.server.grpc_calls import PATHS, Failure, HttpApp, call, values_of
from entrypoints.server.protocol_limits import (
    CONNECTIONS_MAX,
    HEADERS_TIMEOUT_S,
    grpc_connections,
)

IDLE_MAX_S: Final = 300  # of a connection without calls
_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_IDENTITY, _GZIP = 1 << 0, 1 << 2  # codings of messages, as bits

type Context = aio.ServicerContext[bytes, bytes]


def _options(
    body_max_bytes: int, connections_max: int, *, shares_port: bool
) -> list[tuple[str, int]]:
    return [
        # Unless the processes of one command share it, a second server on the port is a mistake.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", body_max_bytes),  # as sent
        ("grpc.max_concurrent_streams", REQUESTS_MAX),  # of a connection
        ("grpc.max_allowed_incoming_connections", connections_max),  # others are closed
        ("grpc.max_connection_idle_ms", IDLE_MAX_S * 1_000),
        ("grpc.server_handshake_timeout_ms", int(HEADERS_TIMEOUT_S * 1_000)),
        # The application inflates messages: in steps, up to its own bound, and in a thread.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY | _GZIP),
        # Keeps what is received of a message that isn't read yet at 64 kB.
        ("grpc.http2.bdp_probe", 0),
    ]


@dataclass(slots=True)
class GrpcServer:
    """Runs from `start` to `close`.

    A call is handled in a task of its own, as a request of HTTP is: a client that gives up doesn't
    interrupt what is being stored.
    """

    app: HttpApp
    body_max_bytes: int
    connections_max: int = grpc_connections(CONNECTIONS_MAX)
    shares_port: bool = False
    _server: Any = field(default=None, init=False)
    _calls: set[asyncio.Task[Any]] = field(default_factory=set, init=False)
    _stopping: asyncio.Task[None] | None = field(default=None, init=False)

    async def start(self, address: str) -> int:
        """Returns the port, for an address whose port is 0. Raises RuntimeError if it is in use."""
        options = _options(self.body_max_bytes, self.connections_max, shares_port=self.shares_port)
        self._server = aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Calls(self),))
        port: int = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    def begin_stop(self, grace_s: float) -> None:
        """Takes no more calls, and gives those in progress some time to finish."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop(grace_s))

    async def close(self, grace_s: float) -> None:
        """Returns once no call is in progress: after `grace_s`, the rest is cancelled."""
        self.begin_stop(grace_s)
        assert self._stopping is not None
        await self._stopping
        for one in self._calls:
            one.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def handle(self, path: str, context: Context) -> bytes:
        async def read() -> bytes | None:
            message: Any = await context.read()
            return message if isinstance(message, bytes) else None  # else its end, or a refusal

        metadata = values_of(context.invocation_metadata())
        handling = asyncio.create_task(call(self.app, path, metadata, context.peer(), read))
        self._calls.add(handling)
        handling.add_done_callback(self._calls.discard)
        answer = await asyncio.shield(handling)
        if isinstance(answer, Failure):
            code = _STATUS_CODES[answer.code]
            await context.abort(code, answer.message, tuple(answer.trailers))
        context.set_trailing_metadata(tuple(answer.trailers))
        return answer.message


@dataclass(frozen=True, slots=True)
class _Calls(grpc.GenericRpcHandler):
    """Finds the handler of a method. Messages stay bytes: the application decodes them."""

    server: GrpcServer

    def service(self, handler_call_details: Any) -> Any:
        path = PATHS.get(handler_call_details.method)
        if path is None:
            return None  # UNIMPLEMENTED

        async def handle(_: Any, context: Context) -> bytes:
            return await self.server.handle(path, context)

        # A stream of one message, which is the same on the wire: so the message is read when there
        # is room for it, and not before the handler is called.
        return grpc.stream_unary_rpc_method_handler(handle)
