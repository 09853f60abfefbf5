"""CORS: cross-origin requests of the web pages in `allowed_origins`."""

from collections.abc import Iterable
from typing import Final, cast

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import (
    RawHeaders,
    change_headers,
    send_error,
    send_response,
)

ALLOWED_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = (
    "Accept, Accept-Encoding, Authorization, Content-Encoding, Content-Type, Idempotency-Key, "
    "If-None-Match, If-Range, Range, X-API-Key, X-Organization-ID, X-Project-ID, X-Project-Name, "
    "X-Request-ID"
)
EXPOSED_HEADERS: Final = (
    "Accept-Ranges, Content-Range, ETag, X-Request-ID, X-Project-Created, X-Ignored-Fields, "
    "X-Next-Cursor, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
)
PREFLIGHT_MAX_AGE_S: Final = 600

_VARY: Final = (b"vary", b"Origin")
_PREFLIGHT_HEADERS: Final = (
    (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
    (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
    (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
)


class Cors:
    """Answers preflights, and adds CORS headers to every response, errors included.

    `origins` are compared as browsers send them, in lower case; `*` among them allows any. A
    request without an Origin header, or from another origin, passes unchanged: the browser keeps
    its response from the page.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app = app
        self.origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        is_allowed = bool(origin) and (origin in self.origins or b"*" in self.origins)
        is_preflight = b"access-control-request-method" in headers
        if origin and is_preflight and cast("HTTPScope", scope)["method"] == "OPTIONS":
            await _answer_preflight(send, origin if is_allowed else None)
            return
        if is_allowed:
            send = change_headers(
                send, lambda headers: [*_vary_by_origin(headers), *_allow_origin(origin)]
            )
        await self.app(scope, receive, send)


def _allow_origin(origin: bytes) -> RawHeaders:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
    )


def _vary_by_origin(headers: RawHeaders) -> RawHeaders:
    """The headers, with Origin added to Vary."""
    others = [(name, value) for name, value in headers if name.lower() != b"vary"]
    varying = [value for name, value in headers if name.lower() == b"vary"]
    return [*others, (b"vary", b", ".join([*varying, b"Origin"]))]


async def _answer_preflight(send: Send, origin: bytes | None) -> None:
    if origin is None:
        await send_error(send, 400, "This origin is not allowed", _VARY)
    else:
        await send_response(send, 204, [*_allow_origin(origin), *_PREFLIGHT_HEADERS, _VARY])
