"""X-Project-Created: true on the response to the request that created its project."""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import change_headers

HEADER: Final = (b"x-project-created", b"true")
_SCOPE_KEY: Final = "pandaprobe.project_created"


def note_created_project(scope: MutableMapping[str, Any]) -> None:
    scope[_SCOPE_KEY] = True


@dataclass(frozen=True, slots=True)
class ProjectCreatedHeader:
    """Tells the client that its X-Project-Name, perhaps mistyped, made a new project."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(
            scope,
            receive,
            change_headers(
                send, lambda headers: [*headers, HEADER] if _SCOPE_KEY in scope else headers
            ),
        )
