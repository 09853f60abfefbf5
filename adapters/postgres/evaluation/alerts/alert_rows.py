"""Maps alerts, state changes, webhooks and deliveries to rows and back."""

from typing import Final

from adapters.postgres.database.columns import Column, Table, compile_reader
from domain.evaluation.monitors.alert import (
    Alert,
    AlertChange,
    AlertFigure,
    AlertProgress,
    AlertRule,
    AlertState,
)
from domain.evaluation.monitors.webhook import Delivery, Webhook

_KEY: Final = ("project_id", "id")
ALERTS: Final = Table(
    "alerts",
    _KEY,
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("monitor_id", "uuid"),
        Column("metric", "text", "rule.metric"),
        Column("figure", "text", "rule.figure", read=AlertFigure),
        Column("threshold", "float8", "rule.threshold"),
        Column("clear_at", "float8", "rule.clear_at"),
        Column("samples_min", "int", "rule.samples_min"),
        Column("breaches", "int", "rule.breaches"),
        Column("recoveries", "int", "rule.recoveries"),
        Column("state", "text", "watch.state", read=AlertState),
        Column("since", "timestamptz", "watch.since"),
        Column("in_a_row", "int", "watch.consecutive"),
        Column("value", "float8", "watch.value"),
        Column("created_at", "timestamptz"),
    ),
)
CHANGES: Final = Table(
    "alert_changes",
    _KEY,
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("monitor_id", "uuid"),
        Column("alert_id", "uuid"),
        Column("run_id", "uuid"),
        Column("before", "text", read=AlertState),
        Column("after", "text", read=AlertState),
        Column("value", "float8"),
        Column("at", "timestamptz"),
    ),
)
WEBHOOKS: Final = Table(
    "webhooks",
    _KEY,
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("url", "text"),
        Column("secret", "bytea"),
        Column("created_at", "timestamptz"),
    ),
)
DELIVERIES: Final = Table(
    "alert_deliveries",
    _KEY,
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("webhook_id", "uuid"),
        Column("change_id", "uuid"),
        Column("body", "bytea"),
        Column("attempts", "int"),
        Column("status", "int"),
        Column("error", "text"),
        Column("next_attempt_at", "timestamptz"),
        Column("delivered_at", "timestamptz"),
        Column("created_at", "timestamptz"),
    ),
)

alert_row: Final = ALERTS.compile_row()
alert_from_row: Final = compile_reader(
    Alert,
    ALERTS.fields_of(Alert),
    rule=compile_reader(AlertRule, ALERTS.fields_of(AlertRule, at="rule")),
    watch=compile_reader(AlertProgress, ALERTS.fields_of(AlertProgress, at="watch")),
)
change_row: Final = CHANGES.compile_row()
change_from_row: Final = compile_reader(AlertChange, CHANGES.fields_of(AlertChange))
webhook_row: Final = WEBHOOKS.compile_row()
webhook_from_row: Final = compile_reader(Webhook, WEBHOOKS.fields_of(Webhook))
delivery_row: Final = DELIVERIES.compile_row()
delivery_from_row: Final = compile_reader(Delivery, DELIVERIES.fields_of(Delivery))


def insert_statement(table: Table) -> str:
    """A statement that inserts a row unless its id exists."""
    return f"{table.insert()} ON CONFLICT (project_id, id) DO NOTHING"
