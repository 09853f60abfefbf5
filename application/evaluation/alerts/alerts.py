"""Alerts: creating, changing, previewing and evaluating them, and deleting their history."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from application.batches import run_in_batches
from application.evaluation.ports.alerts import (
    BASELINE_RUNS,
    FINISHED_RUNS_MAX,
    PREVIEW_RUNS,
    AlertEvaluation,
    AlertNotification,
    Alerts,
    FinishedRun,
    MonitorSlot,
    Webhooks,
)
from application.evaluation.ports.custom_metrics import CustomMetrics
from application.evaluation.ports.monitors import Monitors
from application.ports import Clock
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.alerts.alert import (
    Alert,
    AlertChange,
    AlertProgress,
    AlertRule,
    AlertRuleChange,
    PreviewedRun,
    RunMetricStats,
    preview_rule,
)
from domain.evaluation.alerts.alert_message import AlertNames, alert_text, monitor_url
from domain.evaluation.custom_metrics.custom_metric import CustomMetric
from domain.evaluation.metrics.metric import THRESHOLD
from domain.evaluation.metrics.registry import METRIC_REGISTRY
from domain.evaluation.monitors.monitor import Monitor
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId, RunId

READS_MAX: Final = 100  # of one round, with FINISHED_RUNS_MAX runs each
UNAVAILABLE_MAX: Final = 8  # of one round: each may have waited for a timeout
NO_DATA_VALUE: Final = 1.0  # of the figure NO_DATA while data is missing
CHANGE_EVENT: Final = "alert.changed"
_RUNS_READ: Final = PREVIEW_RUNS + BASELINE_RUNS  # a drop of the earliest needs those before it

type OnAlertFault = Callable[[FinishedRun | MonitorSlot, Exception], None]
"""Logs a run or slot that couldn't be evaluated, and why. It is retried."""


@dataclass(frozen=True, slots=True)
class CreateAlert:
    alerts: Alerts
    monitors: Monitors
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        monitor: MonitorId,
        new: UUID,
        rule: AlertRule,
        *,
        audit: AuditEntry | None = None,
    ) -> Alert:
        """The alert, or the one that has the id `new` already; its first state is OK.

        Raises NotFound, Invalid for a metric that the monitor doesn't have, and Conflict if it has
        too many alerts.
        """
        check_metric(rule, await self.monitors.get(project, monitor))
        now = self.clock()
        return await self.alerts.create(
            Alert(
                id=new,
                project_id=project,
                monitor_id=monitor,
                rule=rule,
                watch=AlertProgress(since=now),
                created_at=now,
            ),
            audit=audit,
        )


@dataclass(frozen=True, slots=True)
class ChangeAlert:
    alerts: Alerts

    async def __call__(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        change: AlertRuleChange,
        *,
        audit: AuditEntry | None = None,
    ) -> Alert:
        """The changed alert; its next run is evaluated by the new rule.

        Raises NotFound, and Invalid if `clear_at` and threshold don't fit each other.
        """
        return await self.alerts.edit(
            project, monitor, alert, lambda one: one.changed(change), audit=audit
        )


