"""Errors of the OTLP endpoints, as exporters expect them, whichever layer sends them.

The body is a `google.rpc.Status` in the wire type of the request. A 429 or 503 has a Retry-After of
at most RETRY_AFTER_MAX_S: exporters give a request ten seconds in all, and drop it at once if the
header says more. A 503 also has one of at least UNAVAILABLE_RETRY_AFTER_S: exporters try six
times at most, so that a second each would use up half of the ten.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.tracing.otel.requests import EncodeError, Encoding
from entrypoints.http.middleware.asgi_messages import RawHeaders, send_response

SIGNALS: Final = ("traces", "logs", "metrics")
PREFIXES: Final = ("", "/otel", "/api/public/otel")
PATHS: Final = frozenset(f"{prefix}/v1/{signal}" for prefix in PREFIXES for signal in SIGNALS)
RETRY_AFTER_MAX_S: Final = 3
UNAVAILABLE_RETRY_AFTER_S: Final = 2
ERROR: Final = HTTPStatus.BAD_REQUEST  # the first status of an error
_TEMPORARY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_REPLACED: Final = frozenset({b"content-type", b"content-length", b"retry-after"})


class _FieldProblem(msgspec.Struct):
    field: str
    message: str


class _Error(msgspec.Struct):
    """An error as the layers within send it."""

    detail: str
    errors: list[_FieldProblem] = []

    @property
    def message(self) -> str:
        said = (f"{one.field}: {one.message}" if one.field else one.message for one in self.errors)
        return "; ".join(said) or self.detail


def encoding_of(headers: Iterable[tuple[bytes, bytes]]) -> Encoding:
    """The wire type of a request, which its answer has too. JSON if it is neither."""
    for name, value in headers:
        media_type = value.partition(b";")[0].strip().lower()
        if name == b"content-type" and media_type == Encoding.PROTOBUF.encode():
            return Encoding.PROTOBUF
    return Encoding.JSON


@dataclass(frozen=True, slots=True)
class OtlpErrors:
    """Encodes the errors of the layers within again."""

    app: ASGIApp
    encode_error: EncodeError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") not in PATHS:
            await self.app(scope, receive, send)
            return
        errors = _EncodingErrors(send, encoding_of(scope["headers"]), self.encode_error)
        # Without its coding, the body of an error can be read.
        uncoded = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
        await self.app(cast("Scope", {**scope, "headers": uncoded}), receive, errors.send)


@dataclass(slots=True)
class _EncodingErrors:
    """Passes a response on; the body of an error is encoded once it is complete."""

    pass_on: Send
    encoding: Encoding
    encode_error: EncodeError
    start: Any = None  # the first message of an error
    body: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= ERROR:
            self.start = message
        elif self.start is None:
            await self.pass_on(message)
        elif message["type"] == "http.response.body":
            self.body.extend(message["body"])
            if not message["more_body"]:
                await self._send_error(self.start["status"], self.start["headers"])

    async def _send_error(self, status: int, headers: RawHeaders) -> None:
        error = msgspec.json.decode(self.body, type=_Error)
        body = self.encode_error(self.encoding, status, error.message)
        changed = list(_headers(status, headers, self.encoding, len(body)))
        await send_response(self.pass_on, status, changed, body)


def _headers(status: int, sent: RawHeaders, encoding: Encoding, size: int) -> RawHeaders:
    retry_after_s = 1
    for name, value in sent:
        if name.lower() == b"retry-after" and value.isdigit():
            retry_after_s = max(1, min(int(value), RETRY_AFTER_MAX_S))
        if name.lower() not in _REPLACED:
            yield name, value
    yield b"content-type", encoding.encode()
    yield b"content-length", b"%d" % size
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after_s = max(retry_after_s, UNAVAILABLE_RETRY_AFTER_S)
    if status in _TEMPORARY:
        yield b"retry-after", b"%d" % retry_after_s
