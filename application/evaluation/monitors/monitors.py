"""Monitors: creating, changing, pausing, resuming and deleting them."""

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
from domain.evaluation.monitors.monitor import Monitor, MonitorChange, Selection
from domain.evaluation.monitors.schedule import normalize_cadence, parse_schedule
from domain.evaluation.runs.run import TargetType
from domain.ids import MonitorId, ProjectId
from domain.tracing.change import UNCHANGED, said
from domain.tracing.usage import Pricing

JUDGE_FIELDS: Final = frozenset({"metrics", "model", "votes", "max_cost_usd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRequest:
    """A request for a monitor: the options of its runs, and their schedule."""

    name: str
    of: TargetType
    run: RunRequest
    selection: Selection
    cadence: str
    only_if_changed: bool = True


@dataclass(frozen=True, slots=True)
class MonitorRules:
    """Validates monitors. A service that creating and changing share."""

    models: JudgeModels
    catalogue: MetricCatalogue
    spending: BudgetRules

    async def find_custom(
        self, project: ProjectId, of: TargetType, metrics: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        """The custom metrics among the names. Raises Invalid for too many names."""
        return await self.catalogue.find_custom(project, metrics, CATEGORIES[of])

    def validate_metrics(
        self, of: TargetType, metrics: Sequence[str], custom: Mapping[str, CustomMetric]
    ) -> tuple[str, ...]:
        """The names without duplicates. Raises Invalid, naming `metrics.<i>`."""
        return select_metrics(metrics, CATEGORIES[of], custom).names

    def check_weights(self, of: TargetType, *, has_some: bool) -> None:
        """Raises Invalid for weights on a monitor over traces."""
        if has_some and of is TargetType.TRACE:
            raise Invalid.field("signal_weights", "are of monitors over sessions only")

    def check_judge_models(
        self, monitor: Monitor, custom: Mapping[str, CustomMetric], pricing: Pricing
    ) -> None:
        """Raises Invalid for a model that isn't allowed, for votes, and the budget of a run.

        Also if a custom metric needs a judge that isn't available.
        """
        model = self.models.select(monitor.model)
        definitions = tuple(custom[name].newest for name in monitor.metrics if name in custom)
        selected = SelectedMetrics(monitor.metrics, definitions)
        check_judge_models(selected, model, self.models)
        judges = selected.judges(model)
        self.spending.check(pricing, monitor.votes, monitor.max_cost_usd, *judges)


@dataclass(frozen=True, slots=True)
class CreateMonitor:
    monitors: Monitors
    rules: MonitorRules
    clock: Clock

    async def __call__(
        self, project: ProjectId, new: MonitorId, request: MonitorRequest
    ) -> Monitor:
        """The monitor, or the one that has the id `new` already; its first slot counts from now.

        Raises Invalid for an unknown metric, a model that isn't allowed, a wrong cadence, weights
        of a monitor over traces, votes, and the budget of a run.
        """
        custom = await self.rules.find_custom(project, request.of, request.run.metrics)
        metrics = self.rules.validate_metrics(request.of, request.run.metrics, custom)
        self.rules.check_weights(request.of, has_some=bool(request.run.signal_weights))
        now = self.clock()
        monitor = Monitor(
            id=new,
            project_id=project,
            name=request.name,
            target_type=request.of,
            metrics=metrics,
            selection=request.selection,
            signal_weights=request.run.signal_weights,
            sampling_rate=request.run.sampling_rate,
            model=request.run.model,
            votes=request.run.votes,
            max_cost_usd=request.run.max_cost_usd,
            cadence=normalize_cadence(request.cadence),
            only_if_changed=request.only_if_changed,
            next_run_at=parse_schedule(request.cadence).next_after(now),
            created_at=now,
            updated_at=now,
        )
        self.rules.check_judge_models(
            monitor, custom, await self.rules.spending.prices.for_project(project)
        )
        return await self.monitors.create(monitor)


@dataclass(frozen=True, slots=True)
class ChangeMonitor:
    monitors: Monitors
    rules: MonitorRules
    clock: Clock

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, change: MonitorChange
    ) -> Monitor:
        """The monitor after `change`, whose cadence and metrics are as the client sent them.

        Raises NotFound, and Invalid as CreateMonitor does.
        """
        now = self.clock()
        before = await self.monitors.get(project, monitor)
        names = before.metrics if change.metrics is UNCHANGED else change.metrics
        custom = await self.rules.find_custom(project, before.target_type, names)
        pricing = await self.rules.spending.prices.for_project(project)

        def edit(known: Monitor) -> Monitor:
            changed = known.changed(self._validate(known.target_type, change, custom), now)
            if JUDGE_FIELDS & said(change).keys():
                self.rules.check_judge_models(changed, custom, pricing)
            return changed

        return await self.monitors.edit(project, monitor, edit)

    def _validate(
        self, of: TargetType, change: MonitorChange, custom: Mapping[str, CustomMetric]
    ) -> MonitorChange:
        given = said(change)
        if change.metrics is not UNCHANGED:
            given["metrics"] = self.rules.validate_metrics(of, change.metrics, custom)
        if change.cadence is not UNCHANGED:
            given["cadence"] = normalize_cadence(change.cadence)
        weights = change.signal_weights
        self.rules.check_weights(of, has_some=weights is not UNCHANGED and bool(weights))
        return MonitorChange(**given)


@dataclass(frozen=True, slots=True)
class PauseMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(project, monitor, lambda monitor: monitor.paused(now))


@dataclass(frozen=True, slots=True)
class ResumeMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(project, monitor, lambda monitor: monitor.resumed(now))


@dataclass(frozen=True, slots=True)
class DeleteMonitor:
    monitors: Monitors

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> None:
        """Deletes the monitor; its runs stay, without a monitor. Raises NotFound."""
        if not await self.monitors.delete(project, monitor):
            raise NotFound("Monitor not found")
