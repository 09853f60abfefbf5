"""Alerts, what changed, webhooks and deliveries as rows, and back."""

from typing import Final

from asyncpg import Record

from domain.evaluation.monitors.alert import (
    Alert,
    AlertChange,
    AlertFigure,
    AlertProgress,
    AlertRule,
    AlertState,
)
from domain.evaluation.monitors.webhook import Delivery, Webhook
from domain.ids import MonitorId, ProjectId, RunId

ALERT_COLUMNS: Final = (
    "project_id", "id", "monitor_id", "metric", "figure", "threshold", "clear_at", "samples_min",
    "breaches", "recoveries", "state", "since", "in_a_row", "value", "created_at",
)  # fmt: skip
CHANGE_COLUMNS: Final = (
    "project_id", "id", "monitor_id", "alert_id", "run_id", "before", "after", "value", "at",
)  # fmt: skip
WEBHOOK_COLUMNS: Final = ("project_id", "id", "url", "secret", "created_at")
DELIVERY_COLUMNS: Final = (
    "project_id", "id", "webhook_id", "change_id", "body", "attempts", "status", "error",
    "next_attempt_at", "delivered_at", "created_at",
)  # fmt: skip


def insert(table: str, columns: tuple[str, ...]) -> str:
    """Stores a row unless there's one of its id."""
    places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
        " ON CONFLICT (project_id, id) DO NOTHING"
    )


def alert_row(alert: Alert) -> tuple[object, ...]:
    """An alert in the order of ALERT_COLUMNS."""
    rule, watch = alert.rule, alert.watch
    return (
        alert.project_id, alert.id, alert.monitor_id, rule.metric, rule.figure, rule.threshold,
        rule.clear_at, rule.samples_min, rule.breaches, rule.recoveries, watch.state, watch.since,
        watch.consecutive, watch.value, alert.created_at,
    )  # fmt: skip


def alert_of(row: Record) -> Alert:
    return Alert(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        monitor_id=MonitorId(row["monitor_id"]),
        rule=AlertRule(
            metric=row["metric"],
            figure=AlertFigure(row["figure"]),
            threshold=row["threshold"],
            clear_at=row["clear_at"],
            samples_min=row["samples_min"],
            breaches=row["breaches"],
            recoveries=row["recoveries"],
        ),
        watch=AlertProgress(
            state=AlertState(row["state"]),
            since=row["since"],
            consecutive=row["in_a_row"],
            value=row["value"],
        ),
        created_at=row["created_at"],
    )


def change_row(change: AlertChange) -> tuple[object, ...]:
    """A change in the order of CHANGE_COLUMNS."""
    return (
        change.project_id, change.id, change.monitor_id, change.alert_id, change.run_id,
        change.before, change.after, change.value, change.at,
    )  # fmt: skip


def change_of(row: Record) -> AlertChange:
    return AlertChange(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        monitor_id=MonitorId(row["monitor_id"]),
        alert_id=row["alert_id"],
        run_id=None if row["run_id"] is None else RunId(row["run_id"]),
        before=AlertState(row["before"]),
        after=AlertState(row["after"]),
        value=row["value"],
        at=row["at"],
    )


def webhook_row(webhook: Webhook) -> tuple[object, ...]:
    """A webhook in the order of WEBHOOK_COLUMNS."""
    return webhook.project_id, webhook.id, webhook.url, webhook.secret, webhook.created_at


def webhook_of(row: Record) -> Webhook:
    return Webhook(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        url=row["url"],
        secret=row["secret"],
        created_at=row["created_at"],
    )


def delivery_row(delivery: Delivery) -> tuple[object, ...]:
    """A delivery in the order of DELIVERY_COLUMNS."""
    return (
        delivery.project_id, delivery.id, delivery.webhook_id, delivery.change_id, delivery.body,
        delivery.attempts, delivery.status, delivery.error, delivery.next_attempt_at,
        delivery.delivered_at, delivery.created_at,
    )  # fmt: skip


def delivery_of(row: Record) -> Delivery:
    return Delivery(
        id=row["id"],
        project_id=ProjectId(row["project_id"]),
        webhook_id=row["webhook_id"],
        change_id=row["change_id"],
        body=row["body"],
        attempts=row["attempts"],
        status=row["status"],
        error=row["error"],
        next_attempt_at=row["next_attempt_at"],
        delivered_at=row["delivered_at"],
        created_at=row["created_at"],
    )
