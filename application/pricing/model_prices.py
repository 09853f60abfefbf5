"""The prices of models that a project sets, and the models without a price."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from application.ports import Clock
from application.pricing.ports import ModelPrices
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.model_price import ModelPrice, UnpricedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRequest:
    """The fields of a new ModelPrice."""

    match: str
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    effective_from: datetime | None = None
    effective_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreateModelPrice:
    prices: ModelPrices
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: UUID,
        request: PriceRequest,
        *,
        audit: AuditEntry | None = None,
    ) -> ModelPrice:
        """The price, or the one that has the id `new` already.

        Raises Invalid, Conflict, Unavailable.
        """
        return await self.prices.create(
            ModelPrice(id=new, project_id=project, created_at=self.clock(), **asdict(request)),
            audit=audit,
        )


@dataclass(frozen=True, slots=True)
class ListModelPrices:
    prices: ModelPrices

    async def __call__(self, project: ProjectId) -> Sequence[ModelPrice]:
        """All prices of the project, in the order of precedence. Raises Unavailable."""
        return (await self.prices.for_projects([project]))[project]


@dataclass(frozen=True, slots=True)
class ListUnpricedModels:
    prices: ModelPrices
    clock: Clock

    async def __call__(self, project: ProjectId, days: int) -> Sequence[UnpricedModel]:
        """The unpriced models of the last `days`, most frequent first. Raises Unavailable."""
        return await self.prices.list_unpriced(project, self.clock() - timedelta(days=days))
