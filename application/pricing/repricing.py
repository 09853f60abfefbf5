"""Repricing: computes the cost of stored spans again, with the present prices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from application.ports import Clock
from application.pricing.ports import REPRICING_LEASE, ModelPrices, Repricings
from application.tracing.ports import PriceBook
from domain.errors import Unavailable
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.model_price import pricing_of
from domain.pricing.repricing import ATTEMPTS_MAX, Repricing

STEPS_MAX: Final = 20  # of one call; then another project has its turn


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricingRequest:
    """Which spans to reprice: by start, and by model if any are named."""

    started_after: datetime | None = None
    started_before: datetime | None = None
    models: Sequence[str] = ()
    is_dry: bool = True


@dataclass(frozen=True, slots=True)
class StartRepricing:
    repricings: Repricings
    book: PriceBook
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: UUID,
        request: RepricingRequest,
        *,
        audit: AuditEntry | None = None,
    ) -> Repricing:
        """The stored repricing, for workers to do; or the one that has the id `new` already.

        Raises Invalid for a period that ends before it begins, Conflict while another one runs,
        Unavailable, also if the price book couldn't be loaded.
        """
        if not await self.book.load():
            raise Unavailable("The price book can't be loaded: the log of the service says why")
        return await self.repricings.create(
            Repricing(
                id=new,
                project_id=project,
                started_after=request.started_after,
                started_before=request.started_before,
                models=tuple(dict.fromkeys(request.models)),
                is_dry=request.is_dry,
                created_at=self.clock(),
            ),
            audit=audit,
        )


@dataclass(frozen=True, slots=True)
class RepriceSpans:
    """Does some steps of one repricing of any project."""

    repricings: Repricings
    prices: ModelPrices
    book: PriceBook
    clock: Clock

    async def __call__(self) -> int:
        """The number of steps done. Raises Unavailable, and any unexpected error.

        After an error the repricing is retried with growing delays, and fails after ATTEMPTS_MAX.
        The same if the price book can't be loaded: without it priced spans would lose their price.
        """
        now = self.clock()
        repricing = await self.repricings.claim(now, now + REPRICING_LEASE)
        if repricing is None:
            return 0
        if repricing.attempts > ATTEMPTS_MAX:
            await self.repricings.fail(repricing.failed(now))
            return 0
        if not await self.book.load():
            await self.repricings.release(repricing, now + repricing.wait)
            return 0
        try:
            # Not cached: a repricing often follows right after a new price.
            prices = (await self.prices.for_projects([repricing.project_id]))[repricing.project_id]
            pricing = pricing_of(prices, self.book.price)
            for done in range(STEPS_MAX):
                now = self.clock()
                after = await self.repricings.step(repricing, pricing, now, now + REPRICING_LEASE)
                if after is None:
                    return done
                if after.completed_at is not None:
                    return done + 1
                repricing = after
        except Exception:
            await self.repricings.release(repricing, self.clock() + repricing.wait)
            raise
        await self.repricings.release(repricing, self.clock())
        return STEPS_MAX
