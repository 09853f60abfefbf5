"""Changing and removing traces and spans that are stored."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, Response, delete, patch, post
from msgspec import Meta

from application.tracing.edit import EDITED_TRACES_MAX
from domain.identity.api_key import Scope
from domain.ids import SpanId, TraceId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.change_schemas import (
    BatchDeleteRequest,
    BatchDeleteResponse,
    BatchTagsRequest,
    BatchTagsResponse,
    SpanUpdate,
    TraceUpdate,
    ids_of,
)
from entrypoints.http.controllers.traces.schemas import SpanResponse, TracePath, TraceResponse
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body


class SpanPath(TracePath, frozen=True):
    span_id: Annotated[UUID, Meta(description="The span's id", examples=[examples.SPAN_ID])]


CHANGE: Final = (
    operation(
        data_plane(Scope.INGEST),
        Documented(
            summary="Change a trace",
            description=(
                "Only the keys of the body act. Null clears `input`, `output`, `ended_at`, "
                "`session_id`, `user_id`, `environment` and `release`, and is ignored elsewhere. "
                "`metadata` is merged by its top-level keys; `tags` replace the old ones."
            ),
            answer=TraceResponse,
            example=examples.TRACE_RESPONSE,
            body_example={"status": "COMPLETED", "metadata": {"reviewed": True}},
        ),
    )
    .with_path(TracePath)
    .with_body(Body(TraceUpdate, TraceUpdate.to_domain))
)

CHANGE_SPAN: Final = (
    operation(
        data_plane(Scope.INGEST),
        Documented(
            summary="Change a span",
            description=(
                "Only the keys of the body act. Null is ignored in `name`, `kind`, `status` and "
                "`metadata`, and clears everything else. `metadata` is merged by its top-level "
                "keys. What the span costs is found anew where what it depends on changed."
            ),
            answer=SpanResponse,
            example=examples.SPAN_RESPONSE,
            body_example={"status": "ERROR", "error": "The tool did not answer"},
        ),
    )
    .with_path(SpanPath)
    .with_body(Body(SpanUpdate, SpanUpdate.to_domain))
)

DELETE: Final = operation(
    data_plane(Scope.INGEST, Scope.READ),
    Documented(
        summary="Delete a trace",
        description="Removes a trace with its spans and scores.",
        answer=None,
    ),
).with_path(TracePath)

DELETE_BATCH: Final = operation(
    data_plane(Scope.INGEST, Scope.READ),
    Documented(
        summary="Delete many traces",
        description=(
            f"Removes 1 to {EDITED_TRACES_MAX} traces with their spans and scores, and says how many "
            "there were. Ids that the project doesn't have are passed over."
        ),
        answer=BatchDeleteResponse,
        example={"deleted": 1},
        body_example={"trace_ids": [examples.TRACE_ID]},
    ),
).with_body(Body(BatchDeleteRequest, lambda wire, _: wire))

TAG_BATCH: Final = operation(
    data_plane(Scope.INGEST),
    Documented(
        summary="Tag many traces",
        description=(
            f"Takes tags from 1 to {EDITED_TRACES_MAX} traces, then gives them others. After an addition "
            "the tags of a trace are sorted, each once; after a mere removal they keep their order."
        ),
        answer=BatchTagsResponse,
        example={"updated": 1},
        body_example={
            "trace_ids": [examples.TRACE_ID],
            "add_tags": ["reviewed"],
            "remove_tags": ["prod"],
        },
    ),
).with_body(Body(BatchTagsRequest, lambda wire, _: wire))


class TraceChangeController(Controller):
    path = "/traces"

    @patch("/{trace_id:str}", opt=CHANGE.opt)
    async def change_trace(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        project = given.caller.project_id
        trace = await edge_of(request).use_cases.change_trace(
            project, TraceId(given.path.trace_id), given.body
        )
        return await answer(request, TraceResponse.of(project, trace))

    @patch("/{trace_id:str}/spans/{span_id:str}", opt=CHANGE_SPAN.opt)
    async def change_span(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE_SPAN.read(request)
        trace = TraceId(given.path.trace_id)
        span = await edge_of(request).use_cases.change_span(
            given.caller.project_id, trace, SpanId(given.path.span_id), given.body
        )
        return await answer(request, SpanResponse.of(trace, span))

    @delete("/{trace_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_trace(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.delete_trace(
            given.caller.project_id, TraceId(given.path.trace_id)
        )

    @post("/batch/delete", status_code=200, opt=DELETE_BATCH.opt)
    async def delete_traces(self, request: HttpRequest) -> Response[bytes]:
        given = await DELETE_BATCH.read(request)
        deleted = await edge_of(request).use_cases.delete_traces(
            given.caller.project_id, ids_of(given.body.trace_ids)
        )
        return await answer(request, BatchDeleteResponse(deleted))

    @post("/batch/tags", status_code=200, opt=TAG_BATCH.opt)
    async def tag_traces(self, request: HttpRequest) -> Response[bytes]:
        given = await TAG_BATCH.read(request)
        updated = await edge_of(request).use_cases.tag_traces(
            given.caller.project_id,
            ids_of(given.body.trace_ids),
            given.body.add_tags,
            given.body.remove_tags,
        )
        return await answer(request, BatchTagsResponse(updated))
