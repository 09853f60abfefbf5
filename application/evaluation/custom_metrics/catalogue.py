"""The metrics that a project can use, built-in and custom, and how a run with one would look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import (
    METRICS_MAX,
    CustomMetric,
    SelectedMetrics,
    get_run_metric,
    select_metrics,
)
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.judging.prompt import RunTemplate
from domain.evaluation.metrics.metric import Category, Metric
from domain.evaluation.metrics.registry import METRIC_REGISTRY, listed_metrics
from domain.ids import ProjectId

METRIC_NAMES_MAX: Final = METRICS_MAX + len(METRIC_REGISTRY)  # in a request; no project has more


@dataclass(frozen=True, slots=True)
class MetricCatalogue:
    """Finds the metrics of a project by name. A service that several use cases share."""

    custom: CustomMetrics

    async def find_custom(
        self, project: ProjectId, names: Sequence[str], category: Category
    ) -> Mapping[str, CustomMetric]:
        """The custom metrics among the names, by name; only traces have custom metrics.

        Raises Invalid for more than METRIC_NAMES_MAX names.
        """
        if category is not Category.TRACE:
            return {}
        distinct = list(dict.fromkeys(names))
        if len(distinct) > METRIC_NAMES_MAX:
            raise Invalid.field("metrics", f"must hold at most {METRIC_NAMES_MAX} names")
        return await self.custom.by_names(project, distinct)

    async def select_metrics(
        self, project: ProjectId, names: Sequence[str], category: Category
    ) -> SelectedMetrics:
        """As `domain.evaluation.custom_metrics.custom_metric.select_metrics`."""
        return select_metrics(names, category, await self.find_custom(project, names, category))


@dataclass(frozen=True, slots=True)
class ListMetrics:
    custom: CustomMetrics

    async def __call__(self, project: ProjectId, category: Category) -> Sequence[Metric]:
        """The available metrics, by name. A custom metric hides a built-in one of its name."""
        metrics = {metric.name: metric for metric in listed_metrics(category)}
        custom = await self.custom.all(project) if category is Category.TRACE else ()
        for one in custom:
            if one.archived_at is None:
                newest = one.newest
                metrics[one.name] = Metric(
                    name=one.name,
                    description=newest.description,
                    method=newest.method,
                    threshold=newest.threshold,
                    revision=newest.revision,
                )
        return [metrics[name] for name in sorted(metrics)]


@dataclass(frozen=True, slots=True)
class ReadRunTemplate:
    models: JudgeModels
    catalogue: MetricCatalogue
    regex: RegexEngine

    async def __call__(self, project: ProjectId, metric: str) -> RunTemplate:
        """Raises Invalid if it isn't a metric of traces, or is archived."""
        selected = await self.catalogue.select_metrics(project, [metric], Category.TRACE)
        found = get_run_metric(selected.definitions, metric, self.regex.new_search)
        return RunTemplate(metric=found, model=found.model or self.models.default)
