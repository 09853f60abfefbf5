"""What is kept of judges: verdicts that need not be asked for again, and what questions cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from application.ports import Clock
from application.pricing.ports import ModelPrices
from application.tracing.ports import PriceBook
from domain.evaluation.costs.judge_costs import (
    LedgerEntry,
    Spending,
    SpendingBy,
    SpendingGroup,
)
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.scores.query import CreatedWithin
from domain.ids import ProjectId, RunId, TraceId
from domain.tracing.model_price import pricing_of
from domain.tracing.usage import Pricing

PARTS_MAX: Final = 400  # of one answer on spending: days of a year and some
SWEPT_MAX: Final = 2_000  # rows of one sweep
KEPT_FOR: Final = timedelta(days=30)  # a verdict: the default of a setting
ENTERED_FOR: Final = timedelta(days=400)  # a request: the default of a setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge made of a question once, and what that took."""

    outcome: Scored
    model: str
    use: TokenUse
    usd: Decimal | None


class Verdicts(Protocol):
    """Verdicts by what was asked, seen one project at a time.

    Contract of Verdicts: tests/contracts/evaluation/judging/test_verdict_cache.py. All raise
    Unavailable.
    """

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        """The one that was kept at `since` or later."""
        ...

    async def keep(
        self, project: ProjectId, key: bytes, trace: TraceId, verdict: Verdict, now: datetime
    ) -> None:
        """In place of what was kept under the key. It is gone with its trace.

        Of a trace that isn't there, and of what can't be stored, nothing is kept.
        """
        ...

    async def sweep(self, before: datetime) -> int:
        """Removes some of those that are older, across all projects; how many."""
        ...


class Ledger(Protocol):
    """Every request that a provider was sent. Nothing in it changes.

    Contract of Ledger: tests/contracts/evaluation/judging/test_judge_ledger.py. All raise
    Unavailable.
    """

    async def enter(self, entries: Sequence[LedgerEntry]) -> None:
        """All or none. What has been entered under an id stays."""
        ...

    async def of_run(self, project: ProjectId, run: RunId) -> Spending: ...

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending: ...

    async def of_projects(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        """As `by_key`, the first PARTS_MAX of it; of days the last PARTS_MAX."""
        ...

    async def sweep(self, before: datetime) -> int:
        """Removes some of the entries that are older, across all projects; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money that is set aside for one question, under each budget that holds for it."""

    scopes: tuple[str, ...]
    usd: Decimal


class Budgets(Protocol):
    """What may be spent, and what has been spent or set aside.

    What a project may spend is said by `LockedOrganization.put_budget`. A reservation that nobody
    settles, as its process was killed, counts as spent. Contract of Budgets:
    tests/contracts/evaluation/judging/test_budgets.py. All raise Unavailable.
    """

    async def monthly(self, project: ProjectId) -> Decimal | None:
        """USD of each calendar month in UTC; None where there's no limit."""
        ...

    async def reserve(
        self, project: ProjectId, run: RunId, of_run: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        """Sets `usd` aside of what is left of the month and of the run, or of neither: then None.

        `of_run` is the limit of the run. Without any limit it is a reservation of no scope. Calls
        at once never set aside more than there is.
        """
        ...

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        """`usd` was spent in its stead."""
        ...


@dataclass(frozen=True, slots=True)
class Pricings:
    """What tokens cost a project: by a price of its `own`, else by the book.

    Nothing is remembered: a run is made with a bound right after its model was given a price.
    """

    own: ModelPrices
    book: PriceBook

    async def of(self, project: ProjectId) -> Pricing:
        """Raises Unavailable."""
        return pricing_of((await self.own.for_projects([project]))[project], self.book.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingPorts:
    """What is kept of judges, and at what prices.

    Verdicts are kept for `kept_for`, requests for `entered_for`.
    """

    verdicts: Verdicts
    ledger: Ledger
    budgets: Budgets
    prices: Pricings
    kept_for: timedelta = KEPT_FOR
    entered_for: timedelta = ENTERED_FOR


@dataclass(frozen=True, slots=True)
class SweepJudging:
    """Takes away verdicts and requests that have been kept for long enough."""

    books: JudgingPorts
    clock: Clock

    async def __call__(self) -> int:
        """How many rows; the rest goes at the next turns. Raises Unavailable."""
        now, books = self.clock(), self.books
        verdicts = await books.verdicts.sweep(now - books.kept_for)
        return verdicts + await books.ledger.sweep(now - books.entered_for)
