"""The ports of alerts, and their use cases over them: a part of `application.evaluation`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from application.evaluation.alerts.alerts import (
    AssessRuns,
    CreateAlert,
    DeleteAlert,
    ListAlertChanges,
    ListAlerts,
    OnAlertFault,
)
from application.evaluation.alerts.prune import CHANGES_KEPT, DELIVERIES_KEPT, ForgetAlertHistory
from application.evaluation.alerts.webhooks import (
    CreateWebhook,
    DeleteWebhook,
    DeliverMessages,
    ListDeliveries,
    ListWebhooks,
    SendTestMessage,
)
from application.evaluation.ports.alerts import Alerts, Courier, Webhooks
from application.evaluation.ports.custom_metrics import CustomMetrics
from application.evaluation.ports.monitors import Monitors
from application.ports import Clock, RandomBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPorts:
    """Every port of alerts, filled; and whether webhooks may lead into a private network."""

    alerts: Alerts
    webhooks: Webhooks
    courier: Courier
    on_fault: OnAlertFault
    allow_private: bool = False
    deliveries_kept_for: timedelta = DELIVERIES_KEPT
    changes_kept_for: timedelta = CHANGES_KEPT


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertUseCases:
    """Every use case of alerts, ready to call."""

    create: CreateAlert
    list: ListAlerts
    delete: DeleteAlert
    list_changes: ListAlertChanges
    assess_runs: AssessRuns
    create_webhook: CreateWebhook
    list_webhooks: ListWebhooks
    delete_webhook: DeleteWebhook
    send_test_message: SendTestMessage
    list_deliveries: ListDeliveries
    deliver_messages: DeliverMessages
    forget_history: ForgetAlertHistory

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
            assess_runs=AssessRuns(alerts, custom, ports.on_fault, clock),
            create_webhook=CreateWebhook(webhooks, ports.allow_private, random, clock),
            list_webhooks=ListWebhooks(webhooks),
            delete_webhook=DeleteWebhook(webhooks),
            send_test_message=SendTestMessage(webhooks, clock),
            list_deliveries=ListDeliveries(webhooks),
            deliver_messages=DeliverMessages(webhooks, ports.courier, random, clock),
            forget_history=ForgetAlertHistory(
                alerts, webhooks, ports.deliveries_kept_for, ports.changes_kept_for, clock
            ),
        )
