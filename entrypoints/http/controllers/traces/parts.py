"""Parts of traces: outlines."""

from typing import Final

from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.tracing.outline import OUTLINE_SPANS_MAX
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.traces import part_schemas, schemas
from entrypoints.http.endpoint import get
from entrypoints.http.responses import JsonResponse, respond_with

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
        caller: Caller,
        path: schemas.TracePath,
        params: part_schemas.OutlineQuery,
        use_cases: UseCases,
    ) -> part_schemas.OutlineResponse | JsonResponse[part_schemas.OutlineResponse]:
        """Read the outline of a trace."""
        outline = await use_cases.tracing.traces.outline(
            caller.project_id, path.trace_id, params.after, params.limit
        )
        return await respond_with(
            lambda: part_schemas.OutlineResponse.from_domain(outline),
            is_long=len(outline.columns.span_id) > OUTLINE_SPANS_ON_LOOP_MAX,
        )
