"""Prices of a project's own: making them, and finding what has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from application.ports import Clock
from application.pricing.ports import ModelPrices
from domain.errors import NotFound
from domain.ids import ProjectId
from domain.tracing.model_price import ModelPrice, UnpricedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRequest:
    """A price that is asked for, as ModelPrice has it."""

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

    async def __call__(self, project: ProjectId, new: UUID, asked: PriceRequest) -> ModelPrice:
        """The price, or the one that has the id `new` already.

        Raises Invalid, Conflict, Unavailable.
        """
        return await self.prices.create(
            ModelPrice(
                id=new,
                project_id=project,
                match=asked.match,
                input=asked.input,
                output=asked.output,
                cache_read=asked.cache_read,
                cache_write=asked.cache_write,
                effective_from=asked.effective_from,
                effective_to=asked.effective_to,
                created_at=self.clock(),
            )
        )


@dataclass(frozen=True, slots=True)
class ListModelPrices:
    prices: ModelPrices

    async def __call__(self, project: ProjectId) -> Sequence[ModelPrice]:
        """All of the project, in the order in which they are tried. Raises Unavailable."""
        return (await self.prices.of([project]))[project]


@dataclass(frozen=True, slots=True)
class DeleteModelPrice:
    """What was priced by it stays as it is, until it is priced again."""

    prices: ModelPrices

    async def __call__(self, project: ProjectId, price: UUID) -> None:
        """Raises NotFound, the second time too; Unavailable."""
        if not await self.prices.delete(project, price):
            raise NotFound("Price not found")


@dataclass(frozen=True, slots=True)
class ListUnpricedModels:
    prices: ModelPrices
    clock: Clock

    async def __call__(self, project: ProjectId, days: int) -> Sequence[UnpricedModel]:
        """Those of the last `days`, the most frequent first. Raises Unavailable."""
        return await self.prices.list_unpriced(project, self.clock() - timedelta(days=days))
