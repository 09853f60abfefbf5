"""Export files: requesting one, following its progress, and downloading it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, Response
from msgspec import Meta, Raw

from application.exports.ports import EXPORTS_MAX
from application.use_cases import UseCases
from domain.exports.export import Export, FileFormat
from domain.exports.ticket import TICKET_LIFETIME
from domain.identity.audit import AuditAction, Origin
from domain.identity.browser_session import SessionPurpose
from domain.identity.caller import Caller
from domain.tracing.query import TraceFilter
from domain.wording import counted
from entrypoints.http.authentication import CAN_READ, PublicAccess
from entrypoints.http.browser_requests import session_cookie
from entrypoints.http.controllers.exports import examples, schemas
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import NDJSON
from entrypoints.http.requests.byte_ranges import requested_range
from entrypoints.http.requests.errors import HttpProblem
from entrypoints.http.requests.json_body import Body
from entrypoints.http.streams import StreamingResponse

MEDIA_TYPES: Final = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
    FileFormat.NDJSON: NDJSON,
}
type Binary = Annotated[Raw, Meta(extra_json_schema={"type": "string", "format": "binary"})]

NewExport = Annotated[
    tuple[schemas.CreateExportRequest, TraceFilter],
    Body(schemas.CreateExportRequest, schemas.CreateExportRequest.with_filter),
]


class ExportFileController(Controller):
    path = "/traces/exports"

    @post(
        "/",
        CAN_READ,
        status_code=202,
        description=(
            "A worker writes a file with all traces that match the filters, sorted by start, from "
            "one snapshot. Poll the export until it is COMPLETED or FAILED. A project keeps at "
            f"most {EXPORTS_MAX} exports, each until `expires_at` or until it is deleted. Traces "
            "that are deleted later stay in the file."
        ),
        example=examples.EXPORT
        | {"status": "PENDING", "traces_total": None, "traces_done": 0, "row_count": 0, "size": 0}
        | {"sha256": None, "completed_at": None},
        body_example=examples.REQUEST,
    )
    async def create_export(
        self, caller: Caller, content: NewExport, new_id: UUID, use_cases: UseCases
    ) -> schemas.ExportResponse:
        """Export traces to a file."""
        wanted, matching = content
        facts = {"format": wanted.format, "rows": wanted.rows}
        audit = use_cases.audit.entry(caller, AuditAction.EXPORT_REQUESTED, new_id, **facts)
        export = await use_cases.exporting.request_export(
            caller.project_id, new_id, wanted.format, wanted.rows, matching, audit=audit
        )
        return schemas.ExportResponse.from_domain(export)

    @get("/", CAN_READ, example=[examples.EXPORT])
    async def list_exports(
        self, caller: Caller, use_cases: UseCases
    ) -> list[schemas.ExportResponse]:
        """List exports.

        All export files of the project, the newest first, pending ones included.
        """
        exports = await use_cases.exporting.exports.all(caller.project_id)
        return [schemas.ExportResponse.from_domain(export) for export in exports]

    @get("/{export_id:str}", CAN_READ, example=examples.EXPORT)
    async def read_export(
        self, caller: Caller, path: schemas.ExportPath, use_cases: UseCases
    ) -> schemas.ExportResponse:
        """Read an export.

        Its progress; once it is completed, the rows, bytes and SHA-256 of the file.
        """
        export = await use_cases.exporting.exports.get(caller.project_id, path.export_id)
        return schemas.ExportResponse.from_domain(export)

    @delete("/{export_id:str}", CAN_READ)
    async def delete_export(
        self, caller: Caller, path: schemas.ExportPath, use_cases: UseCases
    ) -> None:
        """Delete an export.

        Deletes the export with its file. An export in progress is cancelled.
        """
        audit = use_cases.audit.entry(caller, AuditAction.EXPORT_DELETED, path.export_id)
        await use_cases.exporting.delete_export(caller.project_id, path.export_id, audit=audit)

    @get(
        "/{export_id:str}/download",
        CAN_READ,
        example="PAR1…",
        error_types={409: ErrorResponse, 416: ErrorResponse},
        media_types=tuple(MEDIA_TYPES.values()),
        response_type=Binary,
    )
    async def download_export(
        self, request: HttpRequest, caller: Caller, path: schemas.ExportPath, use_cases: UseCases
    ) -> Response[bytes]:
        """Download an export.

        The file. The ETag is its SHA-256. An interrupted download can be resumed with `Range`, with
        one range, and `If-Range`: the response is 206, or 416 beyond the end. 409 as long as there
        is no file.
        """
        export = await use_cases.exporting.read_export_file.find(caller.project_id, path.export_id)
        etag = f'"{export.sha256}"'
        byte_range = requested_range(export.size, etag, dict(request.scope["headers"]))
        headers = {"etag": etag, "accept-ranges": "bytes"}
        if not byte_range.is_satisfiable:
            raise HttpProblem(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                f"The file has {counted(byte_range.size, 'byte')}",
                headers | {"content-range": byte_range.content_range},
            )
        headers |= {
            "content-length": str(byte_range.end - byte_range.start),
            "content-disposition": disposition(export),
        }
        status = HTTPStatus.OK
        if not byte_range.is_whole:
            headers["content-range"] = byte_range.content_range
            status = HTTPStatus.PARTIAL_CONTENT
        # Each downloaded part is recorded. A part from the first byte on has no `first_byte`.
        part = {"first_byte": byte_range.start} if byte_range.start else {}
        await use_cases.audit.record(caller, AuditAction.EXPORT_DOWNLOADED, export.id, **part)
        return _stream(use_cases, export, byte_range.start, byte_range.end, headers, status)

    @post(
        "/{export_id:str}/ticket",
        CAN_READ,
        description=(
            "A link that a browser can open: it downloads the file without the headers that a "
            "credential needs. It is good once, for "
            f"{TICKET_LIFETIME.seconds} seconds, and as long as the caller may read the export. A "
            "link for a browser that is signed in works in this browser alone. 409 as long as "
            "there is no file."
        ),
        example={
            "url": f"/downloads/{schemas.TICKET_EXAMPLE}",
            "expires_in": TICKET_LIFETIME.seconds,
        },
        error_types={409: ErrorResponse},
        has_secret=True,
    )
    async def issue_download_ticket(
        self, caller: Caller, path: schemas.ExportPath, use_cases: UseCases
    ) -> schemas.DownloadTicketResponse:
        """Make a download link."""
        ticket = await use_cases.exporting.issue_ticket(caller, path.export_id)
        await use_cases.audit.record(caller, AuditAction.EXPORT_LINK_CREATED, path.export_id)
        return schemas.DownloadTicketResponse(f"/downloads/{ticket}", TICKET_LIFETIME.seconds)


class DownloadController(Controller):
    path = "/downloads"

    @get(
        "/{ticket:str}",
        PublicAccess([], refusals=(404, 503)),
        example="PAR1…",
        error_types={409: ErrorResponse},
        media_types=tuple(MEDIA_TYPES.values()),
        response_type=Binary,
    )
    async def download_by_ticket(
        self,
        request: HttpRequest,
        caller: Origin,
        path: schemas.TicketPath,
        use_cases: UseCases,
    ) -> Response[bytes]:
        """Download by a link.

        The file of an export, whole, by a link that `POST /traces/exports/{export_id}/ticket`
        made. Credentials are neither required nor read, except for the cookie of the browser's
        session if the link was made in one. 404 if the link is unknown, used, expired, or belongs
        to another browser.
        """
        cookie = session_cookie(dict(request.scope["headers"]), SessionPurpose.DASHBOARD)
        ticket = await use_cases.exporting.use_ticket.find(path.ticket)
        use_cases = await use_cases.for_organization(ticket.organization_id, writes=False)
        holder, export = await use_cases.exporting.use_ticket(ticket, cookie, caller)
        await use_cases.audit.record(holder, AuditAction.EXPORT_DOWNLOADED, export.id)
        headers = {
            "content-length": str(export.size),
            "content-disposition": disposition(export),
        }
        return _stream(use_cases, export, 0, export.size, headers, HTTPStatus.OK)


def disposition(export: Export) -> str:
    mark = "-incomplete" if export.is_incomplete else ""
    return f'attachment; filename="{export.id}{mark}.{export.format}"'


def _stream(
    use_cases: UseCases,
    export: Export,
    start: int,
    end: int,
    headers: dict[str, str],
    status: HTTPStatus,
) -> Response[bytes]:
    @asynccontextmanager
    async def open_chunks() -> AsyncIterator[AsyncIterator[bytes]]:
        yield use_cases.exporting.read_export_file(export, start, end)

    media_type = MEDIA_TYPES[export.format]
    return StreamingResponse(open_chunks, media_type, headers, status, may_compress=False)
