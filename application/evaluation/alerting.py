"""The ports of alerts: what is watched, what has changed, and whom to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.evaluation.alert import AlertRule, AlertState, Measured, Watch
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, Window

WEBHOOKS_MAX: Final = 20  # of one project
DELIVERIES_AT_ONCE: Final = 100
DELIVERY_ATTEMPTS_MAX: Final = 10
DELIVERY_WAIT_MIN: Final = timedelta(seconds=5)  # doubled with every attempt
DELIVERY_WAIT_MAX: Final = timedelta(hours=6)
RUNS_BEFORE: Final = 5  # that a drop is a drop against


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A rule of a monitor, and how it stands."""

    id: UUID
    project_id: ProjectId
    monitor_id: MonitorId
    rule: AlertRule
    watch: Watch
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """That an alert turned, and in which run of its monitor."""

    id: UUID
    project_id: ProjectId
    monitor_id: MonitorId
    alert_id: UUID
    run_id: RunId | None
    before: AlertState
    after: AlertState
    value: float | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told of every change in a project. `secret` signs what is sent, and is shown once."""

    id: UUID
    project_id: ProjectId
    url: str
    secret: bytes = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one webhook: `body` is what is sent, the same in every attempt.

    `status` is the last HTTP status, None where there was no answer; `error` then says why in a
    word. It is over once `delivered_at` is there, or `next_attempt_at` is None.
    """

    id: UUID
    project_id: ProjectId
    webhook_id: UUID
    change_id: UUID | None
    body: bytes
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    next_attempt_at: datetime | None
    delivered_at: datetime | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run of a monitor that is over, and not looked at by its alerts yet."""

    project: ProjectId
    monitor: MonitorId
    run: RunId


class Alerts(Protocol):
    """What is watched, by project but for `ended`.

    Contract of Alerts: tests/contracts/test_alerts.py, run against every adapter. All raise
    Unavailable.
    """

    async def create(self, alert: Alert) -> Alert:
        """Stores it; where there's one of its id, that one.

        Raises NotFound without its monitor, Invalid beyond RULES_MAX of one monitor.
        """
        ...

    async def of_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        """By creation, at most RULES_MAX. Raises NotFound."""
        ...

    async def delete(self, project: ProjectId, monitor: MonitorId, alert: UUID) -> bool:
        """Whether there was one. Its changes go along."""
        ...

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: Window
    ) -> Page[AlertChange]:
        """Of all alerts of a monitor, newest first. Raises NotFound."""
        ...

    async def ended(self) -> Sequence[EndedRun]:
        """Runs of monitors with alerts that are over and not looked at, the oldest first."""
        ...

    async def measured(self, ended: EndedRun, metric: str) -> Sequence[Measured]:
        """What it came to in a metric, and then what up to RUNS_BEFORE runs before it did."""
        ...

    async def turned(
        self, ended: EndedRun, alerts: Sequence[Alert], changes: Sequence[AlertChange]
    ) -> bool:
        """Stores how the alerts stand after a run, what changed, and a delivery for each webhook.

        In one transaction, once for each run: False where it was looked at before.
        """
        ...


class Webhooks(Protocol):
    """Whom to tell, by project but for `due`.

    Contract of Webhooks: tests/contracts/test_webhooks.py, run against every adapter. All raise
    Unavailable.
    """

    async def create(self, webhook: Webhook) -> Webhook:
        """As `Alerts.create`; Invalid beyond WEBHOOKS_MAX of one project."""
        ...

    async def all(self, project: ProjectId) -> Sequence[Webhook]: ...

    async def delete(self, project: ProjectId, webhook: UUID) -> bool:
        """Whether there was one. What it wasn't told yet isn't told any more."""
        ...

    async def deliver(self, delivery: Delivery) -> None:
        """Stores a message for a webhook that is there, to be sent. Raises NotFound."""
        ...

    async def deliveries(self, project: ProjectId, webhook: UUID, window: Window) -> Page[Delivery]:
        """Newest first. Raises NotFound."""
        ...

    async def due(self, now: datetime) -> Sequence[tuple[Delivery, Webhook]]:
        """Messages whose turn it is, DELIVERIES_AT_ONCE at most; for a minute nobody else's."""
        ...

    async def attempted(self, delivery: Delivery) -> None:
        """Stores how an attempt went."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """How a message was received: the HTTP status, or a word for why there was none."""

    status: int | None
    error: str | None = None

    @property
    def is_received(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls success


class Courier(Protocol):
    """Sends messages to webhooks. Contract of Courier: tests/contracts/test_courier.py."""

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> Sent:
        """Within ten seconds. Never raises: what went wrong is told.

        Signed as Standard Webhooks says: `webhook-id` is the delivery's id, `webhook-timestamp`
        whole seconds, `webhook-signature` an HMAC-SHA256 over both and the body. Redirects are not
        followed, and nothing inside a private network is reached unless that is allowed.
        """
        ...
