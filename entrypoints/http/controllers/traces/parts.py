"""Parts of traces: outlines."""

from typing import Final

from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.outline import OUTLINE_SPANS_MAX
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import part_schemas, schemas
from entrypoints.http.controllers.traces.trace_etags import TraceEtags
from entrypoints.http.endpoint import get
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.responses import JsonResponse, not_modified, respond_with

OUTLINE_SPANS_ON_LOOP_MAX: Final = 2_000  # writing the response takes 5 ms


class TracePartController(Controller):
    path = "/traces/{trace_id:str}"

    @get(
        "/outline",
        CAN_READ,
        description=(
            "The trace as in a list, and its spans in columns, without payloads and sorted by "
            f"start: at most {OUTLINE_SPANS_MAX:,} in one part. `after` reads the next part. If "
            "its `revision` differs from that of the part before, the trace has changed: read it "
            "again from the start."
        ),
        example=part_schemas.OUTLINE,
    )
    async def read_outline(
        self,
        request: HttpRequest,
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.OutlineQuery,
        use_cases: UseCases,
    ) -> part_schemas.OutlineResponse | JsonResponse[part_schemas.OutlineResponse]:
        """Read the outline of a trace."""
        project, traces = caller.project_id, use_cases.tracing.traces
        etags = TraceEtags.of_request(request)
        if etags.are_known:  # most polls find nothing new, and read no spans
            revision = await traces.revision(project, path.trace_id)
            if etags.knows(revision):
                return not_modified(etags.etag(revision))
        outline = await traces.outline(project, path.trace_id, params.after, params.limit)
        return await respond_with(
            lambda: part_schemas.OutlineResponse.from_domain(outline),
            is_long=len(outline.columns.span_id) > OUTLINE_SPANS_ON_LOOP_MAX,
            headers={"etag": etags.etag(outline.revision)},
        )
