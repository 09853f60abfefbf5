"""Responses: what a handler returns becomes JSON, compressed where the request accepts it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from application.ports import StoredResponse
from domain.identity.caller import Caller
from entrypoints.http.endpoint import edge_of
from entrypoints.http.middleware.load_shedding import intake_of
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import JSON, compressed_aside
from entrypoints.http.requests.idempotency_key import IdempotencyKey


class JsonResponse[T](Response[T]):
    """A value as JSON, or bytes that are JSON already.

    Litestar makes one of whatever a handler returns. A handler returns one itself to set a status
    or headers. Large bodies are compressed in a thread, so that they delay no other request.
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
        status, headers, content = self.status_code or status_code, self.headers, self.content
        body = b"" if content is None else content
        if not isinstance(body, bytes):
            body = msgspec.json.encode(body)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            sent, coding = await compressed_aside(body, scope["headers"])
            response = ASGIResponse(
                body=sent, status_code=status, media_type=JSON, headers={**headers, **coding}
            )
            await response(scope, receive, send)

        return respond


async def respond_once[T](
    request: HttpRequest,
    caller: Caller,
    key: IdempotencyKey | None,
    status: int,
    write: Callable[[UUID], Awaitable[T]],
) -> JsonResponse[T]:
    """What `write` returns, or the response that the first request with this key had.

    `write` makes the object of the id that it is called with, or finds it if it exists.
    """
    use_cases, intake = edge_of(request).use_cases, intake_of(request.scope)

    async def wait(seconds: float) -> None:
        intake.worked()  # while it waits for another request, its caller's other ones may work
        await asyncio.sleep(seconds)

    async def reply(object_id: UUID) -> StoredResponse:
        await intake.turn()
        return StoredResponse(status, msgspec.json.encode(await write(object_id)))

    if key is None:
        made = await reply(use_cases.run_idempotently.new_id())
    else:
        made = await use_cases.run_idempotently(key.within(caller.project_id), reply, wait)
    return JsonResponse(made.body, status_code=made.status)
