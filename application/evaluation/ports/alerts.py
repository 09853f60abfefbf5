"""The ports of alerts: what is watched, what has changed, and whom to tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID, uuid5

from domain.evaluation.monitors.alert import AlertProgress, AlertRule, AlertState, RunMetricStats
from domain.evaluation.runs.run import TargetType
from domain.ids import MonitorId, ProjectId, RunId
from domain.page import Page, PageRequest

WEBHOOKS_MAX: Final = 20  # of one project
BASELINE_RUNS: Final = 5  # that a drop is a drop against
FINISHED_RUNS_MAX: Final = 100
ORDER_WAIT_MAX: Final = timedelta(
    minutes=10
)  # a run waits for those that ended so much earlier at most
SLOTS_MAX: Final = 1_000
CONCURRENT_DELIVERIES_MAX: Final = 100
DELIVERIES_PER_WEBHOOK_MAX: Final = (
    5  # at once to one webhook: one that is slow leaves room for others
)
DELIVERY_LEASE: Final = timedelta(minutes=1)  # longer than any attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A rule of a monitor, and how it stands."""

    id: UUID
    project_id: ProjectId
    monitor_id: MonitorId
    rule: AlertRule
    watch: AlertProgress
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
class FinishedRun:
    """A run of a monitor that has ended by itself, `at` some time, and was not looked at yet."""

    project: ProjectId
    monitor: MonitorId
    run: RunId
    of: TargetType
    at: datetime


@dataclass(frozen=True, slots=True)
class MonitorSlot:
    """What a NO_DATA alert waited for, until its monitor waited for the `following` slot.

    It was `quiet` where the monitor used it and had nothing to run. `awaited` is None at first.
    """

    project: ProjectId
    alert: UUID
    awaited: datetime | None
    following: datetime | None
    quiet: bool


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """A change, and what every webhook of its project is sent."""

    change: AlertChange
    body: bytes


@dataclass(frozen=True, slots=True)
class AlertEvaluation:
    """An alert as it stands after a run, with a notice where it turned."""

    alert: Alert
    notice: AlertNotification | None = None


def deliveries_of(
    notice: AlertNotification, webhooks: Sequence[Webhook], now: datetime
) -> list[Delivery]:
    """What each webhook is sent of a notice; the ids are derived, and so once the same."""
    return [
        Delivery(
            id=uuid5(notice.change.id, str(one.id)),
            project_id=one.project_id,
            webhook_id=one.id,
            change_id=notice.change.id,
            body=notice.body,
            next_attempt_at=now,
            created_at=now,
        )
        for one in webhooks
    ]


type Assess = Callable[[Sequence[Alert]], Sequence[AlertEvaluation]]
"""How alerts stand after a run: a pure function, called once at most."""


