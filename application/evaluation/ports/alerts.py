"""The ports of alerts: stored alerts, webhooks and their deliveries, and sending."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID, uuid5

from domain.evaluation.alerts.alert import (
    Alert,
    AlertChange,
    AlertState,
    FinishedRunStats,
    RunMetricStats,
)
from domain.evaluation.alerts.alert_message import AlertNames
from domain.evaluation.alerts.webhook import Delivery, Webhook
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.runs.run import TargetType
from domain.identity.audit import AuditEntry
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest

WEBHOOKS_MAX: Final = 20  # of a project
BASELINE_RUNS: Final = 5  # earlier runs that a drop is measured against
PREVIEW_RUNS: Final = 20  # the newest, in the preview of an alert
FINISHED_RUNS_MAX: Final = 100  # of one read
ORDER_WAIT_MAX: Final = timedelta(minutes=10)  # after its end, that a run delays later ones
SLOTS_MAX: Final = 1_000  # of one read
CONCURRENT_DELIVERIES_MAX: Final = 100
DELIVERIES_PER_WEBHOOK_MAX: Final = 5  # concurrently: a slow webhook leaves room for others
DELIVERIES_RETENTION: Final = timedelta(days=30)  # default of a setting
CHANGES_RETENTION: Final = timedelta(days=400)  # more than a year, to compare with the year before
DELIVERY_LEASE: Final = timedelta(minutes=1)  # longer than any attempt


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of a monitor that finished at `at`, not cancelled, and wasn't evaluated yet."""

    project: ProjectId
    monitor: MonitorId
    run: RunId
    target_type: TargetType
    at: datetime


@dataclass(frozen=True, slots=True)
class MonitorSlot:
    """A slot that a NO_DATA alert waited for and that has passed; `following` is the next one.

    `quiet`: the monitor used it and had nothing to run. `awaited` is None for the first slot.
    """

    project: ProjectId
    monitor: MonitorId
    alert: UUID
    awaited: datetime | None
    following: datetime | None
    quiet: bool


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """A change of state, and the message for every webhook of its project."""

    change: AlertChange
    body: bytes


@dataclass(frozen=True, slots=True)
class AlertEvaluation:
    """An alert after a run, with a notification if its state changed."""

    alert: Alert
    notice: AlertNotification | None = None


def deliveries_for(
    notice: AlertNotification, webhooks: Sequence[Webhook], now: datetime
) -> list[Delivery]:
    """One delivery of the notification for each webhook. Ids are derived, so repeats are equal."""
    return [
        Delivery(
            id=uuid5(notice.change.id, str(webhook.id)),
            project_id=webhook.project_id,
            webhook_id=webhook.id,
            change_id=notice.change.id,
            body=notice.body,
            next_attempt_at=now,
            created_at=now,
        )
        for webhook in webhooks
    ]


type AlertEvaluator = Callable[[Sequence[Alert]], Sequence[AlertEvaluation]]
"""Evaluates alerts after a run: a pure function, called once at most."""


