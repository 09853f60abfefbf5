"""Costs of the spans of a trace, and the prices behind them."""

from typing import Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import TraceId
from domain.tracing.span import Span
from domain.tracing.usage import CostSource, Price, as_float
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ResponseInstant, format_optional_instant


class PriceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A cost by the price table, the version of its prices, and since when they are effective.

    A null `effective_from` means always.
    """

    amount: float
    version: str
    effective_from: ResponseInstant | None

    @classmethod
    def from_domain(cls, price: Price) -> Self:
        return cls(
            amount=as_float(price.amount),
            version=price.version,
            effective_from=format_optional_instant(price.since),
        )


class SpanPriceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a span and its source. `price` is also set if the cost is the client's."""

    span_id: UUID
    model: str | None
    cost_source: CostSource
    amount: float | None
    price: PriceResponse | None

    @classmethod
    def from_domain(cls, span: Span) -> Self:
        """`span` is complete: its cost is set."""
        charge = span.charge
        assert charge is not None
        is_priced = charge.source is not CostSource.UNPRICED
        return cls(
            span_id=span.id,
            model=span.model,
            cost_source=charge.source,
            amount=as_float(charge.amount) if is_priced else None,
            price=None if charge.price is None else PriceResponse.from_domain(charge.price),
        )


READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read the costs of a trace's spans",
    description=(
        "All spans, sorted by start: the source of each cost, and the cost by the price table, "
        "with the version of the prices and since when they are effective. An unpriced span has "
        "no amount."
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
        trace = await use_cases.tracing.traces.get(caller.project_id, TraceId(path.trace_id))
        return [SpanPriceResponse.from_domain(span) for span in trace.spans]
