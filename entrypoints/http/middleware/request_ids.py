"""X-Request-ID on every answer."""

import re
import uuid
from typing import Any, Final, cast

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

HttpRequest = Request[Any, Any, Any]  # a plain alias: Litestar doesn't see through `type`

HEADER: Final = b"x-request-id"
_KEY: Final = "pandaprobe.request_id"
_FORM: Final = re.compile(rb"[\x21-\x7e]{1,200}")


def request_id_of(scope: Any) -> str:
    """The id under which this request is answered and logged."""
    return str(scope.get(_KEY, ""))


def sent_request_id(scope: Any) -> str | None:
    """The caller's own, where they sent one of the right form."""
    given = _given(scope)
    return given.decode() if _FORM.fullmatch(given) else None


def _given(scope: Any) -> bytes:
    return next((value for name, value in scope["headers"] if name == HEADER), b"")


class RequestIds:
    """Outermost, so that no answer goes without: the caller's own id where it has its form."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        given = _given(scope)
        own = given if _FORM.fullmatch(given) else str(uuid.uuid4()).encode()
        cast("dict[str, Any]", scope)[_KEY] = own.decode()

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, own)]
            await send(message)

        await self.app(scope, receive, stamped)
