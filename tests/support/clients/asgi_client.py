"""A minimal ASGI server: sends a scope and messages to an app, and collects its messages."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from litestar.types import ASGIApp, Receive, Send

DISCONNECT: dict[str, Any] = {"type": "http.disconnect"}


def chunk(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def exchange(
    app: ASGIApp,
    method: str,
    path: str,
    headers: Mapping[str, str],
    messages: Iterable[dict[str, Any]] = (),
) -> tuple[list[dict[str, Any]], int]:
    """The messages that the app sends, and how many of `messages` it received."""
    waiting = list(messages)
    count = len(waiting)
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        if not waiting:  # the client waits for the response
            await asyncio.get_running_loop().create_future()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    return sent, count - len(waiting)


def with_http_version(app: ASGIApp, version: str) -> ASGIApp:
    """The app as a client of another version of HTTP reaches it; httpx says 1.1."""

    async def respond(scope: Any, receive: Receive, send: Send) -> None:
        await app({**scope, "http_version": version}, receive, send)

    return respond
