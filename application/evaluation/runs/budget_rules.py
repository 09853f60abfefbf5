"""Rules on votes and budgets of runs and monitors; the usage of a run."""

from dataclasses import dataclass
from decimal import Decimal

from application.evaluation.ports.evaluation import Runs
from application.evaluation.ports.judging import Ledger, Pricings
from application.ports import Clock
from domain.errors import Invalid
from domain.evaluation.costs.judge_costs import Spending, usage_of, validate_budget
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.judging.models import provider_of
from domain.evaluation.metrics.metric import JudgeKind
from domain.evaluation.runs.voting import validate_votes
from domain.ids import ProjectId, RunId
from domain.tracing.usage import Pricing


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """Validates votes and budgets. A service that runs and monitors share."""

    prices: Pricings
    clock: Clock

    def check(
        self, pricing: Pricing, votes: int, max_cost_usd: Decimal | None, *models: str
    ) -> None:
        """Raises Invalid, naming `votes` or `max_cost_usd`; `pricing` is the project's.

        A budget needs a price for every judge, or it couldn't be enforced. The heuristic judge
        costs nothing.
        """
        validate_votes(votes)
        if max_cost_usd is None:
            return
        validate_budget(max_cost_usd, "max_cost_usd")
        unpriced = next((model for model in models if not self._is_priced(pricing, model)), None)
        if unpriced is not None:
            advice = "give it one by POST /model-prices, or leave this out"
            raise Invalid.field("max_cost_usd", f"{unpriced} has no price: {advice}")

    def _is_priced(self, pricing: Pricing, model: str) -> bool:
        if provider_of(model) == JudgeKind.HEURISTIC:
            return True
        use = usage_of(TokenUse(requests=1, input=1, output=1))
        return pricing(model, use, self.clock()) is not None


@dataclass(frozen=True, slots=True)
class ReadRunUsage:
    runs: Runs
    ledger: Ledger

    async def __call__(self, project: ProjectId, run: RunId) -> Spending:
        """What its judges have used so far. Raises NotFound, Unavailable."""
        await self.runs.get(project, run)
        return await self.ledger.of_run(project, run)
