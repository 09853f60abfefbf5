"""What runs and monitors may be bounded by, and what a run has taken."""

from dataclasses import dataclass
from decimal import Decimal

from application.evaluation.judging import Ledger
from application.evaluation.ports import Runs
from application.ports import Clock
from application.tracing.ports import PriceBook
from domain.errors import Invalid
from domain.evaluation.answer import TokenUse
from domain.evaluation.metric import JudgeKind
from domain.evaluation.models import provider_of
from domain.evaluation.spending import Spending, checked_budget, usage_of
from domain.evaluation.votes import check_votes
from domain.ids import ProjectId, RunId


@dataclass(frozen=True, slots=True)
class SpendingRules:
    """How often a question may be asked, and what all of a run's may cost."""

    prices: PriceBook
    clock: Clock

    def check(self, votes: int, max_cost_usd: Decimal | None, *models: str) -> None:
        """Raises Invalid, naming `votes` or `max_cost_usd`.

        Where one of the judges has no price nobody could keep to a bound; the keyless one costs
        nothing.
        """
        check_votes(votes)
        if max_cost_usd is None:
            return
        checked_budget(max_cost_usd, "max_cost_usd")
        unpriced = next((model for model in models if not self._is_priced(model)), None)
        if unpriced is not None:
            what_to_do = "give it one in the server's price table, or leave this out"
            raise Invalid.field("max_cost_usd", f"{unpriced} has no price: {what_to_do}")

    def _is_priced(self, model: str) -> bool:
        if provider_of(model) == JudgeKind.HEURISTIC:
            return True
        use = usage_of(TokenUse(requests=1, input=1, output=1))
        return self.prices.price(model, use, self.clock()) is not None


@dataclass(frozen=True, slots=True)
class ReadRunUsage:
    runs: Runs
    ledger: Ledger

    async def __call__(self, project: ProjectId, run: RunId) -> Spending:
        """What its judges have taken so far. Raises NotFound, Unavailable."""
        await self.runs.get(project, run)
        return await self.ledger.of_run(project, run)
