"""Responses that are sent while they are made, at the client's speed, without being in memory."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from litestar import Response
from litestar.types import Message, Receive, Scope, Send

from domain.errors import Failure
from entrypoints.http.middleware.request_ids import HttpRequest, request_id_of
from entrypoints.http.requests.body_io import JSON, StreamCompressor, negotiate_coding

PART_BYTES: Final = 96 << 10  # of JSON, if its items are as large as those of the part before
LONG_BYTES_MAX: Final = 2 * PART_BYTES
COMPRESSED_BYTES_MIN: Final = 512 << 10  # by a thread at once: gzip takes 10 ms for as many
PART_ITEMS_MAX: Final = 64  # making as many spans takes 0.3 ms
_FIRST_ITEMS: Final = 16
_PLACEHOLDER: Final = b"\0"  # no JSON has this byte

type OpenChunks = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the body. A Failure before the first chunk becomes an error response."""

_log = logging.getLogger(__name__)


class StreamingResponse(Response[bytes]):
    """A body of chunks, compressed if `may_compress` and the request accepts it.

    If the body can't be completed, the connection is closed, so that the client doesn't take it
    for complete.
    """

    def __init__(
        self,
        open_chunks: OpenChunks,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        may_compress: bool = True,
    ) -> None:
        super().__init__(b"", media_type=media_type, status_code=status)
        self._open_chunks = open_chunks
        self._own_headers = {"content-type": media_type, **(headers or {})}
        self._may_compress = may_compress

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        coding = negotiate_coding(request_headers) if self._may_compress else None
        compressor = StreamCompressor(coding)
        headers = dict(self._own_headers)
        if self._may_compress:
            headers["vary"] = "Accept-Encoding"
        if coding is not None:
            headers["content-encoding"] = coding
        has_started = False
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            async with self._open_chunks() as chunks:
                chunk = await anext(chunks, None)
                has_started = True
                status = self.status_code or HTTPStatus.OK
                raw = [(name.encode(), value.encode()) for name, value in headers.items()]
                await send({"type": "http.response.start", "status": status, "headers": raw})
                while chunk is not None and not disconnected.done():
                    await send(_body_message(await compressor.compress(chunk)))
                    chunk = await anext(chunks, None)
            if not disconnected.done():
                await send(_body_message(compressor.flush(), is_last=True))
        except Failure as failure:
            if not has_started:
                raise
            # Without the last message the server closes the connection.
            _log.warning("%s: response aborted: %s", request_id_of(scope), failure.message)
        finally:
            disconnected.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body_message(chunk: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": not is_last}


@dataclass(frozen=True, slots=True)
class JsonParts[T]:
    """JSON with a long list, which is made a part at a time, each when it is to be sent.

    Other requests get their turn between two parts, and a part takes the memory of the one before:
    for 11 MB at once, taking new memory would be a third of the work. `empty` is the response
    with an empty list `field`, and `make` makes its members of some of the `items`, whose long
    texts have `size` bytes: a part of several items has at most LONG_BYTES_MAX of them. The parts
    can be made only once, since each item is removed from `items` when it is sent.
    """

    empty: msgspec.Struct
    field: str
    items: deque[T]
    make: Callable[[Sequence[T]], Sequence[msgspec.Struct]]
    size: Callable[[Sequence[T]], int]

    def __iter__(self) -> Iterator[bytes]:
        whole = msgspec.structs.replace(self.empty, **{self.field: msgspec.Raw(_PLACEHOLDER)})
        before, _, after = msgspec.json.encode(whole).rpartition(_PLACEHOLDER)
        lead, count = before + b"[", _FIRST_ITEMS
        while self.items:
            part = msgspec.json.encode(self.make(self._take(count)))
            yield b"".join((lead, memoryview(part)[1:-1]))
            lead, count = b",", max(1, min(PART_ITEMS_MAX, count * PART_BYTES // len(part)))
        yield (b"]" if lead == b"," else lead + b"]") + after

    def _take(self, count: int) -> list[T]:
        some = [self.items.popleft() for _ in range(min(count, len(self.items)))]
        while len(some) > 1 and self.size(some) > LONG_BYTES_MAX:
            rest = some[len(some) // 2 :]
            self.items.extendleft(reversed(rest))
            del some[len(some) // 2 :]
        return some


def stream_json(
    parts: JsonParts[Any], headers: Mapping[str, str], request: HttpRequest
) -> StreamingResponse:
    is_compressed = negotiate_coding(request.scope["headers"]) is not None

    @asynccontextmanager
    async def open_chunks() -> AsyncIterator[AsyncIterator[bytes]]:
        yield _in_turns(parts, COMPRESSED_BYTES_MIN if is_compressed else 0)

    return StreamingResponse(open_chunks, JSON, headers)


async def _in_turns(parts: JsonParts[Any], bytes_min: int) -> AsyncIterator[bytes]:
    """The parts, joined until they have `bytes_min` bytes.

    It yields to other tasks after each part: sending one waits only if the client is slow.
    """
    some: list[bytes] = []
    for part in parts:
        some.append(part)
        if sum(map(len, some)) >= bytes_min:
            yield b"".join(some)
            some.clear()
        await asyncio.sleep(0)
    if some:
        yield b"".join(some)
