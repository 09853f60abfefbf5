"""What browsers are told on every answer, so that none of them is more than data to a page.

Who may read answers across origins is said in `cors`: requests in CORS mode aren't subject to
Cross-Origin-Resource-Policy (Fetch, section 3.7), which keeps out only those that are embedded.
"""

from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

# Of each that an answer doesn't have: pages say some of them themselves, and know better.
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),  # answers hold payloads, and new keys
)


class SecurityHeaders:
    """Adds HEADERS to every answer, whoever gives it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message["headers"]}
                more = [header for header in HEADERS if header[0] not in said]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self.app(scope, receive, secured)
