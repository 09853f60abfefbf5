"""The ports of a project's own metrics, and where runs find them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import (
    METRICS_MAX,
    CustomMetric,
    Revision,
    SelectedMetrics,
    select_metrics,
)
from domain.evaluation.metrics.metric import Category
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.ids import ProjectId

NAMES_MAX: Final = METRICS_MAX + len(
    METRIC_REGISTRY
)  # that one request may name: no project has more


class CustomMetrics(Protocol):
    """The metrics of every project, seen one project at a time; what is written is durable.

    Of a removed project nothing is found. Contract of CustomMetrics:
    tests/contracts/evaluation/custom_metrics/test_custom_metrics.py. All raise Unavailable.
    """

    async def create(self, metric: CustomMetric) -> CustomMetric:
        """Stores a metric with its first revision; the one that has its id, where there is one.

        Raises Conflict where its name is taken, by an archived one too, or where the project has
        METRICS_MAX, Unavailable where it was removed, Invalid for what can't be stored.
        """
        ...

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        """Raises NotFound."""
        ...

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        """By name, archived ones included."""
        ...

    async def named(self, project: ProjectId, names: Sequence[str]) -> Mapping[str, CustomMetric]:
        """Those of some names that there are, by name; archived ones included."""
        ...

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        """All of a metric, the newest first. Raises NotFound."""
        ...

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        """The metric after `edit`; a newest revision that is another one is kept beside the rest.

        Edits at once for one metric come one after the other. Raises NotFound, what `edit`
        raises, and Invalid for what can't be stored.
        """
        ...


class Patterns(Protocol):
    """Looks for patterns that callers write, in time that grows with the text alone.

    Contract of Patterns: tests/contracts/evaluation/custom_metrics/test_regex.py.
    """

    def check(self, pattern: str) -> None:
        """Raises Invalid for what is no pattern, or takes too much memory."""
        ...

    def found(self, pattern: str, text: str) -> bool:
        """As `domain.evaluation.patterns.RegexSearch`. May be called by several threads at once."""
        ...


@dataclass(frozen=True, slots=True)
class MetricCatalogue:
    """Where metrics are found by their names."""

    custom: CustomMetrics

    async def own(
        self, project: ProjectId, names: Sequence[str], category: Category
    ) -> Mapping[str, CustomMetric]:
        """The project's own among some names. Raises Invalid for more than there can be."""
        if category is not Category.TRACE:
            return {}
        distinct = list(dict.fromkeys(names))
        if len(distinct) > NAMES_MAX:
            raise Invalid.field("metrics", f"must hold at most {NAMES_MAX} names")
        return await self.custom.named(project, distinct)

    async def select_metrics(
        self, project: ProjectId, names: Sequence[str], category: Category
    ) -> SelectedMetrics:
        """As `domain.evaluation.custom_metrics.custom_metric.select_metrics`."""
        return select_metrics(names, category, await self.own(project, names, category))
