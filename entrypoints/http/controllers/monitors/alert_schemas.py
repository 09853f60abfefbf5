"""Alerts, webhooks and deliveries on the wire."""

from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import Invalid
from domain.evaluation.monitors.alert import (
    IN_A_ROW_MAX,
    SAMPLES_MIN,
    SAMPLES_MIN_MAX,
    Alert,
    AlertChange,
    AlertFigure,
    AlertRule,
    AlertState,
)
from domain.evaluation.monitors.webhook import URL_MAX, Delivery, Webhook, format_secret
from entrypoints.http.controllers.monitors.alert_examples import ALERT_ID, WEBHOOK_ID
from entrypoints.http.controllers.monitors.examples import MONITOR_ID
from entrypoints.http.requests.wire_types import (
    JsonObject,
    ShownInstant,
    instant,
    optional_instant,
    raw,
)

METRIC_MAX: Final = 255

type Share = Annotated[float, Meta(ge=0, le=1)]
type InARow = Annotated[int, Meta(ge=1, le=IN_A_ROW_MAX)]


class AlertPath(msgspec.Struct, frozen=True):
    monitor_id: Annotated[UUID, Meta(description="The monitor's id", examples=[MONITOR_ID])]
    alert_id: Annotated[UUID, Meta(description="The alert's id", examples=[ALERT_ID])]


class WebhookPath(msgspec.Struct, frozen=True):
    webhook_id: Annotated[UUID, Meta(description="The webhook's id", examples=[WEBHOOK_ID])]


class CreateAlertRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched of a monitor's runs. `clear_at` is `threshold` where it is left out."""

    metric: Annotated[
        str, Meta(min_length=1, max_length=METRIC_MAX, description="One of the monitor's")
    ]
    figure: AlertFigure
    threshold: Share | None = None
    clear_at: Share | None = None
    samples_min: Annotated[int, Meta(ge=1, le=SAMPLES_MIN_MAX)] = SAMPLES_MIN
    breaches: InARow = 1
    recoveries: InARow = 1

    def rule(self) -> AlertRule:
        """Raises Invalid."""
        if self.threshold is None and self.figure is not AlertFigure.NO_DATA:
            raise Invalid.field("threshold", "must be a number from 0 to 1")
        threshold = self.threshold or 0.0
        return AlertRule(
            metric=self.metric,
            figure=self.figure,
            threshold=threshold,
            clear_at=threshold if self.clear_at is None else self.clear_at,
            samples_min=self.samples_min,
            breaches=self.breaches,
            recoveries=self.recoveries,
        )


class AlertResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, and how it stands. `value` is of the last run that was looked at."""

    id: UUID
    project_id: UUID
    monitor_id: UUID
    metric: str
    figure: AlertFigure
    threshold: float
    clear_at: float
    samples_min: int
    breaches: int
    recoveries: int
    state: AlertState
    since: ShownInstant
    value: float | None
    created_at: ShownInstant

    @classmethod
    def of(cls, alert: Alert) -> Self:
        rule, watch = alert.rule, alert.watch
        return cls(
            id=alert.id,
            project_id=alert.project_id,
            monitor_id=alert.monitor_id,
            metric=rule.metric,
            figure=rule.figure,
            threshold=rule.threshold,
            clear_at=rule.clear_at,
            samples_min=rule.samples_min,
            breaches=rule.breaches,
            recoveries=rule.recoveries,
            state=watch.state,
            since=instant(watch.since),
            value=watch.value,
            created_at=instant(alert.created_at),
        )


class AlertChangeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """That an alert turned, and in which run; `value` is what was found in it."""

    id: UUID
    monitor_id: UUID
    alert_id: UUID
    run_id: UUID | None
    before: AlertState
    state: AlertState
    value: float | None
    at: ShownInstant

    @classmethod
    def of(cls, change: AlertChange) -> Self:
        return cls(
            id=change.id,
            monitor_id=change.monitor_id,
            alert_id=change.alert_id,
            run_id=change.run_id,
            before=change.before,
            state=change.after,
            value=change.value,
            at=instant(change.at),
        )


class CreateWebhookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of every change of an alert in the project."""

    url: Annotated[
        str, Meta(min_length=1, max_length=URL_MAX, description="Begins with `https://`")
    ]


class WebhookResponse(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    project_id: UUID
    url: str
    created_at: ShownInstant

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        return cls(
            id=webhook.id,
            project_id=webhook.project_id,
            url=webhook.url,
            created_at=instant(webhook.created_at),
        )


class WebhookCreatedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`secret` signs what is sent. It is shown here and never again."""

    id: UUID
    project_id: UUID
    url: str
    secret: str
    created_at: ShownInstant

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        return cls(
            id=webhook.id,
            project_id=webhook.project_id,
            url=webhook.url,
            secret=format_secret(webhook.secret),
            created_at=instant(webhook.created_at),
        )


class DeliveryStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


class DeliveryResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and how sending it went: `http_status` or `error` are of the last attempt."""

    id: UUID
    webhook_id: UUID
    change_id: UUID | None
    message: JsonObject
    status: DeliveryStatus
    attempts: int
    http_status: int | None
    error: str | None
    next_attempt_at: ShownInstant | None
    delivered_at: ShownInstant | None
    created_at: ShownInstant

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        return cls(
            id=delivery.id,
            webhook_id=delivery.webhook_id,
            change_id=delivery.change_id,
            message=raw(delivery.body),
            status=_status_of(delivery),
            attempts=delivery.attempts,
            http_status=delivery.status,
            error=delivery.error,
            next_attempt_at=optional_instant(delivery.next_attempt_at),
            delivered_at=optional_instant(delivery.delivered_at),
            created_at=instant(delivery.created_at),
        )


def _status_of(delivery: Delivery) -> DeliveryStatus:
    if delivery.delivered_at is not None:
        return DeliveryStatus.DELIVERED
    return DeliveryStatus.FAILED if delivery.next_attempt_at is None else DeliveryStatus.PENDING
