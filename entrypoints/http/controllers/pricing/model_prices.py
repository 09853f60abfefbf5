"""Model prices of a project, and models without a price."""

from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.pricing.model_prices import PriceRequest
from application.use_cases import UseCases
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.pricing.model_price import MATCH_MAX, PRICES_MAX, ModelPrice, UnpricedModel
from entrypoints.http.authentication import CAN_CHANGE_PRICES, CAN_READ
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.scalar_types import parse_optional_instant
from entrypoints.http.requests.wire_types import Instant, ResponseInstant
from entrypoints.http.response_structs import ResponseStruct, Source

DAYS_MAX: Final = 90
RATE_PATTERN: Final = r"^(0|[1-9][0-9]{0,5})(\.[0-9]{1,12})?$"

type Rate = Annotated[
    str,
    Meta(
        max_length=19,
        pattern=RATE_PATTERN,
        extra={"expected": 'must be USD per million tokens as a decimal number, such as "2.50"'},
        description='USD per million tokens, e.g. "2.50"',
    ),
]


class PricePath(msgspec.Struct, frozen=True):
    price_id: Annotated[UUID, Meta(description="The price's id", examples=[examples.PRICE_ID])]


class UnpricedQuery(msgspec.Struct, frozen=True, kw_only=True):
    days: Annotated[int, Meta(ge=1, le=DAYS_MAX, description="How many days to look back")] = 30


class CreateModelPriceRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Token prices of some models, effective from `effective_from` until before `effective_to`."""

    match: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MATCH_MAX,
            description=(
                "A model name, in which `*` matches any characters and `?` any one character"
            ),
        ),
    ]
    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    effective_from: Instant | None = None
    effective_to: Instant | None = None

    def to_domain(self, _: HttpConfig) -> PriceRequest:
        """Raises ValueError for an invalid instant."""
        return PriceRequest(
            match=self.match,
            input=Decimal(self.input),
            output=Decimal(self.output),
            cache_read=None if self.cache_read is None else Decimal(self.cache_read),
            cache_write=None if self.cache_write is None else Decimal(self.cache_write),
            effective_from=parse_optional_instant(self.effective_from),
            effective_to=parse_optional_instant(self.effective_to),
        )


def _format_rate(rate: Decimal) -> str:
    return f"{rate:f}"


class ModelPriceResponse(ResponseStruct[ModelPrice], frozen=True, kw_only=True):
    id: UUID
    project_id: UUID
    match: str
    input: Annotated[str, Source("input", _format_rate)]
    output: Annotated[str, Source("output", _format_rate)]
    cache_read: Annotated[str | None, Source("cache_read", _format_rate)]
    cache_write: Annotated[str | None, Source("cache_write", _format_rate)]
    effective_from: ResponseInstant | None
    effective_to: ResponseInstant | None
    created_at: ResponseInstant


class UnpricedModelResponse(ResponseStruct[UnpricedModel], frozen=True, kw_only=True):
    """A model whose spans used tokens and had no price when they were stored."""

    model: str
    spans: int
    prompt_tokens: int
    completion_tokens: int
    last_seen_at: ResponseInstant


NewPrice = Annotated[PriceRequest, Body(CreateModelPriceRequest, CreateModelPriceRequest.to_domain)]


class ModelPriceController(Controller):
    path = "/model-prices"

    @post(
        "/",
        CAN_CHANGE_PRICES,
        description=(
            "For OWNER and ADMIN. Token prices of some models in this project, which take "
            "precedence over all other prices. Of several prices that match a model and are "
            "effective at the start of a span, the newest one applies. Spans that are stored later "
            "are priced by it, after at most ten seconds. Stored spans keep their costs until they "
            "are priced again. At most "
            f"{PRICES_MAX} prices."
        ),
        example=examples.PRICE,
        body_example=examples.REQUEST,
    )
    async def create_model_price(
        self, caller: Caller, content: NewPrice, new_id: UUID, use_cases: UseCases
    ) -> ModelPriceResponse:
        """Create a price."""
        audit = use_cases.audit.entry(
            caller,
            AuditAction.MODEL_PRICE_CREATED,
            new_id,
            match=content.match,
            input=content.input,
            output=content.output,
        )
        price = await use_cases.pricing.create_price(
            caller.project_id, new_id, content, audit=audit
        )
        return ModelPriceResponse.from_domain(price)

    @get("/", CAN_READ, example=[examples.PRICE])
    async def list_model_prices(
        self, caller: Caller, use_cases: UseCases
    ) -> list[ModelPriceResponse]:
        """List prices.

        All prices of the project, in order of precedence.
        """
        prices = await use_cases.pricing.list_prices(caller.project_id)
        return [ModelPriceResponse.from_domain(price) for price in prices]

    @delete("/{price_id:str}", CAN_CHANGE_PRICES)
    async def delete_model_price(
        self, caller: Caller, path: PricePath, use_cases: UseCases
    ) -> None:
        """Delete a price.

        For OWNER and ADMIN. Spans that were priced by it keep their costs until they are priced
        again.
        """
        audit = use_cases.audit.entry(caller, AuditAction.MODEL_PRICE_DELETED, path.price_id)
        await use_cases.pricing.delete_price(caller.project_id, path.price_id, audit=audit)

    @get("/unpriced", CAN_READ, example=[examples.UNPRICED])
    async def list_unpriced_models(
        self, caller: Caller, params: UnpricedQuery, use_cases: UseCases
    ) -> list[UnpricedModelResponse]:
        """List models without a price.

        The models whose spans used tokens and had no price, the most frequent first.
        """
        models = await use_cases.pricing.list_unpriced_models(caller.project_id, params.days)
        return [UnpricedModelResponse.from_domain(model) for model in models]
