"""Alerts: making them, listing what they saw, and looking at runs that have ended."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from application.evaluation.ports.alerts import (
    FINISHED_RUNS_MAX,
    AlertEvaluation,
    AlertNotification,
    Alerts,
    FinishedRun,
    MonitorSlot,
)
from application.evaluation.ports.custom_metrics import CustomMetrics
from application.evaluation.ports.monitors import Monitors
from application.ports import Clock
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.custom_metrics.custom_metric import CustomMetric
from domain.evaluation.metrics.metric import THRESHOLD
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.monitors.alert import (
    Alert,
    AlertChange,
    AlertProgress,
    AlertRule,
    RunMetricStats,
)
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest

LOOKS_MAX: Final = 100  # of one round: FINISHED_RUNS_MAX runs each
NOTHING: Final = 1.0  # the value of NO_DATA where there is none
CHANGED: Final = "alert.changed"

type OnAlertFault = Callable[[FinishedRun, Exception], None]
"""Tells whoever runs the process which run was not looked at, and why; it is tried again."""


@dataclass(frozen=True, slots=True)
class CreateAlert:
    alerts: Alerts
    monitors: Monitors
    clock: Clock

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, new: UUID, rule: AlertRule
    ) -> Alert:
        """The alert, or the one that has the id `new` already; it is OK until a run says otherwise.

        Raises NotFound, Invalid for a metric that the monitor doesn't measure, and Conflict where
        it has too many.
        """
        known = await self.monitors.get(project, monitor)
        if rule.metric not in known.metrics:
            names = ", ".join(known.metrics)
            raise Invalid.field("metric", f"must be a metric of this monitor: {names}")
        now = self.clock()
        return await self.alerts.create(
            Alert(
                id=new,
                project_id=project,
                monitor_id=monitor,
                rule=rule,
                watch=AlertProgress(since=now),
                created_at=now,
            )
        )


@dataclass(frozen=True, slots=True)
class ListAlerts:
    alerts: Alerts

    async def __call__(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        """All of a monitor, by creation. Raises NotFound."""
        return await self.alerts.of_monitor(project, monitor)


@dataclass(frozen=True, slots=True)
class DeleteAlert:
    alerts: Alerts

    async def __call__(self, project: ProjectId, monitor: MonitorId, alert: UUID) -> None:
        """Its changes go along. Raises NotFound."""
        if not await self.alerts.delete(project, monitor, alert):
            raise NotFound("Alert not found")


@dataclass(frozen=True, slots=True)
class ListAlertChanges:
    alerts: Alerts

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        """Of all alerts of a monitor, newest first. Raises NotFound."""
        return await self.alerts.changes(project, monitor, window)


@dataclass(frozen=True, slots=True)
class EvaluateAlerts:
    """One look at the runs of monitors that have ended, and at slots that had none.

    One that fails holds up no other.
    """

    alerts: Alerts
    custom: CustomMetrics
    on_fault: OnAlertFault
    clock: Clock

    async def __call__(self) -> int:
        """How many there were. Raises Unavailable; what was looked at before that stays so."""
        looked, last = 0, None
        for _ in range(LOOKS_MAX):
            found = await self.alerts.list_finished_runs(last)
            for one in found:
                looked += await self._guarded(one)
            if len(found) < FINISHED_RUNS_MAX:
                break
            last = found[-1]
        for slot in await self.alerts.list_passed_slots(self.clock()):
            looked += await self._passed(slot)
        return looked

    async def _passed(self, slot: MonitorSlot) -> bool:
        """Whether a slot was quiet, which is no data as well: there is no run to look at then."""
        now = self.clock()

        def assess(there: Sequence[Alert]) -> Sequence[AlertEvaluation]:
            return [after(one, NOTHING, None, now) for one in there]

        return await self.alerts.apply_slot(slot, assess, now) and slot.quiet

    async def _guarded(self, ended: FinishedRun) -> bool:
        try:
            return await self._assessed(ended)
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with one: it is told, and tried again
            self.on_fault(ended, fault)
            return False

    async def _assessed(self, ended: FinishedRun) -> bool:
        try:
            alerts = await self.alerts.of_monitor(ended.project, ended.monitor)
        except NotFound:  # the monitor was removed meanwhile
            return False
        metrics = sorted({one.rule.metric for one in alerts})
        own = await self.custom.by_names(ended.project, metrics)
        found = {
            metric: await self.alerts.metric_stats(ended, metric, threshold_of(metric, own))
            for metric in metrics
        }
        now = self.clock()
        return await self.alerts.apply_run(
            ended, lambda there: assessed(ended, there, found, now), now
        )


def threshold_of(metric: str, own: Mapping[str, CustomMetric]) -> float:
    """From where on a score is a success; of a project's `own` metrics by the newest revision."""
    known = own[metric].newest if metric in own else METRIC_REGISTRY.get(metric)
    return THRESHOLD if known is None else known.threshold


def assessed(
    ended: FinishedRun,
    alerts: Sequence[Alert],
    found: Mapping[str, Sequence[RunMetricStats]],
    now: datetime,
) -> list[AlertEvaluation]:
    """How alerts stand after a run; those that were made since it was measured are passed by."""
    return [
        after(alert, alert.rule.value(measured[0], measured[1:]), ended.run, now)
        for alert in alerts
        if (measured := found.get(alert.rule.metric))
    ]


def after(alert: Alert, value: float | None, run: RunId | None, now: datetime) -> AlertEvaluation:
    """How an alert stands once there is another value."""
    turned = replace(alert, watch=alert.watch.updated(alert.rule, value, now))
    if turned.watch.state is alert.watch.state:
        return AlertEvaluation(turned)
    change = AlertChange(
        id=uuid5(alert.id, str(run or now.isoformat())),
        project_id=alert.project_id,
        monitor_id=alert.monitor_id,
        alert_id=alert.id,
        run_id=run,
        before=alert.watch.state,
        after=turned.watch.state,
        value=value,
        at=now,
    )
    return AlertEvaluation(turned, AlertNotification(change, message_of(change, alert.rule)))


def message_of(change: AlertChange, rule: AlertRule) -> bytes:
    """What webhooks are sent of a change: JSON, in the form that Standard Webhooks proposes."""
    return message(
        CHANGED,
        change.at,
        {
            "change_id": str(change.id),
            "project_id": str(change.project_id),
            "monitor_id": str(change.monitor_id),
            "alert_id": str(change.alert_id),
            "run_id": None if change.run_id is None else str(change.run_id),
            "metric": rule.metric,
            "figure": rule.figure.value,
            "threshold": rule.threshold,
            "value": change.value,
            "before": change.before.value,
            "state": change.after.value,
        },
    )


def message(kind: str, at: datetime, told: Mapping[str, object]) -> bytes:
    said = {"type": kind, "timestamp": at.isoformat(), "data": told}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
