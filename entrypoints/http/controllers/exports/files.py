"""Exports as files: asking for one, looking how far it is, downloading it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from msgspec import Meta, Raw

from application.exporting.ports import EXPORTS_MAX
from application.exporting.use_cases import ExportUseCases
from domain.exporting.export import FileFormat
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.tracing.query import TraceFilter
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.exports import examples
from entrypoints.http.controllers.exports.file_schemas import (
    CreateExportRequest,
    ExportPath,
    ExportResponse,
)
from entrypoints.http.controllers.exports.stream import NDJSON
from entrypoints.http.endpoint import Injected, edge_of, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import ErrorResponse, Problem
from entrypoints.http.requests.byte_ranges import part_of
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.responses import JsonResponse, respond_once
from entrypoints.http.streams import Streamed

MEDIA_TYPES: Final = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
    FileFormat.NDJSON: NDJSON,
}
type Binary = Annotated[Raw, Meta(extra_json_schema={"type": "string", "format": "binary"})]

NewExport = Annotated[
    tuple[CreateExportRequest, TraceFilter], Body(CreateExportRequest, CreateExportRequest.checked)
]

CREATE: Final = endpoint(
    data_plane(Scope.READ),
    summary="Export traces to a file",
    description=(
        "Has a worker write a file of all traces that the filters admit, by their start, of "
        "one moment. Poll it until it is COMPLETED or FAILED. A project keeps "
        f"{EXPORTS_MAX} exports, each until `expires_at` or until it is deleted; what was "
        "deleted from the project since is still in them."
    ),
    example=examples.EXPORT
    | {"status": "PENDING", "traces_total": None, "traces_done": 0, "row_count": 0, "size": 0}
    | {"sha256": None, "completed_at": None},
    body_example=examples.ORDER,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List exports",
    description="All files that the project keeps or waits for, the newest first.",
    example=[examples.EXPORT],
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read an export",
    description="How far it is; once it is over, how many rows and bytes, and their SHA-256.",
    example=examples.EXPORT,
)

DOWNLOAD: Final = endpoint(
    data_plane(Scope.READ),
    summary="Download an export",
    description=(
        "The file. The ETag is its SHA-256; `Range` with one range, and `If-Range`, go on "
        "with a download that was broken off: 206, or 416 beyond the end. 409 while there is "
        "no file."
    ),
    example="PAR1…",
    answers={409: ErrorResponse, 416: ErrorResponse},
    media_types=tuple(MEDIA_TYPES.values()),
    answer=Binary,
)

DELETE: Final = endpoint(
    data_plane(Scope.READ),
    summary="Delete an export",
    description="Removes it with its file. One that is being written is given up.",
)


class ExportFileController(Controller):
    path = "/traces/exports"

    @post("/", status_code=202, **CREATE)
    async def create_export(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewExport],
        key: Injected[IdempotencyKey | None],
    ) -> JsonResponse[ExportResponse]:
        order, matching = content

        async def write(id_: UUID) -> ExportResponse:
            made = await _use_cases(request).request_export(
                caller.project_id, id_, order.format, order.rows, matching
            )
            return ExportResponse.of(made)

        return await respond_once(request, caller, key, 202, write)

    @get("/", **LIST)
    async def list_exports(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
    ) -> list[ExportResponse]:
        found = await _use_cases(request).list_exports(caller.project_id)
        return [ExportResponse.of(one) for one in found]

    @get("/{export_id:str}", **READ)
    async def read_export(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[ExportPath],
    ) -> ExportResponse:
        project = caller.project_id
        found = await _use_cases(request).read_export(project, path.export_id)
        return ExportResponse.of(found)

    @delete("/{export_id:str}", **DELETE)
    async def delete_export(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[ExportPath],
    ) -> None:
        await _use_cases(request).delete_export(caller.project_id, path.export_id)

    @get("/{export_id:str}/download", **DOWNLOAD)
    async def download_export(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[ExportPath],
    ) -> Response[bytes]:
        read = _use_cases(request).read_export_file
        export = await read.find(caller.project_id, path.export_id)
        etag = f'"{export.sha256}"'
        part = part_of(export.size, etag, dict(request.scope["headers"]))
        head = {"etag": etag, "accept-ranges": "bytes"}
        if not part.is_satisfiable:
            raise Problem(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                f"The file has {part.size} bytes",
                head | {"content-range": part.content_range},
            )
        head |= {
            "content-length": str(part.end - part.start),
            "content-disposition": f'attachment; filename="{export.id}.{export.format}"',
        }
        status = HTTPStatus.OK
        if not part.is_whole:
            head["content-range"] = part.content_range
            status = HTTPStatus.PARTIAL_CONTENT

        @asynccontextmanager
        async def chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            yield read(export, part.start, part.end)

        return Streamed(chunks, MEDIA_TYPES[export.format], head, status, is_coded=False)


def _use_cases(request: HttpRequest) -> ExportUseCases:
    return edge_of(request).use_cases.exports
