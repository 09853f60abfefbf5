"""Payloads of traces and spans, one by one, as they were sent."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from litestar import Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from application.concurrency import compute
from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.payloads.payload import JsonText
from domain.tracing.payloads.payload_detail import PayloadName
from domain.wording import counted
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import examples, part_schemas, schemas
from entrypoints.http.endpoint import get
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import JSON, THREAD_MIN_BYTES, compress_off_loop
from entrypoints.http.requests.byte_ranges import requested_range
from entrypoints.http.requests.errors import HttpProblem
from entrypoints.http.requests.etags import content_digest, is_known
from entrypoints.http.requests.wire_types import NULL
from entrypoints.http.responses import not_modified


def payload_router() -> Router:
    """An endpoint for each payload of a trace, and of a span."""
    handlers = [
        make(name)
        for make in (_trace_payload_handler, _span_payload_handler)
        for name in PayloadName
    ]
    return Router("/traces/{trace_id:str}", route_handlers=handlers)


def _trace_payload_handler(name: PayloadName) -> HTTPRouteHandler:
    @get(f"/{name}", **_payload_endpoint(name, "trace"))
    async def read_payload(
        request: HttpRequest,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.PayloadQuery,
        use_cases: UseCases,
    ) -> Response[bytes]:
        payload = await use_cases.tracing.traces.payload(
            caller.project_id, path.trace_id, None, name
        )
        file = f"{path.trace_id}-{name}.json" if params.download else None
        return await respond_with_payload(request, payload, file)

    return read_payload


def _span_payload_handler(name: PayloadName) -> HTTPRouteHandler:
    @get(f"/spans/{{span_id:str}}/{name}", **_payload_endpoint(name, "span"))
    async def read_payload(
        request: HttpRequest,
        caller: Caller,
        path: schemas.SpanPath,
        params: part_schemas.PayloadQuery,
        use_cases: UseCases,
    ) -> Response[bytes]:
        payload = await use_cases.tracing.traces.payload(
            caller.project_id, path.trace_id, path.span_id, name
        )
        file = f"{path.span_id}-{name}.json" if params.download else None
        return await respond_with_payload(request, payload, file)

    return read_payload


def _payload_endpoint(name: PayloadName, owner: str) -> dict[str, Any]:
    return {
        "access": CAN_READ,
        "summary": f"Read the {name} of a {owner}",
        "description": (
            f"The JSON text as it was sent; `null` if the {owner} has none. `Range` reads a part, "
            "with one range: the response is 206, or 416 beyond the end. A part isn't compressed. "
            "`If-Range` takes the strong ETag of a response that isn't compressed."
        ),
        "operation_id": f"read_{owner}_{name}",
        "example": examples.TRACE["input"],
        "error_types": {416: ErrorResponse},
        "response_type": part_schemas.StoredJson,
    }


class PayloadResponse(Response[bytes]):
    """A whole payload, compressed if the request accepts it."""

    def __init__(self, body: bytes, digest: str, headers: Mapping[str, str]) -> None:
        super().__init__(body, headers=headers)
        self._digest = digest

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            sent, coding = await compress_off_loop(self.content, scope["headers"])
            etag = f'"{self._digest}"'
            if "content-encoding" in coding:
                etag = f"W/{etag}"  # the same content in other bytes
            headers = {**self.headers, **coding, "etag": etag}
            response = ASGIResponse(body=sent, media_type=JSON, headers=headers)
            await response(scope, receive, send)

        return respond


async def respond_with_payload(
    request: HttpRequest, payload: JsonText | None, file: str | None
) -> Response[bytes]:
    """The payload, or the part of it that is requested; as a download if `file` is its name."""
    body = NULL if payload is None else payload
    digest = await compute(content_digest, body, is_long=len(body) >= THREAD_MIN_BYTES)
    etag, headers = f'"{digest}"', request.scope["headers"]
    if is_known(etag, headers):
        return not_modified(etag)
    shown = {"accept-ranges": "bytes"}
    if file is not None:
        shown["content-disposition"] = f'attachment; filename="{file}"'
    byte_range = requested_range(len(body), etag, dict(headers))
    if byte_range.is_whole:
        return PayloadResponse(body, digest, shown)
    shown |= {"etag": etag, "content-range": byte_range.content_range}
    if not byte_range.is_satisfiable:
        status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        raise HttpProblem(status, f"The payload has {counted(byte_range.size, 'byte')}", shown)
    part = body[byte_range.start : byte_range.end]
    status = HTTPStatus.PARTIAL_CONTENT
    return Response(part, status_code=status, media_type=JSON, headers=shown)
