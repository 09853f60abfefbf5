"""Alerts, webhooks, and a sender that keeps what it is given, in memory."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.memory.store import MemoryStore, StoredRun, by_creation, delete_rows, newest_page
from application.evaluation.ports.alerts import (
    BASELINE_RUNS,
    DELIVERIES_PER_WEBHOOK_MAX,
    DELIVERY_LEASE,
    FINISHED_RUNS_MAX,
    ORDER_WAIT_MAX,
    SLOTS_MAX,
    WEBHOOKS_MAX,
    AlertEvaluation,
    AlertEvaluator,
    DeliveryResult,
    FinishedRun,
    MonitorSlot,
    deliveries_for,
)
from domain.errors import Conflict, NotFound
from domain.evaluation.agreement.calibration import judge_score
from domain.evaluation.alerts.alert import (
    RULES_MAX,
    Alert,
    AlertChange,
    AlertFigure,
    AlertState,
    FinishedRunStats,
    RunMetricStats,
)
from domain.evaluation.alerts.alert_message import AlertNames
from domain.evaluation.alerts.webhook import Delivery, Webhook
from domain.evaluation.monitors.monitor import (
    Monitor,
)
from domain.evaluation.runs.run import EvalRun, RunStatus
from domain.evaluation.scores.analytics import run_fingerprint
from domain.evaluation.scores.score import ScoreOutcome
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest, Position, SortOrder, paginate

RECEIVED: Final = DeliveryResult(204)
ROWS_PER_DELETE: Final = 1_000  # rows that one call deletes


@dataclass(frozen=True, slots=True)
class MemoryAlerts:
    store: MemoryStore

    async def create(self, alert: Alert, *, audit: AuditEntry | None = None) -> Alert:
        known = await self.by_monitor(alert.project_id, alert.monitor_id)
        key = (alert.project_id, alert.id)
        if key not in self.store.alerts and len(known) >= RULES_MAX:
            raise Conflict(f"A monitor has {RULES_MAX} alerts at most: delete one first")
        self.store.record(None if key in self.store.alerts else audit)
        return self.store.alerts.setdefault(key, alert)

    async def by_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        self.store.monitors.require(project, monitor)
        return self.store.alerts_of(project, monitor)

    async def page(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[Alert]:
        ours = self.store.alerts.in_project(project)
        return newest_page([one for one in ours if state in {None, one.watch.state}], window)

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        edit: Callable[[Alert], Alert],
        *,
        audit: AuditEntry | None = None,
    ) -> Alert:
        known = self.store.alerts.require(project, alert)
        if known.monitor_id != monitor:
            raise NotFound("Alert not found")
        edited = edit(known)
        self.store.record(None if edited == known else audit)
        self.store.alerts[project, alert] = edited
        return edited

    async def names(self, project: ProjectId, monitor: MonitorId) -> AlertNames:
        ours, theirs = self.store.projects.get(project), self.store.monitors.find(project, monitor)
        return AlertNames(
            str(project) if ours is None else ours.name,
            str(monitor) if theirs is None else theirs.name,
        )

    async def delete(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        *,
        audit: AuditEntry | None = None,
    ) -> bool:
        if all(one.id != alert for one in self.store.alerts_of(project, monitor)):
            return False
        self.store.delete_alert(project, alert)
        self.store.record(audit)
        return True

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        await self.by_monitor(project, monitor)
        ours = self.store.alert_changes.in_project(project)
        found = [one for one in ours if one.monitor_id == monitor]
        return paginate(found, lambda one: Position(one.at, one.id), SortOrder.DESC, window)

    async def changes_of_project(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[AlertChange]:
        ours = self.store.alert_changes.in_project(project)
        found = [one for one in ours if state in {None, one.after}]
        return paginate(found, lambda one: Position(one.at, one.id), SortOrder.DESC, window)

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        found = self._unassessed()
        following = [one for one in found if after is None or _run_order(one) > _run_order(after)]
        return sorted(following, key=_run_order)[:FINISHED_RUNS_MAX]

    def _unassessed(self) -> list[FinishedRun]:
        return [
            FinishedRun(run.project_id, run.monitor_id, run.id, run.target_type, run.completed_at)
            for key, run in ((key, stored.run) for key, stored in self.store.runs.live())
            if key not in self.store.assessed
            and _has_finished(run)
            and run.monitor_id is not None
            and run.completed_at is not None
        ]

    async def metric_stats(
        self, ended: FinishedRun, metric: str, threshold: float
    ) -> Sequence[RunMetricStats]:
        runs = self._finished_runs(ended.project, ended.monitor)
        upto = [one.id for one in runs].index(ended.run) + 1 if self._run(ended) else 0
        lately = reversed(runs[:upto][-BASELINE_RUNS - 1 :])
        return [self._aggregate(one, metric, threshold) for one in lately]

    async def finished_run_stats(
        self, monitor: Monitor, metric: str, threshold: float, limit: int
    ) -> Sequence[FinishedRunStats]:
        lately = [*reversed(self._finished_runs(monitor.project_id, monitor.id))][:limit]
        return [
            FinishedRunStats(
                run=one.id,
                completed_at=one.completed_at,
                stats=self._aggregate(one, metric, threshold),
            )
            for one in lately
            if one.completed_at is not None
        ]

    def _finished_runs(self, project: ProjectId, monitor: MonitorId) -> list[EvalRun]:
        """By creation."""
        runs = [one.run for one in self.store.runs_of(project)]
        return [one for one in runs if one.monitor_id == monitor and _has_finished(one)]

    async def apply_run(self, ended: FinishedRun, assess: AlertEvaluator, now: datetime) -> bool:
        key = (ended.project, ended.run)
        if key in self.store.assessed or self._run(ended) is None or self._is_early(ended, now):
            return False
        found = assess(self.store.alerts_of(ended.project, ended.monitor))
        self.store.assessed[key] = now
        self._store_evaluations(ended.project, found, now)
        return True

    def _is_early(self, ended: FinishedRun, now: datetime) -> bool:
        """Whether an earlier run has to be assessed first."""
        own = (ended.at, ended.run)
        return any(
            (one.at, one.run) < own and one.at > now - ORDER_WAIT_MAX
            for one in self._unassessed()
            if (one.project, one.monitor) == (ended.project, ended.monitor)
        )

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        found = []
        for (project, of), alert in sorted(self.store.alerts.items()):
            monitor = self.store.monitors.find(project, alert.monitor_id)
            awaited = self.store.alert_slots.get((project, of))
            if alert.rule.figure is not AlertFigure.NO_DATA or monitor is None:
                continue
            if awaited != monitor.next_run_at:
                quiet = awaited is not None and monitor.skipped_slot(awaited, now)
                found.append(
                    MonitorSlot(project, monitor.id, of, awaited, monitor.next_run_at, quiet)
                )
        return found[:SLOTS_MAX]

    async def apply_slot(self, slot: MonitorSlot, assess: AlertEvaluator, now: datetime) -> bool:
        key = (slot.project, slot.alert)
        alert = self.store.alerts.find(*key)
        if alert is None or self.store.alert_slots.get(key) != slot.awaited:
            return False
        found = assess([alert]) if slot.quiet else []
        self.store.alert_slots[key] = slot.following
        self._store_evaluations(slot.project, found, now)
        return True

    async def delete_changes(self, before: datetime) -> int:
        changes = self.store.alert_changes
        return len(delete_rows(changes, lambda _, one: one.at < before, ROWS_PER_DELETE))

    def _store_evaluations(
        self, project: ProjectId, found: Sequence[AlertEvaluation], now: datetime
    ) -> None:
        webhooks = self.store.webhooks.in_project(project)
        for one in found:
            self.store.alerts[project, one.alert.id] = one.alert
            if one.notice is not None:
                change = one.notice.change
                self.store.alert_changes[project, change.id] = change
                for delivery in deliveries_for(one.notice, webhooks, now):
                    self.store.deliveries[project, delivery.id] = delivery

    def _run(self, ended: FinishedRun) -> StoredRun | None:
        stored = self.store.runs.find(ended.project, ended.run)
        if stored is None or not _has_finished(stored.run):
            return None
        return stored if stored.run.monitor_id == ended.monitor else None

    def _aggregate(self, run: EvalRun, metric: str, threshold: float) -> RunMetricStats:
        scores = [
            one for one in self.store.scores_of_run(run.project_id, run.id) if one.name == metric
        ]
        outcomes = Counter(one.outcome for one in scores)
        measured = [one for one in scores if judge_score(one) is not None]
        return RunMetricStats.from_scores(
            [number for one in measured if (number := judge_score(one)) is not None],
            failed=outcomes[ScoreOutcome.FAILED],
            skipped=outcomes[ScoreOutcome.SKIPPED],
            threshold=threshold,
            fingerprints=[text for one in measured if (text := run_fingerprint(one)) is not None],
        )


def _run_order(ended: FinishedRun) -> tuple[datetime, ProjectId, RunId]:
    return ended.at, ended.project, ended.run


def _has_finished(run: EvalRun) -> bool:
    is_over = run.status in {RunStatus.COMPLETED, RunStatus.FAILED}
    return is_over and run.monitor_id is not None


@dataclass(frozen=True, slots=True)
class MemoryWebhooks:
    store: MemoryStore

    async def create(self, webhook: Webhook, *, audit: AuditEntry | None = None) -> Webhook:
        self.store.check_exists(webhook.project_id)
        key = (webhook.project_id, webhook.id)
        if key not in self.store.webhooks and len(await self.all(key[0])) >= WEBHOOKS_MAX:
            raise Conflict(f"A project has {WEBHOOKS_MAX} webhooks at most: delete one first")
        self.store.record(None if key in self.store.webhooks else audit)
        return self.store.webhooks.setdefault(key, webhook)

    async def all(self, project: ProjectId) -> Sequence[Webhook]:
        return [
            replace(one, secret=None)
            for one in by_creation(self.store.webhooks.in_project(project))
        ]

    async def delete(
        self, project: ProjectId, webhook: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        if self.store.webhooks.find(project, webhook) is None:
            return False
        deliveries = self.store.deliveries
        for gone in delete_rows(
            deliveries, lambda key, one: (key[0], one.webhook_id) == (project, webhook)
        ):
            self.store.deliveries_held.pop((project, gone.id), None)
        del self.store.webhooks[project, webhook]
        self.store.record(audit)
        return True

    async def enqueue(self, delivery: Delivery) -> None:
        self.store.webhooks.require(delivery.project_id, delivery.webhook_id)
        self.store.deliveries.setdefault((delivery.project_id, delivery.id), delivery)

    async def deliveries(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        self.store.webhooks.require(project, webhook)
        ours = self.store.deliveries.in_project(project)
        return newest_page([one for one in ours if one.webhook_id == webhook], window)

    async def claim_due(self, now: datetime, most: int) -> Sequence[tuple[Delivery, Webhook]]:
        held = [one for one in self.store.deliveries.values() if self._is_held(one, now)]
        held_by_webhook = Counter((one.project_id, one.webhook_id) for one in held)
        held_by_project = Counter(one.project_id for one in held)
        due = [
            (at, one.project_id, one.id)
            for one in self.store.deliveries.values()
            if (at := one.next_attempt_at) is not None
            and at <= now
            and not self._is_held(one, now)
            and self.store.webhooks.find(one.project_id, one.webhook_id) is not None
        ]
        in_turn: list[tuple[int, tuple[datetime, ProjectId, UUID]]] = []
        for key in sorted(due):
            webhook = key[1], self.store.deliveries[key[1:]].webhook_id
            if held_by_webhook[webhook] < DELIVERIES_PER_WEBHOOK_MAX:
                held_by_webhook[webhook] += 1
                held_by_project[key[1]] += 1
                in_turn.append((held_by_project[key[1]], key))
        found: list[tuple[Delivery, Webhook]] = []
        for _, project, of in sorted(key for _, key in sorted(in_turn)[:most]):
            delivery = self.store.deliveries[project, of]
            self.store.deliveries_held[project, of] = now + DELIVERY_LEASE
            found.append((delivery, self.store.webhooks[project, delivery.webhook_id]))
        return found

    async def record_attempt(self, delivery: Delivery) -> None:
        key = (delivery.project_id, delivery.id)
        known = self.store.deliveries.find(*key)
        if known is None or known.delivered_at is not None:
            return
        self.store.deliveries_held.pop(key, None)
        self.store.deliveries[key] = replace(
            known,
            attempts=delivery.attempts,
            status=delivery.status,
            error=delivery.error,
            next_attempt_at=delivery.next_attempt_at,
            delivered_at=delivery.delivered_at,
        )

    async def delete_deliveries(self, before: datetime) -> int:
        gone = delete_rows(
            self.store.deliveries,
            lambda _, one: one.created_at < before and one.next_attempt_at is None,
            ROWS_PER_DELETE,
        )
        return len(gone)

    def _is_held(self, delivery: Delivery, now: datetime) -> bool:
        until = self.store.deliveries_held.get((delivery.project_id, delivery.id))
        return until is not None and until > now


@dataclass(frozen=True, slots=True)
class MemoryWebhookSender:
    """Keeps what was sent, in order. `answers` says how a webhook takes it: well, by default."""

    answers: Callable[[Webhook], DeliveryResult] = lambda _: RECEIVED
    sent: list[tuple[Delivery, Webhook, datetime]] = field(default_factory=list)

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        self.sent.append((delivery, webhook, now))
        return self.answers(webhook)