@dataclass(frozen=True, slots=True)
class PreviewAlert:
    alerts: Alerts
    monitors: Monitors
    custom: CustomMetrics

    async def __call__(
        self, project: ProjectId, monitor: MonitorId, rule: AlertRule
    ) -> Sequence[PreviewedRun]:
        """The states that an alert with this rule would have had over the last PREVIEW_RUNS runs.

        The earliest first, starting with the state OK; stores nothing. Raises NotFound, and Invalid
        for a metric that the monitor doesn't have.
        """
        known = await self.monitors.get(project, monitor)
        check_metric(rule, known)
        custom = await self.custom.by_names(project, [rule.metric])
        threshold = threshold_of(rule.metric, custom)
        runs = await self.alerts.finished_run_stats(known, rule.metric, threshold, _RUNS_READ)
        return preview_rule(rule, runs, PREVIEW_RUNS, BASELINE_RUNS)


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The contents of messages about the alerts of a monitor, besides the change."""

    names: AlertNames
    url: str | None


@dataclass(frozen=True, slots=True)
class EvaluateAlerts:
    """Evaluates the alerts of monitors after their finished runs, and after slots without a run.

    A run or slot that fails to evaluate delays no other monitor's.
    """

    alerts: Alerts
    custom: CustomMetrics
    on_fault: OnAlertFault
    clock: Clock
    public_url: str | None = None  # of the service, for links in messages

    async def __call__(self) -> int:
        """The number evaluated. Raises Unavailable; other evaluations stay.

        It is raised once all runs and slots were tried, so that one whose results take too long to
        read delays no other monitor, or once UNAVAILABLE_MAX of them failed, as in an outage.
        """
        evaluated, last = 0, None
        failures = list[Unavailable]()
        for _ in range(READS_MAX):
            runs = await self.alerts.list_finished_runs(last)
            for run in runs:
                evaluated += await self._safely(run, self._evaluate(run), failures)
            if len(runs) < FINISHED_RUNS_MAX:
                break
            last = runs[-1]
        for slot in await self.alerts.list_passed_slots(self.clock()):
            evaluated += await self._safely(slot, self._evaluate_slot(slot), failures)
        if failures:
            raise failures[0]
        return evaluated

    async def _safely(
        self,
        ended: FinishedRun | MonitorSlot,
        evaluation: Awaitable[bool],
        failures: list[Unavailable],
    ) -> bool:
        try:
            return await evaluation
        except Unavailable as failure:
            failures.append(failure)
            if len(failures) == UNAVAILABLE_MAX:
                raise
            return False
        except Exception as fault:  # noqa: BLE001 - it is reported and retried, and affects no other
            self.on_fault(ended, fault)
            return False

    async def _evaluate_slot(self, slot: MonitorSlot) -> bool:
        """Whether the slot was quiet, without a run. That counts as no data."""
        now = self.clock()
        if not slot.quiet:
            await self.alerts.apply_slot(slot, evaluate_none, now)
            return False
        shown = await self._context(slot.project, slot.monitor)

        def evaluate(alerts: Sequence[Alert]) -> Sequence[AlertEvaluation]:
            return [evaluate_alert(one, NO_DATA_VALUE, None, now, shown) for one in alerts]

        return await self.alerts.apply_slot(slot, evaluate, now)

    async def _evaluate(self, ended: FinishedRun) -> bool:
        try:
            alerts = await self.alerts.by_monitor(ended.project, ended.monitor)
        except NotFound:  # the monitor was removed meanwhile
            return False
        if not alerts:  # most monitors have none
            return await self.alerts.apply_run(ended, evaluate_none, self.clock())
        metrics = sorted({one.rule.metric for one in alerts})
        custom = await self.custom.by_names(ended.project, metrics)
        stats = {
            metric: await self.alerts.metric_stats(ended, metric, threshold_of(metric, custom))
            for metric in metrics
        }
        now = self.clock()
        shown = await self._context(ended.project, ended.monitor)
        return await self.alerts.apply_run(
            ended, lambda alerts: evaluate_alerts(ended, alerts, stats, now, shown), now
        )

    async def _context(self, project: ProjectId, monitor: MonitorId) -> MessageContext:
        names = await self.alerts.names(project, monitor)
        return MessageContext(names, monitor_url(self.public_url, project, monitor))


@dataclass(frozen=True, slots=True)
class PruneAlertHistory:
    """Deletes deliveries and changes whose retention has ended, in batches."""

    alerts: Alerts
    webhooks: Webhooks
    deliveries_retention: timedelta
    changes_retention: timedelta
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rows. Raises Unavailable; earlier batches stay deleted."""
        now = self.clock()
        old_delivery, old_change = now - self.deliveries_retention, now - self.changes_retention
        deleted = await run_in_batches(lambda: self.webhooks.delete_deliveries(old_delivery))
        return deleted + await run_in_batches(lambda: self.alerts.delete_changes(old_change))


