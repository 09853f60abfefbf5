"""Rules on metrics, judges and budgets of runs and monitors; the usage and the summary of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from application.evaluation.custom_metrics.catalogue import MetricCatalogue
from application.evaluation.ports.judging import Ledger, Pricings
from application.evaluation.ports.runs import Runs
from application.ports import Clock
from domain.errors import Invalid
from domain.evaluation.costs.judge_costs import Spending, usage_of, validate_budget
from domain.evaluation.custom_metrics.custom_metric import SelectedMetrics, check_judge_models
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.judging.models import JudgeModels, provider_of
from domain.evaluation.metrics.metric import Category, JudgeKind
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SAMPLING_RATE_DEFAULT
from domain.evaluation.runs.summary import MetricSummary, summarize_run
from domain.evaluation.runs.voting import validate_votes
from domain.ids import ProjectId, RunId
from domain.tracing.usage import Pricing

CATEGORIES: Final = {TargetType.TRACE: Category.TRACE, TargetType.SESSION: Category.SESSION}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The options of a run.

    `signal_weights` are for session runs only; `settled_only` is for runs by filters, see
    `Eligibility`.
    """

    metrics: Sequence[str]
    name: str | None = None
    model: str | None = None
    sampling_rate: float = SAMPLING_RATE_DEFAULT
    signal_weights: Mapping[str, float] = field(default_factory=dict)
    votes: int = 1
    max_cost_usd: Decimal | None = None
    settled_only: bool = True


@dataclass(frozen=True, slots=True)
class RunRules:
    """Validates the metrics, judges and budget of a run. A service that runs and monitors share."""

    catalogue: MetricCatalogue
    models: JudgeModels
    prices: Pricings
    clock: Clock

    async def validate(
        self, project: ProjectId, target_type: TargetType, options: RunRequest | Monitor
    ) -> tuple[SelectedMetrics, str]:
        """The metrics, of the newest revisions, and the model. Raises Invalid."""
        selected = await self.catalogue.select_metrics(
            project, options.metrics, CATEGORIES[target_type]
        )
        pricing = await self.prices.for_project(project)
        return selected, self.check_judges(selected, pricing, options)

    def check_judges(
        self, selected: SelectedMetrics, pricing: Pricing, options: RunRequest | Monitor
    ) -> str:
        """The model. `pricing` is the project's.

        Raises Invalid for a model that isn't allowed or can't be asked, also of a custom metric,
        and for votes and the budget. A budget needs a price for every judge, or it
        couldn't be enforced. The heuristic judge costs nothing.
        """
        model = self.models.select(options.model)
        self.models.check_available(model)
        check_judge_models(selected, model, self.models)
        validate_votes(options.votes)
        if options.max_cost_usd is not None:
            validate_budget(options.max_cost_usd, "max_cost_usd")
            for judge in selected.judges(model):
                if not self._is_priced(pricing, judge):
                    advice = "give it one by POST /model-prices, or leave this out"
                    raise Invalid.semantic("max_cost_usd", f"{judge} has no price: {advice}")
        return model

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
        """The requests and cost of its judges so far. Raises NotFound, Unavailable."""
        await self.runs.get(project, run)
        return await self.ledger.run_spending(project, run)


@dataclass(frozen=True, slots=True)
class ListRunUsage:
    """The cost of the judges of listed runs so far."""

    ledger: Ledger

    async def __call__(self, project: ProjectId, runs: Sequence[RunId]) -> Mapping[RunId, Spending]:
        """The spending of each run; nothing for a run that sent no request. Raises Unavailable."""
        known = await self.ledger.spending_by_run(project, runs) if runs else {}
        return {one: known.get(one, Spending()) for one in runs}


@dataclass(frozen=True, slots=True)
class MetricResults:
    """The results of a run in a metric, and what its judge cost."""

    summary: MetricSummary
    spending: Spending


@dataclass(frozen=True, slots=True)
class RunSummary:
    """As `summarize_run`."""

    run_id: RunId
    metrics: Sequence[MetricResults]


@dataclass(frozen=True, slots=True)
class ReadRunSummary:
    runs: Runs
    ledger: Ledger

    async def __call__(self, project: ProjectId, run: RunId) -> RunSummary:
        """The results of the run so far, by metric. Raises NotFound, Unavailable."""
        known, scores = await self.runs.results(project, run)
        groups = await self.ledger.run_spending_by_metric(project, run)
        spent = {one.key: one.spending for one in groups}
        metrics = summarize_run(known, scores, spent)
        return RunSummary(
            run, [MetricResults(one, spent.get(one.metric, Spending())) for one in metrics]
        )
