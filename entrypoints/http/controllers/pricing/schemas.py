"""Prices on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.pricing.model_prices import PriceRequest
from domain.tracing.model_price import MATCH_MAX, ModelPrice, UnpricedModel
from domain.tracing.span import Span
from domain.tracing.usage import CostSource, Price, as_float
from entrypoints.http.controllers.pricing.examples import PRICE_ID
from entrypoints.http.requests.scalar_types import parse_instant
from entrypoints.http.requests.wire_types import Instant, ShownInstant, instant, optional_instant

DAYS_MAX: Final = 90
RATE: Final = r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,12})?$"

type Rate = Annotated[
    str,
    Meta(max_length=19, pattern=RATE, description='USD per million tokens, such as "2.50"'),
]


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


class PricePath(msgspec.Struct, frozen=True):
    price_id: Annotated[UUID, Meta(description="The price's id", examples=[PRICE_ID])]


class UnpricedQuery(msgspec.Struct, frozen=True, kw_only=True):
    days: Annotated[int, Meta(ge=1, le=DAYS_MAX, description="How far back to look")] = 30


class CreateModelPriceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of some models cost. It counts from `effective_from` on, before the other."""

    match: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MATCH_MAX,
            description="A model, with `*` and `?` for any characters and any one",
        ),
    ]
    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    effective_from: Instant | None = None
    effective_to: Instant | None = None

    def order(self) -> PriceRequest:
        """Raises ValueError for what is no instant."""
        return PriceRequest(
            match=self.match,
            input=Decimal(self.input),
            output=Decimal(self.output),
            cache_read=_rate(self.cache_read),
            cache_write=_rate(self.cache_write),
            effective_from=moment(self.effective_from),
            effective_to=moment(self.effective_to),
        )


class ModelPriceResponse(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    project_id: UUID
    match: str
    input: str
    output: str
    cache_read: str | None
    cache_write: str | None
    effective_from: ShownInstant | None
    effective_to: ShownInstant | None
    created_at: ShownInstant

    @classmethod
    def of(cls, price: ModelPrice) -> Self:
        read, written = price.cache_read, price.cache_write
        return cls(
            id=price.id,
            project_id=price.project_id,
            match=price.match,
            input=f"{price.input:f}",
            output=f"{price.output:f}",
            cache_read=None if read is None else f"{read:f}",
            cache_write=None if written is None else f"{written:f}",
            effective_from=optional_instant(price.effective_from),
            effective_to=optional_instant(price.effective_to),
            created_at=instant(price.created_at),
        )


class UnpricedModelResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A model of which spans used tokens, and had no price when they were stored."""

    model: str
    spans: int
    prompt_tokens: int
    completion_tokens: int
    last_seen_at: ShownInstant

    @classmethod
    def of(cls, found: UnpricedModel) -> Self:
        return cls(
            model=found.model,
            spans=found.spans,
            prompt_tokens=found.prompt_tokens,
            completion_tokens=found.completion_tokens,
            last_seen_at=instant(found.last_seen_at),
        )


def _rate(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def moment(value: str | float | None) -> datetime | None:
    """Raises ValueError for what is no instant."""
    return None if value is None else parse_instant(value)
