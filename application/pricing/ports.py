"""The ports of pricing: the prices that projects set, and repricings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.identity.audit import AuditEntry
from domain.ids import ProjectId
from domain.pricing.model_price import ModelPrice, UnpricedModel
from domain.pricing.repricing import Repricing
from domain.tracing.usage import Pricing

UNPRICED_MODELS_MAX: Final = 100  # in the list
UNPRICED_SPANS_MAX: Final = 100_000  # the newest; the list covers only these
REPRICED_SPANS_BATCH: Final = 500  # in one transaction
REPRICING_LEASE: Final = timedelta(
    seconds=30
)  # longer than any step; then another worker takes over
REPRICINGS_KEPT_MAX: Final = 20  # of a project, the newest


class ModelPrices(Protocol):
    """The prices that each project sets, PRICES_MAX at most.

    Processes cache prices for some seconds, so a new price applies to spans a little later. All
    raise Unavailable.
    Contract of ModelPrices: tests/contracts/pricing/test_model_prices.py.
    """

    async def create(self, price: ModelPrice, *, audit: AuditEntry | None = None) -> ModelPrice:
        """Stores it; if its id exists, returns the stored one unchanged.

        Raises Conflict if the project has PRICES_MAX prices.
        """
        ...

    async def for_projects(
        self, projects: Collection[ProjectId]
    ) -> Mapping[ProjectId, Sequence[ModelPrice]]:
        """The prices of each of the projects, newest first."""
        ...

    async def delete(
        self, project: ProjectId, price: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes it; whether it existed. Spans keep their cost until a repricing."""
        ...

    async def list_unpriced(self, project: ProjectId, since: datetime) -> Sequence[UnpricedModel]:
        """The models of spans with tokens but no price, most frequent first, then by name.

        Covers the newest UNPRICED_SPANS_MAX spans that started at `since` or later. At most
        UNPRICED_MODELS_MAX models.
        """
        ...


class Repricings(Protocol):
    """The repricings of each project, and their progress.

    A step stores new costs, progress and roll-ups in one transaction, so no span is processed
    twice. Contract of Repricings: tests/contracts/pricing/test_repricings.py. All raise
    Unavailable.
    """

    async def create(self, repricing: Repricing, *, audit: AuditEntry | None = None) -> Repricing:
        """Stores it; if its id exists, returns the stored one unchanged.

        The project keeps its newest REPRICINGS_KEPT_MAX. Raises Conflict while another one runs.
        """
        ...

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        """Raises NotFound."""
        ...

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        """An unfinished one of any project that no worker has; leased until `until`.

        Counts as an attempt.
        """
        ...

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        """Reprices the next REPRICED_SPANS_BATCH spans; stores new costs unless it is a dry run.

        Skips spans whose client sent a cost, and those without a model or tokens. Updates the
        totals of traces, sessions and hours. Renews the lease until `until`. Does nothing and
        returns None if `repricing` isn't as stored: then another worker has it.
        """
        ...

    async def release(self, repricing: Repricing, now: datetime) -> None:
        """Ends the lease at `now`."""
        ...

    async def fail(self, failed: Repricing) -> None:
        """Stores that it failed, and why. Does nothing if it is over or another worker has it."""
        ...
