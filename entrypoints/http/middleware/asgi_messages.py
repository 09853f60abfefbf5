"""The messages of a response, as ASGI layers change and send them."""

from collections.abc import Callable, Iterable

import msgspec
from litestar.types import Message, Send

type RawHeaders = Iterable[tuple[bytes, bytes]]


def change_headers(send: Send, change: Callable[[RawHeaders], RawHeaders]) -> Send:
    """A `send` for the layers within, which passes the headers of the response to `change`."""

    async def send_changed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = change(message["headers"])
        await send(message)

    return send_changed


async def send_error(send: Send, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
    """Sends a response in the format of other errors."""
    body = msgspec.json.encode({"detail": detail})
    described = (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))
    await send_response(send, status, (*described, *headers), body)


async def send_response(send: Send, status: int, headers: RawHeaders, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