def check_metric(rule: AlertRule, monitor: Monitor) -> None:
    """Raises Invalid for a metric that the monitor doesn't have."""
    if rule.metric not in monitor.metrics:
        names = ", ".join(monitor.metrics)
        raise Invalid.semantic("metric", f"must be a metric of this monitor: {names}")


def threshold_of(metric: str, custom: Mapping[str, CustomMetric]) -> float:
    """The least score that is a success; for a custom metric, of its newest revision."""
    known = custom[metric].newest if metric in custom else METRIC_REGISTRY.get(metric)
    return THRESHOLD if known is None else known.threshold


def evaluate_none(_: Sequence[Alert]) -> Sequence[AlertEvaluation]:
    """Alerts that were created since they were read start with the next run or slot."""
    return ()


def evaluate_alerts(
    ended: FinishedRun,
    alerts: Sequence[Alert],
    stats: Mapping[str, Sequence[RunMetricStats]],
    now: datetime,
    shown: MessageContext,
) -> list[AlertEvaluation]:
    """The alerts after a run; skips those created since it ended, or since `stats` were read."""
    return [
        evaluate_alert(
            alert,
            alert.rule.value(metric_stats[0], metric_stats[1:]),
            ended.run,
            now,
            shown,
            stats=metric_stats[0],
        )
        for alert in alerts
        if alert.created_at <= ended.at and (metric_stats := stats.get(alert.rule.metric))
    ]


def evaluate_alert(
    alert: Alert,
    value: float | None,
    run: RunId | None,
    now: datetime,
    shown: MessageContext,
    *,
    stats: RunMetricStats | None = None,
) -> AlertEvaluation:
    """The alert after another value, with a notification if its state changed.

    `stats` are the results of the run, which the notification shows next to the value.
    """
    updated = replace(alert, watch=alert.watch.updated(alert.rule, value, now))
    if updated.watch.state is alert.watch.state:
        return AlertEvaluation(updated)
    change = AlertChange(
        id=uuid5(alert.id, str(run or now.isoformat())),
        project_id=alert.project_id,
        monitor_id=alert.monitor_id,
        alert_id=alert.id,
        run_id=run,
        before=alert.watch.state,
        after=updated.watch.state,
        value=value,
        scored=None if stats is None else stats.scored,
        failed=None if stats is None else stats.failed,
        skipped=None if stats is None else stats.skipped,
        at=now,
    )
    body = change_message(change, alert.rule, shown)
    return AlertEvaluation(updated, AlertNotification(change, body))


def change_message(change: AlertChange, rule: AlertRule, shown: MessageContext) -> bytes:
    """The message about a change: JSON, in the form that Standard Webhooks proposes."""
    return message(
        CHANGE_EVENT,
        change.at,
        {
            "change_id": str(change.id),
            "project_id": str(change.project_id),
            "project_name": shown.names.project,
            "monitor_id": str(change.monitor_id),
            "monitor_name": shown.names.monitor,
            "alert_id": str(change.alert_id),
            "run_id": None if change.run_id is None else str(change.run_id),
            "metric": rule.metric,
            "figure": rule.figure.value,
            "threshold": rule.threshold,
            "value": change.value,
            "scored": change.scored,
            "failed": change.failed,
            "skipped": change.skipped,
            "before": change.before.value,
            "state": change.after.value,
            "url": shown.url,
        },
        alert_text(change, rule, shown.names, shown.url),
    )


def message(kind: str, at: datetime, data: Mapping[str, object], text: str) -> bytes:
    """`text` says the same for people. Slack shows a top-level member of this name."""
    body = {"type": kind, "timestamp": at.isoformat(), "data": data, "text": text}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
