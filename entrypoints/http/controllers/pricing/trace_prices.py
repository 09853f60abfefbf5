"""Costs of the spans of a trace, and the prices behind them."""

from typing import Annotated
from uuid import UUID

from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Caller
from domain.ids import TraceId
from domain.tracing.span import Span
from domain.tracing.usage import CostSource, Price, SpanCost, as_float
from entrypoints.http.authentication import CAN_READ
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import get
from entrypoints.http.requests.wire_types import ResponseInstant, Usd
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source


def priced_amount(cost: SpanCost) -> float | None:
    return None if cost.source is CostSource.UNPRICED else as_float(cost.amount)


class PriceResponse(ResponseStruct[Price], frozen=True, kw_only=True):
    """A cost by the price table, the version of its prices, and since when they are effective.

    A null `effective_from` means always.
    """

    amount: Usd
    version: str
    effective_from: Annotated[ResponseInstant | None, Source("since")]


class SpanPriceResponse(ResponseStruct[SpanCost], frozen=True, kw_only=True):
    """The cost of a span and its source. `price` is also set if the cost is the client's."""

    span_id: Annotated[UUID, GIVEN]
    model: Annotated[str | None, GIVEN]
    cost_source: Annotated[CostSource, Source("source")]
    amount: Annotated[float | None, Source(WHOLE, priced_amount)]
    price: PriceResponse | None


def _span_price(span: Span) -> SpanPriceResponse:
    """`span` is complete: its cost is set."""
    assert span.charge is not None
    return SpanPriceResponse.from_domain(span.charge, span_id=span.id, model=span.model)


class TracePriceController(Controller):
    path = "/traces/{trace_id:str}/prices"

    @get("/", CAN_READ, example=[examples.SPAN_PRICE])
    async def read_prices(
        self, caller: Caller, path: TracePath, use_cases: UseCases
    ) -> list[SpanPriceResponse]:
        """Read the costs of a trace's spans.

        All spans, sorted by start: the source of each cost, and the cost by the price table, with
        the version of the prices and since when they are effective. An unpriced span has no amount.
        """
        trace = await use_cases.tracing.traces.get(caller.project_id, TraceId(path.trace_id))
        return [_span_price(span) for span in trace.spans]
