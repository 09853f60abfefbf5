"""CORS: cross-origin requests of the web pages in `allowed_origins`."""

from collections.abc import Iterable
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

ALLOWED_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = (
    "Accept, Accept-Encoding, Authorization, Content-Encoding, Content-Type, Idempotency-Key, "
    "X-API-Key, X-Organization-ID, X-Project-ID, X-Project-Name, X-Request-ID"
)
EXPOSED_HEADERS: Final = (
    "X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
)
PREFLIGHT_MAX_AGE_S: Final = 600

_PREFLIGHT_HEADERS: Final = (
    (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
    (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
    (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
)


class Cors:
    """Answers preflights, and adds CORS headers to every response, errors included.

    `origins` are compared as they are sent; `*` among them allows any. A request without an
    Origin header, or from another origin, passes unchanged: the browser keeps its response from
    the page.
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
        is_allowed = origin in self.origins or b"*" in self.origins
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_preflight(send, origin if is_allowed else None)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_vary_by_origin(message["headers"]), *_allow_origin(origin)]
            await send(message)

        await self.app(scope, receive, send_with_headers if is_allowed else send)


def _allow_origin(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
    ]


def _vary_by_origin(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, with Origin added to Vary."""
    others = [(name, value) for name, value in headers if name.lower() != b"vary"]
    varying = [value for name, value in headers if name.lower() == b"vary"]
    return [*others, (b"vary", b", ".join([*varying, b"Origin"]))]


async def _answer_preflight(send: Send, origin: bytes | None) -> None:
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
        headers = [*_allow_origin(origin), *_PREFLIGHT_HEADERS, (b"vary", b"Origin")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
