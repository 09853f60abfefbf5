"""Headers of every response: a request id, security headers, and those of `add_response_header`.

To a web page, a response is data and nothing more. `cors` decides which pages may read it. Requests
in CORS mode aren't subject to Cross-Origin-Resource-Policy (Fetch, section 3.7), which refuses
embedding only.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final, cast

from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import RawHeaders, change_headers
from entrypoints.http.middleware.request_ids import HEADER, assign_request_id

# Defaults: a response that sets one of these itself, as pages do, keeps its own value.
DEFAULT_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),  # responses contain payloads and new keys
)
_ADDED: Final = "pandaprobe.added_headers"


def add_response_header(scope: MutableMapping[str, Any], name: bytes, value: bytes) -> None:
    """Adds a header, whatever the status of the response will be. The last value counts."""
    scope.setdefault(_ADDED, {})[name] = value


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """The outermost layer, so that every response has these headers, whichever layer sends it.

    One layer adds them all: each that changes headers costs every request 1 us.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = assign_request_id(scope)
        added: dict[bytes, bytes] = {}
        cast("dict[str, Any]", scope)[_ADDED] = added  # copies of the scope share it

        def add_headers(headers: RawHeaders) -> RawHeaders:
            present = {name.lower() for name, _ in headers}
            defaults = [header for header in DEFAULT_HEADERS if header[0] not in present]
            return [*headers, *added.items(), *defaults, (HEADER, request_id)]

        await self.app(scope, receive, change_headers(send, add_headers))
