"""The ports of alerts, and their use cases over them: a part of `application.evaluation`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from application.evaluation.alerts.alerts import (
    CreateAlert,
    DeleteAlert,
    EvaluateAlerts,
    ListAlertChanges,
    ListAlerts,
    OnAlertFault,
)
from application.evaluation.alerts.prune import (
    CHANGES_RETENTION,
    DELIVERIES_RETENTION,
    PruneAlertHistory,
)
from application.evaluation.alerts.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    DeliverMessages,
    ListDeliveries,
    ListWebhooks,
    SendTestMessage,
)
from application.evaluation.ports.alerts import Alerts, Webhooks, WebhookSender
from application.evaluation.ports.custom_metrics import CustomMetrics
from application.evaluation.ports.monitors import Monitors
from application.ports import Clock, RandomBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPorts:
    """Every port of alerts, filled; and whether webhooks may lead into a private network."""

    alerts: Alerts
    webhooks: Webhooks
    webhook_sender: WebhookSender
    on_fault: OnAlertFault
    allow_private: bool = False
    deliveries_kept_for: timedelta = DELIVERIES_RETENTION
    changes_kept_for: timedelta = CHANGES_RETENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertUseCases:
    """Every use case of alerts, ready to call."""

    create: CreateAlert
    list: ListAlerts
    delete: DeleteAlert
    list_changes: ListAlertChanges
    evaluate_runs: EvaluateAlerts
    create_webhook: CreateWebhook
    list_webhooks: ListWebhooks
    delete_webhook: DeleteWebhook
    send_test_message: SendTestMessage
    list_deliveries: ListDeliveries
    deliver_messages: DeliverMessages
    prune_history: PruneAlertHistory

    @classmethod
    def over(
        cls,
        ports: AlertPorts,
        monitors: Monitors,
        custom: CustomMetrics,
        clock: Clock,
        random: RandomBytes,
    ) -> Self:
        alerts, webhooks = ports.alerts, ports.webhooks
        return cls(
            create=CreateAlert(alerts, monitors, clock),
            list=ListAlerts(alerts),
            delete=DeleteAlert(alerts),
            list_changes=ListAlertChanges(alerts),
            evaluate_runs=EvaluateAlerts(alerts, custom, ports.on_fault, clock),
            create_webhook=CreateWebhook(webhooks, ports.allow_private, random, clock),
            list_webhooks=ListWebhooks(webhooks),
            delete_webhook=DeleteWebhook(webhooks),
            send_test_message=SendTestMessage(webhooks, clock),
            list_deliveries=ListDeliveries(webhooks),
            deliver_messages=DeliverMessages(webhooks, ports.webhook_sender, random, clock),
            prune_history=PruneAlertHistory(
                alerts, webhooks, ports.deliveries_kept_for, ports.changes_kept_for, clock
            ),
        )