class Alerts(Protocol):
    """The alerts of each project; three methods read across projects.

    Contract of Alerts: tests/contracts/evaluation/alerts/test_alerts.py. All raise
    Unavailable.
    """

    async def create(self, alert: Alert, *, audit: AuditEntry | None = None) -> Alert:
        """Stores it; if its id exists, returns the stored one unchanged.

        Raises NotFound without its monitor, Conflict beyond RULES_MAX of one monitor.
        """
        ...

    async def by_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        """The rules of a monitor by creation, at most RULES_MAX. Raises NotFound."""
        ...

    async def page(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[Alert]:
        """The alerts of all monitors of a project, by state; the newest first."""
        ...

    async def edit(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        edit: Callable[[Alert], Alert],
        *,
        audit: AuditEntry | None = None,
    ) -> Alert:
        """Stores the rule and progress of the edited alert. `edit` must be pure, and may raise.

        Concurrent edits and evaluations of an alert follow each other. Nothing, the audit entry
        included, is stored if it is unchanged. Raises NotFound, and what `edit` raises.
        """
        ...

    async def names(self, project: ProjectId, monitor: MonitorId) -> AlertNames:
        """The names for messages; where a row is missing, the id."""
        ...

    async def delete(
        self,
        project: ProjectId,
        monitor: MonitorId,
        alert: UUID,
        *,
        audit: AuditEntry | None = None,
    ) -> bool:
        """Deletes the alert and its changes; whether it existed."""
        ...

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        """The changes of all alerts of a monitor, newest first. Raises NotFound."""
        ...

    async def changes_of_project(
        self, project: ProjectId, state: AlertState | None, window: PageRequest
    ) -> Page[AlertChange]:
        """The changes of all alerts of a project to a state, newest first; None means any state."""
        ...

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        """The runs of all monitors that finished and weren't evaluated, the earliest first.

        At most FINISHED_RUNS_MAX; call again with the last one for more. Includes runs of monitors
        without alerts: a later alert starts with later runs. Excludes cancelled runs, which are
        incomplete.
        """
        ...

    async def metric_stats(
        self, ended: FinishedRun, metric: str, threshold: float
    ) -> Sequence[RunMetricStats]:
        """The results of the run in a metric, then those of up to BASELINE_RUNS runs before it.

        Runs of the same monitor, newest first, without cancelled ones.
        """
        ...

    async def finished_run_stats(
        self, monitor: Monitor, metric: str, threshold: float, limit: int
    ) -> Sequence[FinishedRunStats]:
        """The results of the last runs of a monitor in a metric, without cancelled runs.

        The newest by creation first, at most `limit`; none if the monitor isn't stored.
        """
        ...

    async def apply_run(self, ended: FinishedRun, evaluate: AlertEvaluator, now: datetime) -> bool:
        """Stores the evaluations of a monitor's alerts after a run, in one transaction.

        A notification is stored as a change, and a delivery for every webhook of the project, due
        now. A run is evaluated once, also with concurrent calls: stores nothing and returns False
        if it was evaluated before, or it or its monitor is gone. Alerts don't change meanwhile.

        Also returns False while a run of the monitor that ended earlier isn't evaluated yet, until
        ORDER_WAIT_MAX after its end: alerts see runs in order, and a run that can't be evaluated
        delays others no longer than that.
        """
        ...

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        """The passed slots of NO_DATA alerts of all projects; at most SLOTS_MAX."""
        ...

    async def apply_slot(self, slot: MonitorSlot, evaluate: AlertEvaluator, now: datetime) -> bool:
        """Makes an alert wait for the next slot; after a quiet slot also stores its evaluation.

        Once for each slot, as `apply_run` for a run; `evaluate` gets this alert only.
        """
        ...

    async def delete_changes(self, before: datetime) -> int:
        """Deletes a batch of changes before an instant, of all projects; 0 if none is left."""
        ...


class Webhooks(Protocol):
    """The webhooks of each project, and their deliveries.

    Contract of Webhooks: tests/contracts/evaluation/alerts/test_webhooks.py. All raise
    Unavailable.
    """

    async def create(self, webhook: Webhook, *, audit: AuditEntry | None = None) -> Webhook:
        """Stores it; if its id exists, returns the stored one unchanged.

        Raises Conflict beyond WEBHOOKS_MAX of one project, or if secrets can't be encrypted.
        """
        ...

    async def all(self, project: ProjectId) -> Sequence[Webhook]:
        """All webhooks of the project by creation, at most WEBHOOKS_MAX, without their secrets."""
        ...

    async def delete(
        self, project: ProjectId, webhook: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Deletes the webhook and its deliveries, also pending ones; whether it existed."""
        ...

    async def enqueue(self, delivery: Delivery) -> None:
        """Stores a delivery, once for each id. Raises NotFound if the webhook doesn't exist."""
        ...

    async def deliveries(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        """Newest first. Raises NotFound."""
        ...

    async def claim_due(self, now: datetime, limit: int) -> Sequence[tuple[Delivery, Webhook]]:
        """Claims due deliveries of all projects for DELIVERY_LEASE. The longest due come first.

        At most `limit`, and so many that at most DELIVERIES_PER_WEBHOOK_MAX of a webhook are
        claimed at a time. The next is always of the project with the fewest claimed ones, so that
        no project delays another, however many of its messages wait. The webhooks have their
        secrets. A delivery whose secret can't be decrypted is claimed, logged and left out, so that
        it is due again after its lease.
        """
        ...

    async def record_attempt(self, delivery: Delivery) -> None:
        """Stores the result of an attempt and ends the claim. Does nothing if it was deleted."""
        ...

    async def delete_deliveries(self, before: datetime) -> int:
        """Deletes a batch of deliveries created before an instant; 0 if none is left.

        Takes those of all projects. Never deletes one with a pending attempt.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The HTTP status of the receiver, or a word for why there was no response."""

    status: int | None
    error: str | None = None

    @property
    def is_received(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success


class WebhookSender(Protocol):
    """Sends messages to webhooks.

    Contract of WebhookSender: tests/contracts/evaluation/alerts/test_webhook_sender.py.
    """

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        """Takes ten seconds at most. Never raises: a failure is a result.

        Signed as Standard Webhooks defines: `webhook-id` is the delivery's id, `webhook-timestamp`
        whole seconds, `webhook-signature` an HMAC-SHA256 over both and the body. Doesn't follow
        redirects, doesn't read the response body, and doesn't connect to private networks unless
        that is allowed. Resolves the host once, and connects to the address that it has checked.
        """
        ...
