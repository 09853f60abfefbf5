"""Streaming export of traces, and their import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response
from msgspec import Meta

from application.exports.imports import ImportOutcome
from application.tracing.ingest import BATCH_MAX
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.exports.export import TraceWithScores
from domain.identity.api_key import Scope
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.ids import TraceId
from entrypoints.http.authentication import CAN_READ, DataPlane
from entrypoints.http.config import http_context
from entrypoints.http.controllers.exports import examples
from entrypoints.http.controllers.exports.ndjson import encode_batches
from entrypoints.http.controllers.exports.schemas import ExportedTrace, ImportedTrace
from entrypoints.http.controllers.traces.batches import BatchRejected
from entrypoints.http.controllers.traces.schemas import TraceConditions
from entrypoints.http.endpoint import get, post
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.body_io import NDJSON
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.unknown_names import UnknownKeys
from entrypoints.http.requests.wire_types import Deferred
from entrypoints.http.streams import StreamingResponse

LINE_BODY: Final = Body(ImportedTrace, ImportedTrace.to_archived, unknown_keys=UnknownKeys.IGNORED)


type DeferredLine = Annotated[
    Deferred, Meta(extra_json_schema={"$ref": "#/components/schemas/ImportedTrace"})
]


class ImportBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines of an export, each of which is imported or rejected by itself."""

    traces: Annotated[list[DeferredLine], Meta(min_length=1, max_length=BATCH_MAX)]


class ImportResponse(msgspec.Struct, frozen=True):
    """How many traces were written, how many were unchanged, and which were rejected."""

    stored: int
    unchanged: int
    rejected: list[BatchRejected]


ImportedLines = Annotated[
    list[bytes], Body(ImportBatch, lambda batch, _: [bytes(line) for line in batch.traces])
]


class TraceExportController(Controller):
    path = "/traces"

    @get(
        "/export",
        CAN_READ,
        example=examples.LINE,
        media_types=(NDJSON,),
        response_type=ExportedTrace,
    )
    async def export_traces(
        self, caller: Caller, params: TraceConditions, use_cases: UseCases
    ) -> Response[bytes]:
        """Export traces.

        All traces that match the filters of the list, from one snapshot, one trace per line: with
        its spans and payloads as in `GET /traces/{trace_id}`, and with its scores. The first trace
        of each session also has the scores of the session, in `session_scores`. The export is
        streamed, and may have any length. The last line has an additional member `export` with the
        numbers of traces, spans and scores, and the SHA-256 of the text without that member: a file
        without it is incomplete. A trace of more than 128 MiB is left out: `complete` is false
        then, and `left_out` names it. If no trace matches, the response is empty. See
        docs/tracing/exports.md.
        """
        project = caller.project_id
        stream = use_cases.exporting.stream_traces

        @asynccontextmanager
        async def open_chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            matching, left_out = params.to_domain(), list[TraceId]()
            async with stream(
                project, matching, params.sort_by, params.sort_order, left_out
            ) as batches:
                await use_cases.audit.record(caller, AuditAction.EXPORT_STREAMED, project)
                yield encode_batches(project, batches, left_out)

        return StreamingResponse(open_chunks, NDJSON)

    @post(
        "/import",
        DataPlane((Scope.INGEST, Scope.EVALUATE)),
        status_code=200,
        description=(
            f"Imports 1 to {BATCH_MAX} lines of an export, each by itself. A trace is merged by "
            "its id, and not written if nothing in it is new. Spans keep their costs, and scores "
            "keep their ids and times. Scores keep their authors and the source AUTOMATED if an "
            "OWNER or ADMIN who is signed in imports them; otherwise they are PROGRAMMATIC and "
            "without an author. An existing score stays as it is. Safe to repeat. "
            "`pandaprobe-server import` sends whole files."
        ),
        example={"stored": 1, "unchanged": 0, "rejected": []},
        body_example={"traces": [examples.LINE]},
        route_class=RouteClass.INGEST,
        referenced_types=(ImportedTrace,),
    )
    async def import_traces(
        self, request: HttpRequest, caller: Caller, content: ImportedLines, use_cases: UseCases
    ) -> ImportResponse:
        """Import exported traces."""
        config = http_context(request).config
        lines = await LINE_BODY.parse_items(content, config)
        valid = [line for line in lines if isinstance(line, TraceWithScores)]
        import_traces = use_cases.exporting.import_traces
        imported = iter(await import_traces(caller, valid) if valid else ())
        outcomes = [line if isinstance(line, Invalid) else next(imported) for line in lines]
        return ImportResponse(
            outcomes.count(ImportOutcome.STORED),
            outcomes.count(ImportOutcome.UNCHANGED),
            [
                BatchRejected.from_failure(index, outcome)
                for index, outcome in enumerate(outcomes)
                if isinstance(outcome, Invalid)
            ],
        )
