"""Repricings on the wire."""

from collections.abc import Iterable
from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.pricing.repricing import RepricingRequest
from domain.tracing.model_price import MATCH_MAX
from domain.tracing.repricing import (
    MODELS_MAX,
    CostChange,
    CostDelta,
    Repricing,
    RepricingStatus,
)
from domain.tracing.usage import CostSource, SpanCost, as_float
from entrypoints.http.controllers.pricing.examples import REPRICING_ID
from entrypoints.http.controllers.pricing.schemas import moment
from entrypoints.http.requests.wire_types import Instant, ShownInstant, instant, optional_instant

type Model = Annotated[str, Meta(min_length=1, max_length=MATCH_MAX)]


class RepricingPath(msgspec.Struct, frozen=True):
    repricing_id: Annotated[UUID, Meta(description="The repricing's id", examples=[REPRICING_ID])]


class RepriceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which spans to price again: those that started then, and of these models if some are named.

    A dry run, as it is by itself, finds the difference and changes nothing.
    """

    since: Instant | None = msgspec.field(default=None, name="from")
    until: Instant | None = msgspec.field(default=None, name="to")
    models: Annotated[list[Model], Meta(max_length=MODELS_MAX)] = []
    dry_run: bool = True

    def order(self) -> RepricingRequest:
        """Raises ValueError for what is no instant."""
        return RepricingRequest(
            started_after=moment(self.since),
            started_before=moment(self.until),
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
    def of(cls, charge: SpanCost) -> Self:
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
    def of(cls, change: CostChange) -> Self:
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
    told: list[tuple[str | None, CostDelta]] = sorted(
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
