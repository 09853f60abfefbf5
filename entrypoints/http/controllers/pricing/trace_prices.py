"""What the spans of a trace cost, and by which prices."""

from typing import Final

from litestar import Controller, get

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import TraceId
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.pricing.schemas import SpanPriceResponse
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import Injected, endpoint

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read what the spans of a trace cost",
    description=(
        "Each span by its start: who says what it cost, and what the price table says, with "
        "the version of the prices and since when they count. An unpriced span has no amount."
    ),
    example=[examples.SPAN_PRICE],
)


class TracePriceController(Controller):
    path = "/traces/{trace_id:str}/prices"

    @get("/", **READ)
    async def read_prices(
        self,
        caller: Injected[Caller],
        path: Injected[TracePath],
        use_cases: Injected[UseCases],
    ) -> list[SpanPriceResponse]:
        project, trace = caller.project_id, TraceId(path.trace_id)
        found = await use_cases.tracing.read_trace(project, trace)
        return [SpanPriceResponse.of(span) for span in found.spans]
