"""Changing and removing traces and spans that are stored."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, delete, patch, post
from msgspec import Meta

from application.tracing.edit import EDITED_TRACES_MAX
from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import SpanId, TraceId
from domain.tracing.span import SpanChange
from domain.tracing.trace import TraceChange
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.traces import examples
from entrypoints.http.controllers.traces.change_schemas import (
    BatchDeleteRequest,
    BatchDeleteResponse,
    BatchTagsRequest,
    BatchTagsResponse,
    ids_of,
)
from entrypoints.http.controllers.traces.schemas import (
    SPAN_RESPONSE,
    TRACE_RESPONSE,
    SpanResponse,
    SpanUpdate,
    TracePath,
    TraceResponse,
    TraceUpdate,
)
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.json_body import Body


class SpanPath(TracePath, frozen=True):
    span_id: Annotated[UUID, Meta(description="The span's id", examples=[examples.SPAN_ID])]


ChangedTrace = Annotated[TraceChange, Body(TraceUpdate, TraceUpdate.to_domain)]

CHANGE: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Change a trace",
    description=(
        "Only the keys of the body act. Null is ignored in `name`, `status`, `tags` and "
        "`metadata`, and clears everything else. `metadata` is merged by its top-level "
        "keys; `tags` replace the old ones."
    ),
    example=TRACE_RESPONSE,
    body_example={"status": "COMPLETED", "metadata": {"reviewed": True}},
)

ChangedSpan = Annotated[SpanChange, Body(SpanUpdate, SpanUpdate.to_domain)]

CHANGE_SPAN: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Change a span",
    description=(
        "Only the keys of the body act. Null is ignored in `name`, `kind`, `status` and "
        "`metadata`, and clears everything else. `metadata` is merged by its top-level "
        "keys. What the span costs is found anew where what it depends on changed."
    ),
    example=SPAN_RESPONSE,
    body_example={"status": "ERROR", "error": "The tool did not answer"},
)

DELETE: Final = endpoint(
    data_plane(Scope.INGEST, Scope.READ),
    summary="Delete a trace",
    description="Removes a trace with its spans and scores.",
)

DELETE_BATCH: Final = endpoint(
    data_plane(Scope.INGEST, Scope.READ),
    summary="Delete many traces",
    description=(
        f"Removes 1 to {EDITED_TRACES_MAX} traces with their spans and scores, and says how many "
        "there were. Ids that the project doesn't have are passed over."
    ),
    example={"deleted": 1},
    body_example={"trace_ids": [examples.TRACE_ID]},
)

TAG_BATCH: Final = endpoint(
    data_plane(Scope.INGEST),
    summary="Tag many traces",
    description=(
        f"Removes tags from 1 to {EDITED_TRACES_MAX} traces, then adds others. After an addition "
        "the tags of a trace are sorted, each once; after a mere removal they keep their order."
    ),
    example={"updated": 1},
    body_example={
        "trace_ids": [examples.TRACE_ID],
        "add_tags": ["reviewed"],
        "remove_tags": ["prod"],
    },
)


class TraceChangeController(Controller):
    path = "/traces"

    @patch("/{trace_id:str}", **CHANGE)
    async def change_trace(
        self,
        caller: Injected[Caller],
        content: Injected[ChangedTrace],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> TraceResponse:
        project = caller.project_id
        trace = await use_cases.tracing.change_trace(project, TraceId(path.trace_id), content)
        return TraceResponse.of(project, trace)

    @patch("/{trace_id:str}/spans/{span_id:str}", **CHANGE_SPAN)
    async def change_span(
        self,
        caller: Injected[Caller],
        content: Injected[ChangedSpan],
        path: Injected[SpanPath],
        use_cases: Injected[UseCases],
    ) -> SpanResponse:
        trace = TraceId(path.trace_id)
        span = await use_cases.tracing.change_span(
            caller.project_id, trace, SpanId(path.span_id), content
        )
        return SpanResponse.of(trace, span)

    @delete("/{trace_id:str}", status_code=204, **DELETE)
    async def delete_trace(
        self,
        caller: Injected[Caller],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.tracing.delete_trace(caller.project_id, TraceId(path.trace_id))

    @post("/batch/delete", status_code=200, **DELETE_BATCH)
    async def delete_traces(
        self,
        caller: Injected[Caller],
        content: Injected[BatchDeleteRequest],
        use_cases: Injected[UseCases],
    ) -> BatchDeleteResponse:
        deleted = await use_cases.tracing.delete_traces(
            caller.project_id, ids_of(content.trace_ids)
        )
        return BatchDeleteResponse(deleted)

    @post("/batch/tags", status_code=200, **TAG_BATCH)
    async def tag_traces(
        self,
        caller: Injected[Caller],
        content: Injected[BatchTagsRequest],
        use_cases: Injected[UseCases],
    ) -> BatchTagsResponse:
        updated = await use_cases.tracing.tag_traces(
            caller.project_id,
            ids_of(content.trace_ids),
            content.add_tags,
            content.remove_tags,
        )
        return BatchTagsResponse(updated)
