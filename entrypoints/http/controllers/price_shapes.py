"""Prices on the wire."""

from typing import Self
from uuid import UUID

import msgspec

from domain.tracing.span import Span
from domain.tracing.usage import CostSource, Price, as_float
from entrypoints.http.wire import ShownInstant, optional_instant


class PriceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What the price table says: by which prices, and since when those count; null: always."""

    amount: float
    version: str
    effective_from: ShownInstant | None

    @classmethod
    def of(cls, price: Price) -> Self:
        return cls(
            amount=as_float(price.amount),
            version=price.version,
            effective_from=optional_instant(price.since),
        )


class SpanPriceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a span cost and who says so. `price` is there beside a client's cost too."""

    span_id: UUID
    model: str | None
    cost_source: CostSource
    amount: float | None
    price: PriceResponse | None

    @classmethod
    def of(cls, span: Span) -> Self:
        """`span` is settled."""
        charge = span.charge
        assert charge is not None
        is_priced = charge.source is not CostSource.UNPRICED
        return cls(
            span_id=span.id,
            model=span.model,
            cost_source=charge.source,
            amount=as_float(charge.amount) if is_priced else None,
            price=None if charge.price is None else PriceResponse.of(charge.price),
        )
