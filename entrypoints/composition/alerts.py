"""What alerts are kept in, and how they are told: the ports, as the settings have them."""

import logging
from datetime import timedelta
from typing import Final

from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.alerts.alerts import PostgresAlerts
from adapters.postgres.evaluation.alerts.webhooks import PostgresWebhooks
from adapters.webhook_sender import HttpWebhookSender, SystemResolver
from application.evaluation.ports.alerts import FinishedRun
from application.evaluation.use_cases import AlertPorts
from entrypoints.settings import Settings

_log: Final = logging.getLogger(__name__)


def alert_ports(settings: Settings, pool: Pool) -> AlertPorts:
    return AlertPorts(
        alerts=PostgresAlerts(pool),
        webhooks=PostgresWebhooks(pool),
        webhook_sender=webhook_sender(settings),
        on_fault=_tell_fault,
        allow_private=settings.alert_allow_private_targets,
        deliveries_retention=timedelta(days=settings.alert_delivery_ttl_days),
        changes_retention=timedelta(days=settings.alert_change_ttl_days),
    )


def webhook_sender(settings: Settings) -> HttpWebhookSender:
    if settings.alert_allow_private_targets:
        return HttpWebhookSender(SystemResolver(), admits=lambda _: True, allow_private=True)
    return HttpWebhookSender(SystemResolver())


def _tell_fault(ended: FinishedRun, fault: Exception) -> None:
    named = {"project_id": str(ended.project), "run_id": str(ended.run)}
    _log.error("alerts look at a run later, by a fault of ours", exc_info=fault, extra=named)
