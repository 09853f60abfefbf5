"""Column specs of alerts, state changes, webhooks and deliveries."""

from typing import Final

from adapters.postgres.database.statements.columns import Column, Table, columns
from domain.evaluation.alerts.alert import (
    Alert,
    AlertChange,
    AlertFigure,
    AlertProgress,
    AlertRule,
    AlertState,
)
from domain.evaluation.alerts.webhook import Delivery, Webhook, WebhookFormat

ALERTS: Final = Table(
    "alerts",
    (
        *columns("project_id uuid, id uuid, monitor_id uuid, created_at timestamptz"),
        Column("figure", "text", "rule.figure", read=AlertFigure),
        *columns("metric text, threshold float8, clear_at float8, samples_min int", at="rule"),
        *columns("breaches int, recoveries int", at="rule"),
        Column("state", "text", "watch.state", read=AlertState),
        Column("in_a_row", "int", "watch.consecutive"),
        *columns("since timestamptz, value float8", at="watch"),
    ),
)
CHANGES: Final = Table(
    "alert_changes",
    (
        *columns("project_id uuid, id uuid, monitor_id uuid, alert_id uuid, run_id uuid"),
        Column("before", "text", read=AlertState),
        Column("after", "text", read=AlertState),
        *columns("value float8, scored int, failed int, skipped int, at timestamptz"),
    ),
)
WEBHOOKS: Final = Table(
    "webhooks",
    (
        *columns("project_id uuid, id uuid, url text, created_at timestamptz"),
        Column("format", "text", read=WebhookFormat),
    ),
    given=columns("secret_key_id text, encrypted_secret bytea"),
)
DELIVERIES: Final = Table(
    "alert_deliveries",
    (
        *columns("project_id uuid, id uuid, webhook_id uuid, change_id uuid, body bytea"),
        *columns("attempts int, status int, error text, next_attempt_at timestamptz"),
        *columns("delivered_at timestamptz, created_at timestamptz"),
    ),
)

alert_row: Final = ALERTS.compile_row()
alert_from_row: Final = ALERTS.compile_reader(
    Alert,
    rule=ALERTS.compile_reader(AlertRule, at="rule"),
    watch=ALERTS.compile_reader(AlertProgress, at="watch"),
)
change_row: Final = CHANGES.compile_row()
change_from_row: Final = CHANGES.compile_reader(AlertChange)
webhook_row: Final = WEBHOOKS.compile_row()
webhook_from_row: Final = WEBHOOKS.compile_reader(Webhook)
delivery_row: Final = DELIVERIES.compile_row()
delivery_from_row: Final = DELIVERIES.compile_reader(Delivery)
