"""JSON responses with their ETags, and the replay of a response for a repeated write."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from application.concurrency import compute
from application.ports import StoredResponse
from domain.identity.caller import Caller
from entrypoints.http.config import http_context
from entrypoints.http.middleware.asgi_messages import send_response
from entrypoints.http.middleware.load_shedding import admission_ticket
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import JSON, THREAD_MIN_BYTES, compress_off_loop
from entrypoints.http.requests.etags import is_known, weak_etag
from entrypoints.http.requests.idempotency_key import IdempotencyKey

NO_HEADERS: Final[Mapping[str, str]] = {}
HAS_ETAG: Final = "has_etag"
"""The option of a handler whose responses have an ETag."""


class JsonResponse[T](Response[T]):
    """A value as JSON, or bytes that are JSON already, compressed if the request accepts it.

    A handler returns one to set the status or headers; a value alone is sent in the same way. Large
    bodies are compressed in a thread, so that they delay no other request. If the handler
    `HAS_ETAG`, the response has a weak ETag, and is 304 without a body if the request knows it.
    """

    def __init__(
        self,
        content: T | bytes,
        *,
        status_code: int | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> None:
        super().__init__(cast("T", content), status_code=status_code, headers=dict(headers or {}))

    def to_asgi_response(self, *_: Any, status_code: int | None = None, **__: Any) -> Any:
        status = self.status_code or status_code
        assert status is not None
        return as_json(self.content, status, self.headers)


def as_json(content: object, status: int, headers: Mapping[str, str] = NO_HEADERS) -> ASGIApp:
    """The response as an ASGI application. Litestar's own objects would take 20 us each."""
    body = b"" if content is None else content
    if not isinstance(body, bytes):
        body = msgspec.json.encode(body)

    async def respond(scope: Scope, _receive: Receive, send: Send) -> None:
        sent_headers, code = headers, status
        if status == HTTPStatus.OK and cast("Any", scope)["route_handler"].opt.get(HAS_ETAG):
            is_long = len(body) >= THREAD_MIN_BYTES
            etag = (
                headers["etag"]
                if "etag" in headers
                else await compute(weak_etag, body, is_long=is_long)
            )
            sent_headers = {**headers, "etag": etag}
            if is_known(etag, scope["headers"]):
                code, sent_headers["vary"] = HTTPStatus.NOT_MODIFIED, "Accept-Encoding"
        if code in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            await send_response(send, code, _raw(sent_headers))
            return
        sent, coding = await compress_off_loop(body, scope["headers"])
        described = (b"content-type", JSON.encode()), (b"content-length", b"%d" % len(sent))
        await send_response(send, code, [*_raw({**sent_headers, **coding}), *described], sent)

    return respond


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


async def respond_with[T](
    make: Callable[[], T], *, is_long: bool, headers: Mapping[str, str] | None = None
) -> T | JsonResponse[T]:
    """The response that `make` makes. If it `is_long`, a thread makes it and writes its JSON."""
    if is_long:
        body = await asyncio.to_thread(lambda: msgspec.json.encode(make()))
        return JsonResponse(body, headers=headers)
    return make() if headers is None else JsonResponse(make(), headers=headers)


def not_modified(etag: str) -> JsonResponse[Any]:
    """The response to a request that knows what it asks for."""
    headers = {"etag": etag, "vary": "Accept-Encoding"}  # as of the whole response
    return JsonResponse(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)


async def respond_idempotently[T](
    request: HttpRequest,
    caller: Caller,
    key: IdempotencyKey | None,
    status: int,
    write: Callable[[UUID], Awaitable[T]],
    *,
    has_secret: bool = False,
) -> JsonResponse[T]:
    """The result of `write`, or the stored response of the first request with this key.

    `write` creates the object with the id that it is called with, or returns it if it exists. A
    response that `has_secret` is not stored: a repeat gets 409, which has no text but the id, so an
    erasure keeps it.
    """
    fresh: StoredResponse | None = None
    use_cases, ticket = http_context(request).use_cases, admission_ticket(request.scope)

    async def wait(seconds: float) -> None:
        ticket.release_slot()  # while it waits, other requests of its caller may work
        await asyncio.sleep(seconds)

    async def write_once(object_id: UUID) -> StoredResponse:
        nonlocal fresh
        await ticket.acquire_slot()
        fresh = StoredResponse(status, msgspec.json.encode(await write(object_id)))
        return _without_secret(object_id) if has_secret else fresh

    if key is None:
        reply = await write_once(use_cases.run_idempotently.new_id())
    else:
        known = key.for_caller(caller, has_text=not has_secret)
        reply = await use_cases.run_idempotently(known, write_once, wait)
    if has_secret and fresh is not None:
        reply = fresh
    return JsonResponse(reply.body, status_code=reply.status)


def _without_secret(object_id: UUID) -> StoredResponse:
    """The text that is stored in place of a response with a secret."""
    detail = (
        f"The first request with this Idempotency-Key created {object_id}. Its response contained "
        "a secret, which is not sent again: if you don't have it, delete the object and create "
        "another one with a new Idempotency-Key"
    )
    return StoredResponse(HTTPStatus.CONFLICT, msgspec.json.encode({"detail": detail}))
