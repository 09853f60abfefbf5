"""Monitors: making them, changing them, looking at them and at what they ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from application.evaluation.custom_metrics.catalogue import MetricCatalogue
from application.evaluation.ports.monitors import Monitors
from application.evaluation.runs.budget_rules import BudgetRules
from application.evaluation.runs.requests import CATEGORIES, RunRequest
from application.ports import Clock
from domain.errors import Invalid, NotFound
from domain.evaluation.custom_metrics.custom_metric import (
    CustomMetric,
    SelectedMetrics,
    check_judge_models,
    select_metrics,
)
from domain.evaluation.judging.models import JudgeModels
from domain.evaluation.monitors.monitor import (
    UNCHANGED,
    Monitor,
    MonitorChange,
    MonitorStatus,
    Selection,
)
from domain.evaluation.monitors.schedule import normalize_cadence, parse_schedule
from domain.evaluation.runs.run import RunProgress, TargetType
from domain.ids import MonitorId, ProjectId
from domain.page import Page, PageRequest
from domain.tracing.usage import Pricing

OF_JUDGES: Final = frozenset({"metrics", "model", "votes", "max_cost_usd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRequest:
    """What is asked of a monitor: of each of its runs, and when they are."""

    name: str
    of: TargetType
    run: RunRequest
    selection: Selection
    cadence: str
    only_if_changed: bool = True


@dataclass(frozen=True, slots=True)
class MonitorRules:
    """What monitors may ask for."""

    models: JudgeModels
    catalogue: MetricCatalogue
    spending: BudgetRules

    async def find_custom(
        self, project: ProjectId, of: TargetType, metrics: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        """The project's own among some names. Raises Invalid for too many."""
        return await self.catalogue.find_custom(project, metrics, CATEGORIES[of])

    def checked(
        self, of: TargetType, metrics: Sequence[str], own: Mapping[str, CustomMetric]
    ) -> tuple[str, ...]:
        """Each once. Raises Invalid, naming `metrics.<i>`."""
        return select_metrics(metrics, CATEGORIES[of], own).names

    def check_weights(self, of: TargetType, *, has_some: bool) -> None:
        """Raises Invalid where there are some and nothing to weigh."""
        if has_some and of is TargetType.TRACE:
            raise Invalid.field("signal_weights", "are of monitors over sessions only")

    def check_judge(
        self, monitor: Monitor, own: Mapping[str, CustomMetric], pricing: Pricing
    ) -> None:
        """Raises Invalid for a model that isn't allowed, for votes, and what a run may cost.

        And where one of the project's `own` metrics has nobody who could judge by it.
        """
        model = self.models.select(monitor.model)
        known = tuple(own[name].newest for name in monitor.metrics if name in own)
        picked = SelectedMetrics(monitor.metrics, known)
        check_judge_models(picked, model, self.models)
        judges = picked.judges(model)
        self.spending.check(pricing, monitor.votes, monitor.max_cost_usd, *judges)


@dataclass(frozen=True, slots=True)
class CreateMonitor:
    monitors: Monitors
    rules: MonitorRules
    clock: Clock

    async def __call__(self, project: ProjectId, new: MonitorId, asked: MonitorRequest) -> Monitor:
        """The monitor, or the one that has the id `new` already; its first slot counts from now.

        Raises Invalid for an unknown metric, a model that isn't allowed, a cadence that is none,
        weights of traces, votes, and what a run may cost.
        """
        own = await self.rules.find_custom(project, asked.of, asked.run.metrics)
        metrics = self.rules.checked(asked.of, asked.run.metrics, own)
        self.rules.check_weights(asked.of, has_some=bool(asked.run.signal_weights))
        now = self.clock()
        monitor = Monitor(
            id=new,
            project_id=project,
            name=asked.name,
            target_type=asked.of,
            metrics=metrics,
            selection=asked.selection,
            signal_weights=asked.run.signal_weights,
            sampling_rate=asked.run.sampling_rate,
            model=asked.run.model,
            votes=asked.run.votes,
            max_cost_usd=asked.run.max_cost_usd,
            cadence=normalize_cadence(asked.cadence),
            only_if_changed=asked.only_if_changed,
            next_run_at=parse_schedule(asked.cadence).next_after(now),
            created_at=now,
            updated_at=now,
        )
        self.rules.check_judge(monitor, own, await self.rules.spending.prices.of(project))
        return await self.monitors.create(monitor)


@dataclass(frozen=True, slots=True)
class ListMonitors:
    monitors: Monitors

    async def __call__(
        self, project: ProjectId, status: MonitorStatus | None, window: PageRequest
    ) -> Page[Monitor]:
        """Newest first."""
        return await self.monitors.page(project, status, window)


@dataclass(frozen=True, slots=True)
class ReadMonitor:
    monitors: Monitors

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        return await self.monitors.get(project, monitor)


@dataclass(frozen=True, slots=True)
class ChangeMonitor:
    monitors: Monitors
    rules: MonitorRules
    clock: Clock

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, change: MonitorChange
    ) -> Monitor:
        """The monitor after `change`, whose cadence is as it was sent and its metrics as well.

        Raises NotFound, and Invalid as CreateMonitor does.
        """
        now = self.clock()
        before = await self.monitors.get(project, monitor)
        named = before.metrics if change.metrics is UNCHANGED else change.metrics
        own = await self.rules.find_custom(project, before.target_type, named)
        pricing = await self.rules.spending.prices.of(project)

        def edit(known: Monitor) -> Monitor:
            changed = known.changed(self._checked(known.target_type, change, own), now)
            if OF_JUDGES & change.given.keys():
                self.rules.check_judge(changed, own, pricing)
            return changed

        return await self.monitors.edit(project, monitor, edit)

    def _checked(
        self, of: TargetType, change: MonitorChange, own: Mapping[str, CustomMetric]
    ) -> MonitorChange:
        said = change.given
        if change.metrics is not UNCHANGED:
            said["metrics"] = self.rules.checked(of, change.metrics, own)
        if change.cadence is not UNCHANGED:
            said["cadence"] = normalize_cadence(change.cadence)
        weights = change.signal_weights
        self.rules.check_weights(of, has_some=weights is not UNCHANGED and bool(weights))
        return MonitorChange(**said)  # type: ignore[arg-type]  # as MonitorChange has them


@dataclass(frozen=True, slots=True)
class PauseMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(project, monitor, lambda known: known.paused(now))


@dataclass(frozen=True, slots=True)
class ResumeMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(project, monitor, lambda known: known.resumed(now))


@dataclass(frozen=True, slots=True)
class DeleteMonitor:
    monitors: Monitors

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> None:
        """Its runs stay, of no monitor. Raises NotFound."""
        if not await self.monitors.delete(project, monitor):
            raise NotFound("Monitor not found")


@dataclass(frozen=True, slots=True)
class ListMonitorRuns:
    monitors: Monitors

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[RunProgress]:
        """Newest first. Raises NotFound."""
        return await self.monitors.runs(project, monitor, window)
