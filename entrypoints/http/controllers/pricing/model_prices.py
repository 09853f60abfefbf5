"""Prices of a project's own, models that have none, and pricing again what is stored."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, delete, get, post

from application.pricing.model_prices import PriceRequest
from application.pricing.repricing import RepricingRequest
from application.pricing.use_cases import PricingUseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.tracing.model_price import PRICES_MAX
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.pricing.repricing_schemas import (
    RepriceRequest,
    RepricingPath,
    RepricingResponse,
)
from entrypoints.http.controllers.pricing.schemas import (
    CreateModelPriceRequest,
    ModelPriceResponse,
    PricePath,
    UnpricedModelResponse,
    UnpricedQuery,
)
from entrypoints.http.endpoint import Injected, edge_of, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.responses import JsonResponse, respond_once

NewPrice = Annotated[PriceRequest, Body(CreateModelPriceRequest, lambda wire, _: wire.order())]

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a price",
    description=(
        "What the tokens of some models cost in this project, before any other price: of "
        "several that fit a model and count at the start of a span, the newest. Spans that "
        "are stored from then on are priced by it, within ten seconds. Those that are stored "
        f"already stay as they are, until they are priced again. {PRICES_MAX} at most."
    ),
    example=examples.PRICE,
    body_example=examples.ORDER,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List prices",
    description="All of the project's own, in the order in which they are tried.",
    example=[examples.PRICE],
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a price",
    description="What was priced by it stays as it is, until it is priced again.",
)

UNPRICED: Final = endpoint(
    data_plane(Scope.READ),
    summary="List models without a price",
    description="Those of which spans used tokens without being priced, the most frequent first.",
    example=[examples.UNPRICED],
)

NewRepricing = Annotated[RepricingRequest, Body(RepriceRequest, lambda wire, _: wire.order())]

REPRICE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Price stored spans again",
    description=(
        "By the prices of today, each span by its own start. Workers do it, and the answer "
        "tells where to read how far they are. What a client said that a span cost is never "
        "touched. One at a time in a project."
    ),
    example=examples.REPRICING_BEGUN,
    body_example=examples.REPRICE,
)

READ_REPRICING: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a repricing",
    description="How far it has come, and what difference it makes. The newest 20 are kept.",
    example=examples.REPRICING,
)


class ModelPriceController(Controller):
    path = "/model-prices"

    @post("/", status_code=201, **CREATE)
    async def create_model_price(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewPrice],
        key: Injected[IdempotencyKey | None],
    ) -> JsonResponse[ModelPriceResponse]:
        project, create = caller.project_id, _use_cases(request).create_price

        async def write(new: UUID) -> ModelPriceResponse:
            return ModelPriceResponse.of(await create(project, new, content))

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_model_prices(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
    ) -> list[ModelPriceResponse]:
        found = await _use_cases(request).list_prices(caller.project_id)
        return [ModelPriceResponse.of(one) for one in found]

    @delete("/{price_id:str}", status_code=204, **DELETE)
    async def delete_model_price(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[PricePath],
    ) -> None:
        await _use_cases(request).delete_price(caller.project_id, path.price_id)

    @get("/unpriced", **UNPRICED)
    async def list_unpriced_models(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        params: Injected[UnpricedQuery],
    ) -> list[UnpricedModelResponse]:
        project = caller.project_id
        found = await _use_cases(request).list_unpriced_models(project, params.days)
        return [UnpricedModelResponse.of(one) for one in found]

    @post("/reprice", status_code=202, **REPRICE)
    async def reprice(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewRepricing],
        key: Injected[IdempotencyKey | None],
    ) -> JsonResponse[RepricingResponse]:
        project, start = caller.project_id, _use_cases(request).start_repricing

        async def write(new: UUID) -> RepricingResponse:
            return RepricingResponse.of(await start(project, new, content))

        return await respond_once(request, caller, key, 202, write)

    @get("/reprice/{repricing_id:str}", **READ_REPRICING)
    async def read_repricing(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[RepricingPath],
    ) -> RepricingResponse:
        project, repricing = caller.project_id, path.repricing_id
        found = await _use_cases(request).read_repricing(project, repricing)
        return RepricingResponse.of(found)


def _use_cases(request: HttpRequest) -> PricingUseCases:
    return edge_of(request).use_cases.pricing
