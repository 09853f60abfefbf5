"""Repricing: computing the costs of stored spans again, by today's prices."""

from collections.abc import Iterable
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from msgspec import Meta

from application.pricing.repricing import RepricingRequest
from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.tracing.model_price import MATCH_MAX
from domain.tracing.repricing import (
    MODELS_MAX,
    CostChange,
    CostDelta,
    Repricing,
    RepricingStatus,
)
from domain.tracing.usage import CostSource, SpanCost, as_float
from entrypoints.http.authentication import data_plane
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.pricing import examples
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.scalar_types import parse_optional_instant
from entrypoints.http.requests.wire_types import (
    Instant,
    ResponseInstant,
    format_instant,
    format_optional_instant,
)
from entrypoints.http.responses import JsonResponse, respond_idempotently

type ModelName = Annotated[str, Meta(min_length=1, max_length=MATCH_MAX)]


class RepricingPath(msgspec.Struct, frozen=True):
    repricing_id: Annotated[
        UUID, Meta(description="The repricing's id", examples=[examples.REPRICING_ID])
    ]


class RepriceRequest(msgspec.Struct, frozen=True, kw_only=True):
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


class DifferenceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of a model, in USD. A null `model` stands for all models beyond the first 200."""

    model: str | None
    spans: int
    changed: int
    cost_before: float
    cost_after: float

    @classmethod
    def from_domain(cls, model: str | None, difference: CostDelta) -> Self:
        return cls(
            model=model,
            spans=difference.spans,
            changed=difference.changed,
            cost_before=as_float(difference.before),
            cost_after=as_float(difference.after),
        )


class ChargeResponse(msgspec.Struct, frozen=True, kw_only=True):
    cost_source: CostSource
    amount: float | None
    version: str | None

    @classmethod
    def from_domain(cls, charge: SpanCost) -> Self:
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
    started_at: ResponseInstant
    before: ChargeResponse
    after: ChargeResponse

    @classmethod
    def from_domain(cls, change: CostChange) -> Self:
        return cls(
            trace_id=change.trace_id,
            span_id=change.span_id,
            model=change.model,
            started_at=format_instant(change.started_at),
            before=ChargeResponse.from_domain(change.before),
            after=ChargeResponse.from_domain(change.after),
        )


class RepricingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a repricing, and the difference so far; `sample` has the first changes.

    If no worker can continue it, it is FAILED, and `error_message` says what to do.
    """

    id: UUID
    project_id: UUID
    status: RepricingStatus
    dry_run: bool
    since: ResponseInstant | None = msgspec.field(name="from")
    until: ResponseInstant | None = msgspec.field(name="to")
    models: list[str]
    spans: int
    changed: int
    cost_before: float
    cost_after: float
    by_model: list[DifferenceResponse]
    sample: list[ChangeResponse]
    created_at: ResponseInstant
    completed_at: ResponseInstant | None
    error_message: str | None

    @classmethod
    def from_domain(cls, repricing: Repricing) -> Self:
        found = repricing.found
        return cls(
            id=repricing.id,
            project_id=repricing.project_id,
            status=repricing.status,
            dry_run=repricing.is_dry,
            since=format_optional_instant(repricing.started_after),
            until=format_optional_instant(repricing.started_before),
            models=list(repricing.models),
            spans=found.total.spans,
            changed=found.total.changed,
            cost_before=as_float(found.total.before),
            cost_after=as_float(found.total.after),
            by_model=list(_differences(repricing)),
            sample=[ChangeResponse.from_domain(change) for change in found.sample],
            created_at=format_instant(repricing.created_at),
            completed_at=format_optional_instant(repricing.completed_at),
            error_message=repricing.error,
        )


def _differences(repricing: Repricing) -> Iterable[DifferenceResponse]:
    """By model, those with the most spans first."""
    by_spans = sorted(repricing.found.models.items(), key=lambda pair: (-pair[1].spans, pair[0]))
    for model, difference in by_spans:
        yield DifferenceResponse.from_domain(model, difference)
    if repricing.found.others.spans:
        yield DifferenceResponse.from_domain(None, repricing.found.others)


NewRepricing = Annotated[RepricingRequest, Body(RepriceRequest, RepriceRequest.to_domain)]

REPRICE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Price stored spans again",
    description=(
        "Prices spans by today's prices, each with the prices that are effective at its start. "
        "Workers do this; poll the repricing for its progress. Costs that clients sent are never "
        "changed. A project can have one repricing at a time."
    ),
    example=examples.REPRICING_STARTED,
    body_example=examples.REPRICE,
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a repricing",
    description="Its progress and the cost difference so far. The newest 20 repricings are kept.",
    example=examples.REPRICING,
)


class RepricingController(Controller):
    path = "/model-prices/reprice"

    @post("/", status_code=202, **REPRICE)
    async def reprice(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewRepricing],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[RepricingResponse]:
        project, start = caller.project_id, use_cases.pricing.start_repricing

        async def write(id_: UUID) -> RepricingResponse:
            return RepricingResponse.from_domain(await start(project, id_, content))

        return await respond_idempotently(request, caller, key, 202, write)

    @get("/{repricing_id:str}", **READ)
    async def read_repricing(
        self,
        caller: Injected[Caller],
        path: Injected[RepricingPath],
        use_cases: Injected[UseCases],
    ) -> RepricingResponse:
        project, repricing = caller.project_id, path.repricing_id
        return RepricingResponse.from_domain(
            await use_cases.pricing.repricings.get(project, repricing)
        )
