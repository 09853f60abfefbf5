"""Calls of OTLP over gRPC, each as a request to the HTTP application.

Both transports so have the same credentials, limits, rejections, answers, metrics and log lines.
The application answers an error with a `google.rpc.Status`, whose code is that of gRPC.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote

from domain.tracing.otel.requests import Encoding
from entrypoints.http.requests.body_io import MESSAGE_EXTENSION

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type HttpApp = Callable[[Message, Receive, Send], Awaitable[None]]
type Metadata = Sequence[tuple[str, str | bytes]]

PATHS: Final = {
    f"/opentelemetry.proto.collector.{package}.v1.{service}/Export": path
    for package, service, path in (
        ("trace", "TraceService", "/v1/traces"),
        ("logs", "LogsService", "/v1/logs"),
        ("metrics", "MetricsService", "/v1/metrics"),
    )
}
"""The path of HTTP for each method of gRPC."""
# The others are of no use here, and some would contradict how the message comes.
PASSED_METADATA: Final = frozenset(
    {
        *("authorization", "x-api-key", "x-project-name", "x-project-id", "x-organization-id"),
        *("user-agent", "x-forwarded-for", "x-request-id", "traceparent"),
    }
)
STATUS_DETAILS: Final = "grpc-status-details-bin"
RETRY_INFO: Final = "google.rpc.retryinfo-bin"  # read by the Python exporter instead of the details
REQUEST_ID: Final = "x-request-id"
UNAVAILABLE: Final = 14  # google.rpc.Code
# Clients accept 8 kB of metadata; here a byte takes three if it is encoded, and 4/3 in the details.
STATUS_MESSAGE_MAX_BYTES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A status other than OK. `trailers` contain it with its details."""

    code: int
    message: str
    trailers: Metadata


@dataclass(frozen=True, slots=True)
class Answer:
    message: bytes
    trailers: Metadata


@dataclass(slots=True)
class _Response:
    """Collects what the application sends."""

    status: int = 0
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.lower(): value for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")


async def call(
    app: HttpApp,
    path: str,
    metadata: Metadata,
    peer: str,
    read: Callable[[], Awaitable[bytes | None]],
) -> Answer | Failure:
    """Lets the application handle a call. `read` gives its message, or None if there is none.

    The application reads the message once it has authenticated the caller and has room for it.
    """
    response = _Response()

    async def receive() -> Message:
        message = await read()
        if message is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": message, "more_body": False}

    await app(_scope(path, metadata, peer), receive, response.send)
    trailers = _trailers(response.headers)
    if response.status == HTTPStatus.OK:
        return Answer(bytes(response.body), trailers)
    return _failure(response, trailers)


def _scope(path: str, metadata: Metadata, peer: str) -> Message:
    headers = [(b"content-type", Encoding.PROTOBUF.encode())]
    headers += (
        (name.encode(), value.encode() if isinstance(value, str) else value)
        for name, value in metadata
        if name in PASSED_METADATA
    )
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": parse_peer(peer),
        "server": None,
        "extensions": {MESSAGE_EXTENSION: {}},
    }


def parse_peer(peer: str) -> tuple[str, int] | None:
    """Address and port of a client as gRPC writes them; None if it has no address, as of a socket.

    Examples: `ipv4:192.0.2.1:49152`, `ipv6:%5B2001:db8::1%5D:49152`.
    """
    _, _, place = unquote(peer).partition(":")
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    try:
        ip_address(host)
        return host, int(port)
    except ValueError:
        return None


def _trailers(headers: Mapping[bytes, bytes]) -> Metadata:
    request_id = headers.get(REQUEST_ID.encode())
    return [] if request_id is None else [(REQUEST_ID, request_id.decode())]


def _failure(response: _Response, trailers: Metadata) -> Failure:
    # The packages have types, but don't say so. Importing them is slow.
    from google.protobuf.duration_pb2 import Duration  # noqa: PLC0415
    from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # noqa: PLC0415
        RetryInfo,
    )
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # noqa: PLC0415

    if not response.status:  # the client is gone
        return Failure(UNAVAILABLE, "The call was interrupted; try again", trailers)
    status = Status.FromString(bytes(response.body))
    status.message = _cut(status.message)
    added = []
    retry_after = response.headers.get(b"retry-after", b"")
    if retry_after.isdigit():  # without it, exporters may not repeat RESOURCE_EXHAUSTED
        retry_info = RetryInfo(retry_delay=Duration(seconds=int(retry_after)))
        status.details.add().Pack(retry_info)
        added.append((RETRY_INFO, retry_info.SerializeToString()))
    added.append((STATUS_DETAILS, status.SerializeToString()))
    return Failure(status.code, status.message, [*trailers, *added])


def _cut(message: str) -> str:
    return message.encode()[:STATUS_MESSAGE_MAX_BYTES].decode(errors="ignore")


def values_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """Plain pairs, as the library gives them in its own types."""
    return [(name, value) for name, value in metadata or ()]
