"""Custom metrics of projects, in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adapters.memory.store import MemoryStore
from domain.errors import Conflict
from domain.evaluation.custom_metrics.custom_metric import (
    METRICS_MAX,
    TOO_MANY_METRICS,
    CustomMetric,
    Revision,
)
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class MemoryCustomMetrics:
    store: MemoryStore

    async def create(self, metric: CustomMetric) -> CustomMetric:
        self.store.check_exists(metric.project_id)
        ours = await self.all(metric.project_id)
        known = next((one for one in ours if one.id == metric.id), None)
        if known is not None:
            return known
        if any(one.name == metric.name for one in ours):
            raise Conflict(f"There is a metric {metric.name} already")
        if len(ours) >= METRICS_MAX:
            raise Conflict(TOO_MANY_METRICS)
        self._put(metric)
        return metric

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        return self.store.custom_metrics.require(project, name)

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        return sorted(self.store.custom_metrics.in_project(project), key=lambda one: one.name)

    async def by_names(
        self, project: ProjectId, names: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        return {one.name: one for one in await self.all(project) if one.name in names}

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        newest = await self.get(project, name)
        numbers = range(newest.newest.revision, 0, -1)
        return [self.store.revisions[project, name, number] for number in numbers]

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        edited = edit(await self.get(project, name))
        self._put(edited)
        return edited

    def _put(self, metric: CustomMetric) -> None:
        self.store.custom_metrics[metric.project_id, metric.name] = metric
        key = (metric.project_id, metric.name, metric.newest.revision)
        self.store.revisions.setdefault(key, metric.revision)
