"""Prices of a project's own, models that have none, and pricing again what is stored."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, post

from application.pricing.use_cases import PricingUseCases
from domain.identity.api_key import Scope
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
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, edge_of, operation
from entrypoints.http.requests.json_body import Body

CREATE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Create a price",
        description=(
            "What the tokens of some models cost in this project, before any other price: of "
            "several that fit a model and count at the start of a span, the newest. Spans that "
            "are stored from then on are priced by it, within ten seconds. Those that are stored "
            f"already stay as they are, until they are priced again. {PRICES_MAX} at most."
        ),
        answer=ModelPriceResponse,
        example=examples.PRICE,
        body_example=examples.ORDER,
        is_once=True,
    ),
).with_body(Body(CreateModelPriceRequest, lambda wire, _: wire.order()))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List prices",
        description="All of the project's own, in the order in which they are tried.",
        answer=list[ModelPriceResponse],
        example=[examples.PRICE],
    ),
)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Delete a price",
        description="What was priced by it stays as it is, until it is priced again.",
        answer=None,
    ),
).with_path(PricePath)

UNPRICED: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List models without a price",
        description=(
            "Those of which spans used tokens without being priced, the most frequent first."
        ),
        answer=list[UnpricedModelResponse],
        example=[examples.UNPRICED],
    ),
).with_query(UnpricedQuery)

REPRICE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Price stored spans again",
        description=(
            "By the prices of today, each span by its own start. Workers do it, and the answer "
            "tells where to read how far they are. What a client said that a span cost is never "
            "touched. One at a time in a project."
        ),
        answer=RepricingResponse,
        example=examples.REPRICING_BEGUN,
        body_example=examples.REPRICE,
        is_once=True,
    ),
).with_body(Body(RepriceRequest, lambda wire, _: wire.order()))

READ_REPRICING: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read a repricing",
        description="How far it has come, and what difference it makes. The newest 20 are kept.",
        answer=RepricingResponse,
        example=examples.REPRICING,
    ),
).with_path(RepricingPath)


class ModelPriceController(Controller):
    path = "/model-prices"

    @post("/", status_code=201, opt=CREATE.opt)
    async def create_model_price(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        project, create = given.caller.project_id, _use_cases(request).create

        async def write(new: UUID) -> ModelPriceResponse:
            return ModelPriceResponse.of(await create(project, new, given.body))

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_model_prices(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await _use_cases(request).list(given.caller.project_id)
        return await answer(request, [ModelPriceResponse.of(one) for one in found])

    @delete("/{price_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_model_price(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await _use_cases(request).delete(given.caller.project_id, given.path.price_id)

    @get("/unpriced", opt=UNPRICED.opt)
    async def list_unpriced_models(self, request: HttpRequest) -> Response[bytes]:
        given = await UNPRICED.read(request)
        project = given.caller.project_id
        found = await _use_cases(request).list_unpriced(project, given.query.days)
        return await answer(request, [UnpricedModelResponse.of(one) for one in found])

    @post("/reprice", status_code=202, opt=REPRICE.opt)
    async def reprice(self, request: HttpRequest) -> Response[bytes]:
        given = await REPRICE.read(request)
        project, start = given.caller.project_id, _use_cases(request).start_repricing

        async def write(new: UUID) -> RepricingResponse:
            return RepricingResponse.of(await start(project, new, given.body))

        return await answer_once(request, given, 202, write)

    @get("/reprice/{repricing_id:str}", opt=READ_REPRICING.opt)
    async def read_repricing(self, request: HttpRequest) -> Response[bytes]:
        given = await READ_REPRICING.read(request)
        project, repricing = given.caller.project_id, given.path.repricing_id
        found = await _use_cases(request).read_repricing(project, repricing)
        return await answer(request, RepricingResponse.of(found))


def _use_cases(request: HttpRequest) -> PricingUseCases:
    return edge_of(request).use_cases.pricing
