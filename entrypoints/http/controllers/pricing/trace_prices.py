"""What the spans of a trace cost, and by which prices."""

from typing import Final

from litestar import Controller, Response, get

from domain.identity.api_key import Scope
from domain.ids import TraceId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.pricing.schemas import SpanPriceResponse
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation

READ: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read what the spans of a trace cost",
        description=(
            "Each span by its start: who says what it cost, and what the price table says, with "
            "the version of the prices and since when they count. An unpriced span has no amount."
        ),
        answer=list[SpanPriceResponse],
        example=[examples.SPAN_PRICE],
    ),
).with_path(TracePath)


class TracePriceController(Controller):
    path = "/traces/{trace_id:str}/prices"

    @get("/", opt=READ.opt)
    async def read_prices(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        project, trace = given.caller.project_id, TraceId(given.path.trace_id)
        found = await edge_of(request).use_cases.read_trace(project, trace)
        return await answer(request, [SpanPriceResponse.of(span) for span in found.spans])
