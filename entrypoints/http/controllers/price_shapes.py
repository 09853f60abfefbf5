"""Prices on the wire."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.tracing.pricing import PriceOrder
from application.tracing.repricing import RepricingOrder
from domain.tracing.model_price import MATCH_MAX, ModelPrice, UnpricedModel
from domain.tracing.repricing import (
    MODELS_MAX,
    Change,
    Difference,
    Repricing,
    RepricingStatus,
)
from domain.tracing.span import Span
from domain.tracing.usage import Charge, CostSource, Price, as_float
from entrypoints.http.controllers.price_examples import PRICE_ID, REPRICING_ID
from entrypoints.http.scalars import parse_instant
from entrypoints.http.wire import Instant, ShownInstant, instant, optional_instant

DAYS_MAX: Final = 90
RATE: Final = r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,12})?$"

type Rate = Annotated[
    str,
    Meta(max_length=19, pattern=RATE, description='USD per million tokens, such as "2.50"'),
]
type Model = Annotated[str, Meta(min_length=1, max_length=MATCH_MAX)]


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


class RepricingPath(msgspec.Struct, frozen=True):
    repricing_id: Annotated[UUID, Meta(description="The repricing's id", examples=[REPRICING_ID])]


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

    def order(self) -> PriceOrder:
        """Raises ValueError for what is no instant."""
        return PriceOrder(
            match=self.match,
            input=Decimal(self.input),
            output=Decimal(self.output),
            cache_read=_rate(self.cache_read),
            cache_write=_rate(self.cache_write),
            effective_from=_at(self.effective_from),
            effective_to=_at(self.effective_to),
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


class RepriceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which spans to price again: those that started then, and of these models if some are named.

    A dry run, as it is by itself, finds the difference and changes nothing.
    """

    since: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = msgspec.field(default=None, name="to")
    models: Annotated[list[Model], Meta(max_length=MODELS_MAX)] = []
    dry_run: bool = True

    def order(self) -> RepricingOrder:
        """Raises ValueError for what is no instant."""
        return RepricingOrder(
            started_after=_at(self.since),
            started_before=_at(self.until),
            models=self.models,
            is_dry=self.dry_run,
        )


class DifferenceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of a model, in USD; of null are those of all models beyond the first 200."""

    model: str | None
    spans: int
    changed: int
    cost_before: float
    cost_after: float


class ChargeResponse(msgspec.Struct, frozen=True, kw_only=True):
    cost_source: CostSource
    amount: float | None
    version: str | None

    @classmethod
    def of(cls, charge: Charge) -> Self:
        is_priced = charge.source is not CostSource.UNPRICED
        return cls(
            cost_source=charge.source,
            amount=as_float(charge.amount) if is_priced else None,
            version=None if charge.price is None else charge.price.version,
        )


class ChangeResponse(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: UUID
    span_id: UUID
    model: str
    started_at: ShownInstant
    before: ChargeResponse
    after: ChargeResponse

    @classmethod
    def of(cls, change: Change) -> Self:
        return cls(
            trace_id=change.trace_id,
            span_id=change.span_id,
            model=change.model,
            started_at=instant(change.started_at),
            before=ChargeResponse.of(change.before),
            after=ChargeResponse.of(change.after),
        )


class RepricingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How far it has come, and the difference so far; `sample` has the first changes.

    Where no worker can go on it is FAILED, and `error_message` says what to do.
    """

    id: UUID
    project_id: UUID
    status: RepricingStatus
    dry_run: bool
    since: ShownInstant | None = msgspec.field(name="from")
    until: ShownInstant | None = msgspec.field(name="to")
    models: list[str]
    spans: int
    changed: int
    cost_before: float
    cost_after: float
    by_model: list[DifferenceResponse]
    sample: list[ChangeResponse]
    created_at: ShownInstant
    completed_at: ShownInstant | None
    error_message: str | None

    @classmethod
    def of(cls, one: Repricing) -> Self:
        found = one.found
        return cls(
            id=one.id,
            project_id=one.project_id,
            status=one.status,
            dry_run=one.is_dry,
            since=optional_instant(one.started_after),
            until=optional_instant(one.started_before),
            models=list(one.models),
            spans=found.total.spans,
            changed=found.total.changed,
            cost_before=as_float(found.total.before),
            cost_after=as_float(found.total.after),
            by_model=list(_differences(one)),
            sample=[ChangeResponse.of(change) for change in found.sample],
            created_at=instant(one.created_at),
            completed_at=optional_instant(one.completed_at),
            error_message=one.error,
        )


def _differences(one: Repricing) -> Iterable[DifferenceResponse]:
    """By model, those with the most spans first."""
    told: list[tuple[str | None, Difference]] = sorted(
        one.found.models.items(), key=lambda pair: (-pair[1].spans, pair[0])
    )
    if one.found.others.spans:
        told.append((None, one.found.others))
    for model, difference in told:
        yield DifferenceResponse(
            model=model,
            spans=difference.spans,
            changed=difference.changed,
            cost_before=as_float(difference.before),
            cost_after=as_float(difference.after),
        )


def _rate(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _at(value: str | float | None) -> datetime | None:
    return None if value is None else parse_instant(value)
