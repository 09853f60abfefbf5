"""Security headers on every response: to a web page, a response is data and nothing more.

`cors` decides which pages may read responses. Requests in CORS mode aren't subject to
Cross-Origin-Resource-Policy (Fetch, section 3.7), which refuses embedding only.
"""

from dataclasses import dataclass
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import RawHeaders, change_headers

# Defaults: a response that sets one of these itself, as pages do, keeps its own value.
DEFAULT_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),  # responses contain payloads and new keys
)


@dataclass(frozen=True, slots=True)
class SecurityHeaders:
    """Adds DEFAULT_HEADERS to every response, whichever layer sends it."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, change_headers(send, _add_defaults))


def _add_defaults(headers: RawHeaders) -> RawHeaders:
    present = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in DEFAULT_HEADERS if header[0] not in present)]
