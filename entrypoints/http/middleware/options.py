"""OPTIONS: the methods of a path."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from entrypoints.http.middleware.asgi_messages import send_response

NO_METHOD: Final = "NONE"  # which no path has: the answer is 405, or 404


@dataclass(frozen=True, slots=True)
class Options:
    """Answers OPTIONS with the `Allow` of a 405.

    Litestar answers it too, but without the methods that a path got after its first one.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if cast("HTTPScope", scope)["method"] != "OPTIONS":
            await self.app(scope, receive, send)
            return
        is_refused = False

        async def send_allow(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = message["status"] == HTTPStatus.METHOD_NOT_ALLOWED
                if is_refused:
                    allow = [one for one in message["headers"] if one[0].lower() == b"allow"]
                    await send_response(send, HTTPStatus.NO_CONTENT, allow)
            if not is_refused:
                await send(message)

        await self.app(cast("Scope", {**scope, "method": NO_METHOD}), receive, send_allow)
