"""The ports of pricing: the prices that projects set, and repricings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.ids import ProjectId
from domain.tracing.model_price import ModelPrice, UnpricedModel
from domain.tracing.repricing import Repricing
from domain.tracing.usage import Pricing

UNPRICED_MODELS_MAX: Final = 100  # that are shown
UNPRICED_SPANS_MAX: Final = 100_000  # the newest, that are looked at
REPRICED_SPANS_BATCH: Final = 500  # spans of one transaction
REPRICING_LEASE: Final = timedelta(seconds=30)  # longer than any step; who died is replaced then
REPRICINGS_KEPT_MAX: Final = 20  # of one project, the newest


class ModelPrices(Protocol):
    """The prices of each project's own, PRICES_MAX at most.

    A span is priced by those that were there some seconds before it came: processes remember them
    for as long. All raise Unavailable.
    Contract of ModelPrices: tests/contracts/pricing/test_model_prices.py.
    """

    async def create(self, price: ModelPrice) -> ModelPrice:
        """Stores it; what has its id already is left, and returned.

        Raises Conflict where the project has as many as it may.
        """
        ...

    async def of(self, projects: Collection[ProjectId]) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        """Of each of the projects, the newest first."""
        ...

    async def delete(self, project: ProjectId, price: UUID) -> bool:
        """Whether it was there."""
        ...

    async def list_unpriced(self, project: ProjectId, since: datetime) -> Sequence[UnpricedModel]:
        """The models of unpriced spans with tokens, the most frequent first, then by name.

        Of spans that started at `since` or later, the newest UNPRICED_SPANS_MAX of them; and
        UNPRICED_MODELS_MAX models.
        """
        ...


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

    async def fail(self, failed: Repricing) -> None:
        """Stores that it failed, and why. Nothing where it is over or somebody goes on with it."""
        ...
