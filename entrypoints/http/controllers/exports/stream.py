"""Whole traces out as a stream, and back in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response, get, post
from msgspec import Meta

from application.exporting.imports import ImportOutcome
from application.exporting.ports import Batches
from application.tracing.ingest import BATCH_MAX
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.exporting.exported_trace import TraceWithScores
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import ProjectId
from entrypoints.http.authentication import data_plane
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.exports import examples
from entrypoints.http.controllers.exports.import_schemas import ImportedTrace
from entrypoints.http.controllers.exports.schemas import ExportedTrace, ExportLines
from entrypoints.http.controllers.traces.list import TraceConditions
from entrypoints.http.controllers.traces.traces import BatchRejected
from entrypoints.http.endpoint import Injected, edge_of, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import FieldProblem, Mistakes
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import Deferred
from entrypoints.http.streams import Streamed

NDJSON: Final = "application/x-ndjson"
ITEM: Final = Body(ImportedTrace, ImportedTrace.archived)


class ImportBatch(msgspec.Struct, frozen=True):
    """Lines of an export, each of which is taken or refused for itself."""

    traces: Annotated[
        list[
            Annotated[
                Deferred, Meta(extra_json_schema={"$ref": "#/components/schemas/ImportedTrace"})
            ]
        ],
        Meta(min_length=1, max_length=BATCH_MAX),
    ]


class ImportResponse(msgspec.Struct, frozen=True):
    """How many were written, how many were there already, and what was refused."""

    stored: int
    unchanged: int
    rejected: list[BatchRejected]


EXPORT: Final = endpoint(
    data_plane(Scope.READ),
    summary="Export traces",
    description=(
        "Every trace that the filters of the list admit, as they are at one moment: one a "
        "line, each with its spans and payloads as `GET /traces/{trace_id}` shows them, and "
        "with its scores; the first of each session also with `session_scores`, those of the "
        "session. Nothing of it waits in memory, so it may be of any length. The "
        "last line has a member `export` beside, with the numbers of traces, spans and "
        "scores and the SHA-256 of the text without it: a file whose last line lacks it isn't "
        "whole. No trace, no line. docs/exports.md has more."
    ),
    example=examples.LINE,
    media_types=(NDJSON,),
    answer=ExportedTrace,
)

ImportedLines = Annotated[
    list[bytes], Body(ImportBatch, lambda batch, _: [bytes(one) for one in batch.traces])
]

IMPORT: Final = endpoint(
    data_plane(Scope.INGEST, Scope.EVALUATE),
    summary="Import exported traces",
    description=(
        f"Puts 1 to {BATCH_MAX} lines of an export back, each for itself: a trace is merged "
        "by its id, and not written where it says nothing new; spans keep what they were "
        "charged, and scores their ids, authors and times. A score that is there stays as it "
        "is. Safe to repeat. `pandaprobe-server import` sends whole files."
    ),
    example={"stored": 1, "unchanged": 0, "rejected": []},
    body_example={"traces": [examples.LINE]},
    route_class=RouteClass.INGEST,
    referenced_types=(ImportedTrace,),
)


class TraceExportController(Controller):
    path = "/traces"

    @get("/export", **EXPORT)
    async def export_traces(
        self,
        caller: Injected[Caller],
        params: Injected[TraceConditions],
        use_cases: Injected[UseCases],
    ) -> Response[bytes]:
        query, project = params, caller.project_id
        stream = use_cases.exports.stream_traces

        @asynccontextmanager
        async def chunks() -> AsyncIterator[AsyncIterator[bytes]]:
            matching = query.to_domain()
            async with stream(project, matching, query.sort_by, query.sort_order) as batches:
                yield lines(project, batches)

        return Streamed(chunks, NDJSON)

    @post("/import", status_code=200, **IMPORT)
    async def import_traces(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[ImportedLines],
        use_cases: Injected[UseCases],
    ) -> ImportResponse:
        edge = edge_of(request)
        read = [_read_line(line, edge.config) for line in content]
        good = [one for one in read if isinstance(one, TraceWithScores)]
        put = edge.use_cases.exports.import_traces
        stored = iter(await put(caller.project_id, good) if good else ())
        outcomes = [one if isinstance(one, Invalid) else next(stored) for one in read]
        return ImportResponse(
            outcomes.count(ImportOutcome.STORED),
            outcomes.count(ImportOutcome.UNCHANGED),
            [
                BatchRejected(index, [FieldProblem(one.field, one.message) for one in bad.errors])
                for index, bad in enumerate(outcomes)
                if isinstance(bad, Invalid)
            ],
        )


async def lines(project: ProjectId, batches: Batches) -> AsyncIterator[bytes]:
    """The lines of an export, some at a time."""
    encoder = ExportLines(project)
    async for batch in batches:
        yield encoder.add(batch)
    yield encoder.end()


def _read_line(line: bytes, config: HttpConfig) -> TraceWithScores | Invalid:
    mistakes = Mistakes()
    try:
        read = ITEM.part(line, config, mistakes)
        mistakes.check()
    except Invalid as invalid:
        return invalid
    assert read is not None
    return read
