"""Repricing: computing the costs of stored spans again, by today's prices."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.pricing.repricing import RepricingRequest
from application.use_cases import UseCases
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.pricing.model_price import MATCH_MAX
from domain.pricing.repricing import MODELS_MAX, CostChange, CostDelta, Repricing, RepricingStatus
from domain.tracing.usage import CostSource, SpanCost
from entrypoints.http.authentication import CAN_EVALUATE, CAN_READ
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.controllers.pricing.trace_prices import priced_amount
from entrypoints.http.endpoint import get, post
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.scalar_types import parse_optional_instant
from entrypoints.http.requests.wire_types import Instant, ResponseInstant, Usd
from entrypoints.http.response_structs import GIVEN, WHOLE, ResponseStruct, Source

type ModelName = Annotated[str, Meta(min_length=1, max_length=MATCH_MAX)]


class RepricingPath(msgspec.Struct, frozen=True):
    repricing_id: Annotated[
        UUID, Meta(description="The repricing's id", examples=[examples.REPRICING_ID])
    ]


class RepriceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which spans to price again: those that started in the period, optionally of some models.

    A dry run, which is the default, computes the difference and changes nothing.
    """

    since: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = msgspec.field(default=None, name="to")
    models: Annotated[list[ModelName], Meta(max_length=MODELS_MAX)] = []
    dry_run: bool = True

    def to_domain(self, _: HttpConfig) -> RepricingRequest:
        """Raises ValueError for an invalid instant."""
        return RepricingRequest(
            started_after=parse_optional_instant(self.since),
            started_before=parse_optional_instant(self.until),
            models=self.models,
            is_dry=self.dry_run,
        )


class CostDifferenceResponse(ResponseStruct[CostDelta], frozen=True, kw_only=True):
    """The spans of a model, in USD. A null `model` stands for all models beyond the first 200."""

    model: Annotated[str | None, GIVEN]
    spans: int
    changed: int
    cost_before: Annotated[Usd, Source("before")]
    cost_after: Annotated[Usd, Source("after")]


class ChargeResponse(ResponseStruct[SpanCost], frozen=True, kw_only=True):
    cost_source: Annotated[CostSource, Source("source")]
    amount: Annotated[float | None, Source(WHOLE, priced_amount)]
    version: Annotated[str | None, Source("price", lambda price: price.version)]


class ChangeResponse(ResponseStruct[CostChange], frozen=True, kw_only=True):
    trace_id: UUID
    span_id: UUID
    model: str
    started_at: ResponseInstant
    before: ChargeResponse
    after: ChargeResponse


def _by_model(repricing: Repricing) -> list[CostDifferenceResponse]:
    """Those with the most spans first."""
    found = repricing.found
    by_spans = sorted(found.models.items(), key=lambda pair: (-pair[1].spans, pair[0]))
    others = [(None, found.others)] if found.others.spans else []
    return [
        CostDifferenceResponse.from_domain(delta, model=name)
        for name, delta in (*by_spans, *others)
    ]


class RepricingResponse(ResponseStruct[Repricing], frozen=True, kw_only=True):
    """The progress of a repricing, and the difference so far; `sample` has the first changes.

    If no worker can continue it, it is FAILED, and `error_message` says what to do.
    """

    id: UUID
    project_id: UUID
    status: RepricingStatus
    dry_run: Annotated[bool, Source("is_dry")]
    since: Annotated[ResponseInstant | None, Source("started_after")] = msgspec.field(name="from")
    until: Annotated[ResponseInstant | None, Source("started_before")] = msgspec.field(name="to")
    models: list[str]
    spans: Annotated[int, Source("found.total.spans")]
    changed: Annotated[int, Source("found.total.changed")]
    cost_before: Annotated[Usd, Source("found.total.before")]
    cost_after: Annotated[Usd, Source("found.total.after")]
    by_model: Annotated[list[CostDifferenceResponse], Source(WHOLE, _by_model)]
    sample: Annotated[list[ChangeResponse], Source("found.sample")]
    created_at: ResponseInstant
    completed_at: ResponseInstant | None
    error_message: Annotated[str | None, Source("error")]


NewRepricing = Annotated[RepricingRequest, Body(RepriceRequest, RepriceRequest.to_domain)]


class RepricingController(Controller):
    path = "/model-prices/reprice"

    @post(
        "/",
        CAN_EVALUATE,
        status_code=202,
        example=examples.REPRICING_STARTED,
        body_example=examples.REPRICE,
    )
    async def reprice(
        self, caller: Caller, content: NewRepricing, new_id: UUID, use_cases: UseCases
    ) -> RepricingResponse:
        """Price stored spans again.

        Prices spans by today's prices, each with the prices that are effective at its start.
        Workers do this; poll the repricing for its progress. Costs that clients sent are never
        changed. A project can have one repricing at a time.
        """
        audit = use_cases.audit.entry(
            caller, AuditAction.REPRICING_STARTED, new_id, is_dry=content.is_dry
        )
        repricing = await use_cases.pricing.start_repricing(
            caller.project_id, new_id, content, audit=audit
        )
        return RepricingResponse.from_domain(repricing)

    @get("/{repricing_id:str}", CAN_READ, example=examples.REPRICING)
    async def read_repricing(
        self, caller: Caller, path: RepricingPath, use_cases: UseCases
    ) -> RepricingResponse:
        """Read a repricing.

        Its progress and the cost difference so far. The newest 20 repricings are kept.
        """
        repricing = await use_cases.pricing.repricings.get(caller.project_id, path.repricing_id)
        return RepricingResponse.from_domain(repricing)
