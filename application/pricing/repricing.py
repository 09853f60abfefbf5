"""Pricing stored spans again, by the prices of today: asking for it, and having it done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from application.ports import Clock
from application.pricing.ports import REPRICING_LEASE, ModelPrices, Repricings
from application.tracing.ports import PriceBook
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.tracing.model_price import pricing_of
from domain.tracing.repricing import ATTEMPTS_MAX, Repricing

STEPS_MAX: Final = 20  # of one turn: then others have theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricingRequest:
    """Which spans to price again: by their start, and by their models where some are named."""

    started_after: datetime | None = None
    started_before: datetime | None = None
    models: Sequence[str] = ()
    is_dry: bool = True


@dataclass(frozen=True, slots=True)
class StartRepricing:
    repricings: Repricings
    book: PriceBook
    clock: Clock

    async def __call__(self, project: ProjectId, new: UUID, order: RepricingRequest) -> Repricing:
        """What is stored, for workers to do; or what has the id `new` already.

        Raises Invalid for a period that ends before it begins, Conflict while another isn't over,
        Unavailable, also where the price book couldn't be loaded.
        """
        if not self.book.is_loaded:
            raise Unavailable("The price book can't be loaded: the log of the service says why")
        return await self.repricings.create(
            Repricing(
                id=new,
                project_id=project,
                started_after=order.started_after,
                started_before=order.started_before,
                models=tuple(dict.fromkeys(order.models)),
                is_dry=order.is_dry,
                created_at=self.clock(),
            )
        )


@dataclass(frozen=True, slots=True)
class ReadRepricing:
    repricings: Repricings

    async def __call__(self, project: ProjectId, repricing: UUID) -> Repricing:
        """Raises NotFound, Unavailable."""
        return await self.repricings.get(project, repricing)


@dataclass(frozen=True, slots=True)
class RepriceSpans:
    """A worker's turn: one repricing of any project, some steps of it."""

    repricings: Repricings
    prices: ModelPrices
    book: PriceBook
    clock: Clock

    async def __call__(self) -> int:
        """The number of steps that were done. Raises Unavailable, and whatever is a fault of ours.

        After that it goes on in a while, each time a longer one, and fails after ATTEMPTS_MAX.
        Does nothing without a price book: what is priced would be unpriced.
        """
        now = self.clock()
        if not self.book.is_loaded:
            return 0
        going = await self.repricings.claim(now, now + REPRICING_LEASE)
        if going is None:
            return 0
        if going.attempts > ATTEMPTS_MAX:
            await self.repricings.fail(going.failed(now))
            return 0
        try:
            # Asked for and not remembered: what was just made is what it is for.
            own = (await self.prices.of([going.project_id]))[going.project_id]
            pricing = pricing_of(own, self.book.price)
            for done in range(STEPS_MAX):
                now = self.clock()
                after = await self.repricings.step(going, pricing, now, now + REPRICING_LEASE)
                if after is None:
                    return done
                if after.completed_at is not None:
                    return done + 1
                going = after
        except Exception:
            await self.repricings.release(going, self.clock() + going.wait)
            raise
        await self.repricings.release(going, self.clock())
        return STEPS_MAX
