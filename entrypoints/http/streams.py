"""Answers that are sent while they are made: as fast as they are read, and never held whole."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, cast

from litestar import Response
from litestar.types import Message, Receive, Scope, Send

from domain.errors import Failure
from entrypoints.http.middleware.request_ids import request_id_of
from entrypoints.http.requests.body_io import Coder, wanted_coding

type Chunks = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens what is to be sent. What raises a Failure before the first chunk is answered as one."""

_log = logging.getLogger(__name__)


class Streamed(Response[bytes]):
    """A body of chunks, compressed where the request asks for it and `is_coded`.

    One that can't be finished is broken off: the connection is closed, so that no client takes it
    for whole.
    """

    def __init__(
        self,
        chunks: Chunks,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        is_coded: bool = True,
    ) -> None:
        super().__init__(b"", media_type=media_type, status_code=status)
        self._chunks = chunks
        self._said = {"content-type": media_type, **(headers or {})}
        self._is_coded = is_coded

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        return self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        coding = wanted_coding(headers) if self._is_coded else None
        coder = Coder(coding)
        said = dict(self._said)
        if self._is_coded:
            said["vary"] = "Accept-Encoding"
        if coding is not None:
            said["content-encoding"] = coding
        begun = False
        gone = asyncio.create_task(_gone(receive))
        try:
            async with self._chunks() as chunks:
                first = await anext(chunks, None)
                begun = True
                await send(_start(self.status_code or HTTPStatus.OK, said))
                chunk = first
                while chunk is not None and not gone.done():
                    await send(_body(await coder.more(chunk)))
                    chunk = await anext(chunks, None)
            if not gone.done():
                await send(_body(coder.rest(), is_last=True))
        except Failure as failure:
            if not begun:
                raise
            # Without its last message the server closes the connection.
            _log.warning("%s: broken off: %s", request_id_of(scope), failure.message)
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    """Returns once the client hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(status: int, headers: Mapping[str, str]) -> Message:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}


def _body(chunk: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": not is_last}
