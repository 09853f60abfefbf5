"""What alerts are kept in, and how they are told: the ports, as the settings have them."""

import logging
from datetime import timedelta
from typing import Final

from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.alerts.alerts import PostgresAlerts
from adapters.postgres.evaluation.alerts.webhooks import PostgresWebhooks
from adapters.webhook_sender import HttpCourier, SystemResolver
from application.evaluation.alerts.use_cases import AlertPorts
from application.evaluation.ports.alerts import EndedRun
from entrypoints.settings import Settings

_log: Final = logging.getLogger(__name__)


def alert_ports(settings: Settings, pool: Pool) -> AlertPorts:
    return AlertPorts(
        alerts=PostgresAlerts(pool),
        webhooks=PostgresWebhooks(pool),
        courier=courier(settings),
        on_fault=_tell_fault,
        allow_private=settings.alert_allow_private_targets,
        deliveries_kept_for=timedelta(days=settings.alert_delivery_ttl_days),
        changes_kept_for=timedelta(days=settings.alert_change_ttl_days),
    )


def courier(settings: Settings) -> HttpCourier:
    if settings.alert_allow_private_targets:
        return HttpCourier(SystemResolver(), admits=lambda _: True, allow_private=True)
    return HttpCourier(SystemResolver())


def _tell_fault(ended: EndedRun, fault: Exception) -> None:
    named = {"project_id": str(ended.project), "run_id": str(ended.run)}
    _log.error("alerts look at a run later, by a fault of ours", exc_info=fault, extra=named)
