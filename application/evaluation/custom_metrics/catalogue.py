"""What can be scored, by whom, and how a run with one metric would look."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.evaluation.ports.custom_metrics import CustomMetrics, MetricCatalogue, Patterns
from domain.evaluation.custom_metrics.custom_metric import get_run_metric
from domain.evaluation.judging.models import JudgeModels, ProviderState
from domain.evaluation.judging.prompt import RunTemplate
from domain.evaluation.metrics.metric import Category, Metric
from domain.evaluation.metrics.registry import listed_metrics
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class ListMetrics:
    custom: CustomMetrics

    async def __call__(self, project: ProjectId, category: Category) -> Sequence[Metric]:
        """Those that can be asked for, by name: the project's own go before built-in ones."""
        found = {one.name: one for one in listed_metrics(category)}
        own = await self.custom.all(project) if category is Category.TRACE else ()
        for one in own:
            if one.archived_at is None:
                told = one.newest.description
                found[one.name] = Metric(name=one.name, description=told, method=one.newest.method)
        return [found[name] for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class ReadRunTemplate:
    models: JudgeModels
    catalogue: MetricCatalogue
    patterns: Patterns

    async def __call__(self, project: ProjectId, metric: str) -> RunTemplate:
        """Raises Invalid for what is no metric of traces, or is archived."""
        picked = await self.catalogue.select_metrics(project, [metric], Category.TRACE)
        found = get_run_metric(picked.definitions, metric, self.patterns.found)
        return RunTemplate(metric=found, model=found.model or self.models.default)


@dataclass(frozen=True, slots=True)
class ListProviders:
    providers: Sequence[ProviderState]

    def __call__(self) -> Sequence[ProviderState]:
        """Every provider there is, available or not, always in one order."""
        return self.providers
