"""Monitors: creating, changing, pausing and resuming them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from application.evaluation.ports.monitors import Monitors
from application.evaluation.runs.run_rules import CATEGORIES, RunRequest, RunRules
from application.ports import Clock
from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import (
    CustomMetric,
    SelectedMetrics,
    select_metrics,
)
from domain.evaluation.monitors.monitor import Monitor, MonitorChange, Selection
from domain.evaluation.monitors.schedule import (
    normalize_cadence,
    parse_schedule,
    upcoming_slots,
)
from domain.evaluation.runs.run import TargetType
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId
from domain.tracing.change import UNCHANGED, given_fields
from domain.tracing.usage import Pricing

JUDGE_FIELDS: Final = frozenset({"metrics", "model", "votes", "max_cost_usd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorRequest:
    """A request for a monitor: the options of its runs, and their schedule."""

    name: str
    target_type: TargetType
    run: RunRequest
    selection: Selection
    cadence: str
    only_if_changed: bool = True


def _check_weights(target_type: TargetType, *, has_some: bool) -> None:
    """Raises Invalid for weights on a monitor over traces."""
    if has_some and target_type is TargetType.TRACE:
        raise Invalid.semantic("signal_weights", "are of monitors over sessions only")


def _check_judges(
    rules: RunRules, monitor: Monitor, custom: Mapping[str, CustomMetric], pricing: Pricing
) -> None:
    """Raises Invalid as `RunRules.check_judges`."""
    definitions = tuple(custom[name].newest for name in monitor.metrics if name in custom)
    rules.check_judges(SelectedMetrics(monitor.metrics, definitions), pricing, monitor)


@dataclass(frozen=True, slots=True)
class CreateMonitor:
    monitors: Monitors
    rules: RunRules
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: MonitorId,
        request: MonitorRequest,
        *,
        audit: AuditEntry | None = None,
    ) -> Monitor:
        """The monitor, or the one that has the id `new` already; its first slot counts from now.

        Raises Invalid for an unknown metric, a model that isn't allowed, a wrong cadence, weights
        of a monitor over traces, votes, and the budget of a run.
        """
        names, category = request.run.metrics, CATEGORIES[request.target_type]
        custom = await self.rules.catalogue.find_custom(project, names, category)
        metrics = select_metrics(names, category, custom).names
        _check_weights(request.target_type, has_some=bool(request.run.signal_weights))
        now = self.clock()
        monitor = Monitor(
            id=new,
            project_id=project,
            name=request.name,
            target_type=request.target_type,
            metrics=metrics,
            selection=request.selection,
            signal_weights=request.run.signal_weights,
            sampling_rate=request.run.sampling_rate,
            model=request.run.model,
            votes=request.run.votes,
            max_cost_usd=request.run.max_cost_usd,
            cadence=normalize_cadence(request.cadence),
            only_if_changed=request.only_if_changed,
            settled_only=request.run.settled_only,
            next_run_at=parse_schedule(request.cadence).next_after(now),
            created_at=now,
            updated_at=now,
        )
        pricing = await self.rules.prices.for_project(project)
        _check_judges(self.rules, monitor, custom, pricing)
        return await self.monitors.create(monitor, audit=audit)


@dataclass(frozen=True, slots=True)
class ChangeMonitor:
    monitors: Monitors
    rules: RunRules
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        monitor: MonitorId,
        change: MonitorChange,
        *,
        audit: AuditEntry | None = None,
    ) -> Monitor:
        """The monitor after `change`, whose cadence and metrics are as the client sent them.

        Raises NotFound, and Invalid as CreateMonitor does.
        """
        now = self.clock()
        before = await self.monitors.get(project, monitor)
        names = before.metrics if change.metrics is UNCHANGED else change.metrics
        category = CATEGORIES[before.target_type]
        custom = await self.rules.catalogue.find_custom(project, names, category)
        pricing = await self.rules.prices.for_project(project)

        def edit(known: Monitor) -> Monitor:
            changed = known.changed(_validate(known.target_type, change, custom), now)
            if JUDGE_FIELDS & given_fields(change).keys():
                _check_judges(self.rules, changed, custom, pricing)
            return changed

        return await self.monitors.edit(project, monitor, edit, audit=audit)


def _validate(
    target_type: TargetType, change: MonitorChange, custom: Mapping[str, CustomMetric]
) -> MonitorChange:
    given = given_fields(change)
    if change.metrics is not UNCHANGED:
        given["metrics"] = select_metrics(change.metrics, CATEGORIES[target_type], custom).names
    if change.cadence is not UNCHANGED:
        given["cadence"] = normalize_cadence(change.cadence)
    weights = change.signal_weights
    _check_weights(target_type, has_some=weights is not UNCHANGED and bool(weights))
    return MonitorChange(**given)


@dataclass(frozen=True, slots=True)
class PauseMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, *, audit: AuditEntry | None = None
    ) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(
            project, monitor, lambda monitor: monitor.paused(now), audit=audit
        )


@dataclass(frozen=True, slots=True)
class ResumeMonitor:
    monitors: Monitors
    clock: Clock

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, *, audit: AuditEntry | None = None
    ) -> Monitor:
        """Raises NotFound."""
        now = self.clock()
        return await self.monitors.edit(
            project, monitor, lambda monitor: monitor.resumed(now), audit=audit
        )


@dataclass(frozen=True, slots=True)
class PreviewCadence:
    clock: Clock

    def __call__(self, cadence: str, count: int) -> Sequence[datetime]:
        """The next slots of a monitor that is created now. Raises Invalid, naming `cadence`."""
        return upcoming_slots(parse_schedule(cadence), self.clock(), count)
