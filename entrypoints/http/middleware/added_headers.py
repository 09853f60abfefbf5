"""Headers of the response that are decided on while the request is handled."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import change_headers

_SCOPE_KEY: Final = "pandaprobe.added_headers"


def add_response_header(scope: MutableMapping[str, Any], name: bytes, value: bytes) -> None:
    """Adds a header, whatever the status of the response will be."""
    scope.setdefault(_SCOPE_KEY, []).append((name, value))


@dataclass(frozen=True, slots=True)
class AddedHeaders:
    """Adds the headers of `add_response_header` to the response."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        added: Any = scope
        await self.app(
            scope,
            receive,
            change_headers(send, lambda headers: [*headers, *added.get(_SCOPE_KEY, ())]),
        )
