"""What can be scored, by whom, and how a run with one metric would look."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.evaluation.catalogue import listed, metric_named
from domain.evaluation.metric import Category, Metric
from domain.evaluation.models import JudgeModels, ProviderState
from domain.evaluation.question import RunTemplate


@dataclass(frozen=True, slots=True)
class ListMetrics:
    def __call__(self, category: Category) -> Sequence[Metric]:
        """Those that can be asked for, by name."""
        return listed(category)


@dataclass(frozen=True, slots=True)
class ReadRunTemplate:
    models: JudgeModels

    def __call__(self, metric: str) -> RunTemplate:
        """Raises Invalid for what is no metric of traces."""
        return RunTemplate(metric=metric_named(metric, Category.TRACE), model=self.models.default)


@dataclass(frozen=True, slots=True)
class ListProviders:
    providers: Sequence[ProviderState]

    def __call__(self) -> Sequence[ProviderState]:
        """Every provider there is, available or not, always in one order."""
        return self.providers
