"""An OTLP client over gRPC: sends messages as exporters do, and reads the statuses."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from entrypoints.server.grpc_calls import RETRY_INFO, STATUS_DETAILS
from entrypoints.server.grpc_server import GrpcServer

LOOPBACK = "127.0.0.1"
METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
OK, INVALID, RESOURCE_EXHAUSTED, UNAVAILABLE = (
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
)


@dataclass(frozen=True)
class GrpcAnswer:
    code: grpc.StatusCode
    message: str = ""
    body: bytes = b""
    retry_s: int | None = None  # of the RetryInfo
    trailers: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class GrpcExporter:
    """Sends to one server with one project's key."""

    channel: aio.Channel
    headers: Mapping[str, str]
    compression: grpc.Compression = grpc.Compression.NoCompression

    async def send(
        self, message: bytes, signal: str = "traces", timeout_s: float | None = 60
    ) -> GrpcAnswer:
        return await self.call(METHODS[signal], message, timeout_s)

    async def call(self, method: str, message: bytes, timeout_s: float | None = 60) -> GrpcAnswer:
        calling = self.channel.unary_unary(method)(
            message,
            timeout=timeout_s,
            metadata=tuple(self.headers.items()),
            compression=self.compression,
        )
        try:
            body = await calling
        except aio.AioRpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            return GrpcAnswer(
                error.code(), error.details() or "", b"", retry_s(error, trailers), trailers
            )
        return GrpcAnswer(OK, body=body, trailers=dict(await calling.trailing_metadata() or ()))


def retry_s(error: aio.AioRpcError, trailers: Mapping[str, Any]) -> int | None:
    """The seconds of the RetryInfo, in details that say the same as the status itself."""
    if STATUS_DETAILS not in trailers:
        return None
    status = Status.FromString(trailers[STATUS_DETAILS])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = RetryInfo()
    for detail in status.details:
        assert detail.Unpack(info)
    assert RetryInfo.FromString(trailers.get(RETRY_INFO, b"")) == info
    return info.retry_delay.seconds if status.details else None


@asynccontextmanager
async def grpc_server(
    app: Any, body_max_bytes: int = 64 << 20, connections_max: int = 100
) -> AsyncIterator[tuple[Any, int]]:
    """A server and its port."""
    server = GrpcServer(app, body_max_bytes, connections_max)
    port = await server.start(f"{LOOPBACK}:0")
    try:
        yield server, port
    finally:
        await server.close(grace_s=0)


@asynccontextmanager
async def open_channel(port: int) -> AsyncIterator[aio.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(f"{LOOPBACK}:{port}", options=options) as channel:
        yield channel


@asynccontextmanager
async def grpc_exporter(
    app: Any, headers: Mapping[str, str], body_max_bytes: int = 64 << 20
) -> AsyncIterator[GrpcExporter]:
    async with grpc_server(app, body_max_bytes) as (_, port), open_channel(port) as channel:
        yield GrpcExporter(channel, headers)