class Alerts(Protocol):
    """What is watched, by project but for `ended`.

    Contract of Alerts: tests/contracts/evaluation/alerts/test_alerts.py. All raise
    Unavailable.
    """

    async def create(self, alert: Alert) -> Alert:
        """Stores it; where there's one of its id, that one.

        Raises NotFound without its monitor, Conflict beyond RULES_MAX of one monitor.
        """
        ...

    async def of_monitor(self, project: ProjectId, monitor: MonitorId) -> Sequence[Alert]:
        """By creation, at most RULES_MAX. Raises NotFound."""
        ...

    async def delete(self, project: ProjectId, monitor: MonitorId, alert: UUID) -> bool:
        """Whether there was one. Its changes go along."""
        ...

    async def changes(
        self, project: ProjectId, monitor: MonitorId, window: PageRequest
    ) -> Page[AlertChange]:
        """Of all alerts of a monitor, newest first. Raises NotFound."""
        ...

    async def list_finished_runs(self, after: FinishedRun | None = None) -> Sequence[FinishedRun]:
        """Runs of monitors that were not looked at, the first to end first.

        At most FINISHED_RUNS_MAX; where there are more, those after the last are asked for next.
        Whether or not there are alerts: one that is made later begins with what ends later. A run
        that was cancelled says nothing of what it measures, and is none of them.
        """
        ...

    async def metric_stats(
        self, ended: FinishedRun, metric: str, threshold: float
    ) -> Sequence[RunMetricStats]:
        """What it came to in a metric, and then what up to BASELINE_RUNS runs before it did.

        Of its monitor, the newest first; cancelled ones are passed by.
        """
        ...

    async def apply_run(self, ended: FinishedRun, assess: Assess, now: datetime) -> bool:
        """Stores how the alerts of a monitor stand after a run, and notices, in one transaction.

        A notice is a change, and a delivery for every webhook of the project, due now. Each run is
        looked at once, however many try: False, and nothing is stored, where it was looked at
        before, or where it or its monitor is gone. Alerts don't change meanwhile. It is refused
        as well while a run of the monitor that ended earlier, by ORDER_WAIT_MAX at most, has not been
        looked at: alerts see runs in their order, whoever looks at them, and one that can't be
        looked at holds up the others for no longer than that.
        """
        ...

    async def list_passed_slots(self, now: datetime) -> Sequence[MonitorSlot]:
        """What NO_DATA alerts needn't wait for any more; SLOTS_MAX at most, of all projects."""
        ...

    async def apply_slot(self, slot: MonitorSlot, assess: Assess, now: datetime) -> bool:
        """Stores that an alert waits for what follows, and of a quiet slot how it stands then.

        Once for each slot, as `assess` does it for a run; `assess` gets that one alert.
        """
        ...

    async def delete_changes(self, before: datetime) -> int:
        """Removes some changes from before an instant, of all projects; 0: none is left."""
        ...


class Webhooks(Protocol):
    """Whom to tell, by project but for `due`.

    Contract of Webhooks: tests/contracts/evaluation/alerts/test_webhooks.py. All raise
    Unavailable.
    """

    async def create(self, webhook: Webhook) -> Webhook:
        """Stores it; where there's one of its id, that one.

        Raises Conflict beyond WEBHOOKS_MAX of one project.
        """
        ...

    async def all(self, project: ProjectId) -> Sequence[Webhook]:
        """By creation, at most WEBHOOKS_MAX."""
        ...

    async def delete(self, project: ProjectId, webhook: UUID) -> bool:
        """Whether there was one. Its deliveries go along: what wasn't sent yet never is."""
        ...

    async def enqueue(self, delivery: Delivery) -> None:
        """Stores a message for a webhook that is there, once for each id. Raises NotFound."""
        ...

    async def deliveries(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        """Newest first. Raises NotFound."""
        ...

    async def claim_due(self, now: datetime, most: int) -> Sequence[tuple[Delivery, Webhook]]:
        """Messages whose turn it is, the longest due first; for DELIVERY_LEASE nobody else's.

        At most `most`, and at most DELIVERIES_PER_WEBHOOK_MAX to one webhook that are held by anybody.
        """
        ...

    async def record_attempt(self, delivery: Delivery) -> None:
        """Stores how an attempt went; nobody holds it then. Nothing where it is gone."""
        ...

    async def delete_deliveries(self, before: datetime) -> int:
        """Removes some messages made before an instant, of all projects; 0: none is left.

        Never one that is still to be sent, or sent again.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """How a message was received: the HTTP status, or a word for why there was none."""

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
        """Within ten seconds, whatever the receiver does. Never raises: what went wrong is told.

        Signed as Standard Webhooks says: `webhook-id` is the delivery's id, `webhook-timestamp`
        whole seconds, `webhook-signature` an HMAC-SHA256 over both and the body. Redirects are not
        followed, no answer's body is read, and nothing inside a private network is reached unless
        that is allowed. The name of a host is resolved once, and what was found is checked and
        connected to.
        """
        ...
