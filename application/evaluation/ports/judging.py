"""Ports of judging: judges, embedders, the cache of verdicts, the ledger, budgets, and prices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

from application.pricing.ports import ModelPrices
from application.tracing.ports import PriceBook
from domain.evaluation.costs.judge_costs import LedgerEntry, Spending, SpendingBy, SpendingGroup
from domain.evaluation.judging.judge import Answer, Question, TokenUse
from domain.evaluation.metrics.metric import Metric
from domain.evaluation.scores.outcome import Scored
from domain.evaluation.scores.score import CreatedWithin
from domain.evaluation.trace_content.text import Vector
from domain.ids import OrganizationId, ProjectId, RunId, TraceId
from domain.pricing.model_price import pricing_of
from domain.tracing.usage import Pricing

EMBEDDED_MAX: Final = 256  # texts in a call
PARTS_MAX: Final = 400  # groups of a usage report: more than the days of a year
DELETED_ROWS_MAX: Final = 2_000  # rows of one deletion
VERDICT_RETENTION: Final = timedelta(days=30)  # default of a setting
LEDGER_RETENTION: Final = timedelta(days=400)  # default of a setting


class Judge(Protocol):
    """Gives a verdict on evidence. It is asked through JudgeClient, which limits and retries.

    Contract of Judge: tests/contracts/evaluation/judging/test_judge.py.
    """

    def fingerprint(self, metric: Metric, model: str) -> str:
        """What identifies the judge on the scores that `ask` gives; known without asking.

        Raises JudgeRefused if no judge answers for the model.
        """
        ...

    async def ask(self, question: Question) -> Answer:
        """One verdict, after at most `question.deadline_s` seconds.

        Raises JudgeRefused if the same question would fail again, JudgeUnavailable if it may
        succeed later; nothing else. No answer depends on an earlier question.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors of the same length; `key` names it in fingerprints.

    Contract of Embedder: tests/contracts/evaluation/judging/test_embedder.py.
    """

    @property
    def key(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector for each text, in order. ValueError for more than EMBEDDED_MAX texts.

        A text without words gives the zero vector. Raises as Judge does.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer of a judge to a question, and what it cost."""

    outcome: Scored
    model: str
    use: TokenUse
    usd: Decimal | None


class VerdictCache(Protocol):
    """Verdicts by the key of their question, each project apart.

    Contract of VerdictCache: tests/contracts/evaluation/judging/test_verdict_cache.py. All
    raise Unavailable.
    """

    async def find(self, project: ProjectId, key: bytes, since: datetime) -> Verdict | None:
        """The verdict under the key, if it was stored at `since` or later."""
        ...

    async def save(
        self, project: ProjectId, key: bytes, trace: TraceId, verdict: Verdict, now: datetime
    ) -> None:
        """Stores the verdict, replacing an earlier one. It is deleted with its trace.

        Does nothing if the trace doesn't exist, or the verdict can't be stored.
        """
        ...

    async def delete_older(self, before: datetime) -> int:
        """Deletes at most DELETED_ROWS_MAX older verdicts, across all projects; how many."""
        ...


class Ledger(Protocol):
    """Every request that was sent to a provider. Entries never change.

    Contract of Ledger: tests/contracts/evaluation/judging/test_judge_ledger.py. All raise
    Unavailable.
    """

    async def append(self, entries: Sequence[LedgerEntry]) -> None:
        """Stores all entries or none. An entry whose id is stored already is left as it is."""
        ...

    async def run_spending(self, project: ProjectId, run: RunId) -> Spending: ...

    async def spending_by_run(
        self, project: ProjectId, runs: Sequence[RunId]
    ) -> Mapping[RunId, Spending]:
        """As `run_spending`, of those that sent a request."""
        ...

    async def run_spending_by_metric(
        self, project: ProjectId, run: RunId
    ) -> Sequence[SpendingGroup]:
        """As `run_spending`, by metric: the first PARTS_MAX groups of `group_spending`."""
        ...

    async def total(self, projects: Sequence[ProjectId], within: CreatedWithin) -> Spending: ...

    async def projects_spending(
        self, projects: Sequence[ProjectId], within: CreatedWithin, by: SpendingBy
    ) -> Sequence[SpendingGroup]:
        """As `by_key`, the first PARTS_MAX groups; by day the last PARTS_MAX."""
        ...

    async def delete_older(self, before: datetime) -> int:
        """Deletes at most DELETED_ROWS_MAX older entries, across all projects; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation for one question, in each budget that applies to it.

    `scopes` maps the budget to the time since when its spending is counted: a budget that is
    removed and set again is another count, in which nothing is reserved for this question.
    """

    scopes: Mapping[str, datetime]
    usd: Decimal


class Budgets(Protocol):
    """The limit of a budget, and the amounts spent and reserved.

    `LockedOrganization.put_budget` sets what a project may spend. A reservation that is never
    settled, because its process was killed, counts as spent. Contract of Budgets:
    tests/contracts/evaluation/judging/test_budgets.py. All raise Unavailable.
    """

    async def monthly(self, project: ProjectId) -> Decimal | None:
        """The limit in USD for each calendar month in UTC; None without one."""
        ...

    async def organization_spending(self, organization: OrganizationId, now: datetime) -> Decimal:
        """What the budget of an organization counts of this month: spent or reserved.

        It includes projects that were deleted since. It is 0 if the organization has no budget,
        or if none of its projects has reserved anything this month.
        """
        ...

    async def reserve(
        self, project: ProjectId, run: RunId, run_limit: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        """Reserves `usd` in every budget of the question; None if one of them has less left.

        They are those of the run, and of the month for the project, its organization and the
        server. `run_limit` is the limit of the run. Without any limit the reservation has no scope.
        Concurrent calls never reserve more than there is.
        """
        ...

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        """Replaces the reservation by `usd`, which was spent.

        A budget that was set again meanwhile counts what was spent, and releases nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pricings:
    """The cost of tokens for a project: by a price of its `own`, else by the price book.

    Nothing is cached: a run with a budget may be created right after its model was given a price.
    """

    own: ModelPrices
    book: PriceBook

    async def for_project(self, project: ProjectId) -> Pricing:
        """Raises Unavailable."""
        return pricing_of((await self.own.for_projects([project]))[project], self.book.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingPorts:
    """Everything that is stored about judging, and the prices.

    Verdicts are kept for `verdict_retention`, and not at all if that is zero; ledger entries for
    `ledger_retention`. `on_entry` gets each ledger entry before it is stored, also if storing
    fails.
    """

    verdicts: VerdictCache
    ledger: Ledger
    budgets: Budgets
    prices: Pricings
    verdict_retention: timedelta = VERDICT_RETENTION
    ledger_retention: timedelta = LEDGER_RETENTION
    on_entry: Callable[[LedgerEntry], None] = lambda _: None

    @property
    def caches_verdicts(self) -> bool:
        return bool(self.verdict_retention)
