"""Cross-origin requests from the web pages that are allowed to make them."""

from collections.abc import Iterable
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS: Final = (
    "Accept, Accept-Encoding, Authorization, Content-Encoding, Content-Type, Idempotency-Key, "
    "X-API-Key, X-Organization-ID, X-Project-ID, X-Project-Name, X-Request-ID"
)
EXPOSED: Final = "X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
MAX_AGE_S: Final = 600

_PREFLIGHT: Final = (
    (b"access-control-allow-methods", METHODS.encode()),
    (b"access-control-allow-headers", REQUEST_HEADERS.encode()),
    (b"access-control-max-age", str(MAX_AGE_S).encode()),
)


class Cors:
    """Answers preflights, and lets pages of the allowed origins read every answer, errors too.

    `origins` are compared as they are sent; `*` among them allows any. A request without an
    Origin header, or from another origin, passes unchanged: browsers refuse to hand it on.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if not origin:
            await self.app(scope, receive, send)
            return
        allowed = origin in self.origins or b"*" in self.origins
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(send, origin if allowed else None)
            return

        async def shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_varied(message["headers"]), *_sharing(origin)]
            await send(message)

        await self.app(scope, receive, shared if allowed else send)


def _sharing(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", EXPOSED.encode()),
    ]


def _varied(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with Origin among what the answer varies by."""
    kept = [(name, value) for name, value in headers if name.lower() != b"vary"]
    known = [value for name, value in headers if name.lower() == b"vary"]
    return [*kept, (b"vary", b", ".join([*known, b"Origin"]))]


async def _preflight(send: Send, origin: bytes | None) -> None:
    if origin is None:
        body = msgspec.json.encode({"detail": "This origin is not allowed"})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"vary", b"Origin"),
        ]
        status = 400
    else:
        body, status = b"", 204
        headers = [*_sharing(origin), *_PREFLIGHT, (b"vary", b"Origin")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
