"""Pricing stored spans again, by the prices of today: asking for it, and having it done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from application.ports import Clock
from application.pricing.model_prices import ModelPrices
from application.tracing.ports import PriceBook
from domain.errors import Unavailable
from domain.ids import ProjectId
from domain.tracing.model_price import pricing_of
from domain.tracing.repricing import ATTEMPTS_MAX, Repricing
from domain.tracing.usage import Pricing

REPRICED_SPANS_BATCH: Final = 500  # spans of one transaction
STEPS_MAX: Final = 20  # of one turn: then others have theirs
REPRICING_LEASE: Final = timedelta(seconds=30)  # longer than any step; who died is replaced then
REPRICINGS_KEPT_MAX: Final = 20  # of one project, the newest


class Repricings(Protocol):
    """Repricings of each project: what was asked for, and how far it has come.

    What a step charges, its progress and the roll-ups are stored together: whoever goes on after
    somebody else looks at no span twice. Contract of Repricings:
    tests/contracts/pricing/test_repricings.py. All raise Unavailable.
    """

    async def create(self, repricing: Repricing) -> Repricing:
        """Stores it; what has its id already is left, and returned.

        Of the project the newest REPRICINGS_KEPT_MAX stay. Raises Conflict while another isn't over.
        """
        ...

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        """Raises NotFound."""
        ...

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        """One of any project that isn't over and that nobody holds; held `until` then.

        This counts as an attempt.
        """
        ...

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        """Looks at the next REPRICED_SPANS_BATCH spans, and charges those that change if it isn't dry.

        Spans whose client said what they cost, without a model or without tokens are passed by.
        Totals of traces, sessions and hours follow. Held `until` then. None, and nothing happens,
        where it isn't as it is stored: somebody else goes on with it.
        """
        ...

    async def release(self, repricing: Repricing, now: datetime) -> None:
        """Nobody holds it any more from `now` on."""
        ...

    async def end(self, failed: Repricing) -> None:
        """Stores that it failed, and why. Nothing where it is over or somebody goes on with it."""
        ...


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
            await self.repricings.end(going.failed(now))
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
