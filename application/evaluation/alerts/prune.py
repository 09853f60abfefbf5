"""Deletes old alert changes and webhook deliveries."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from application.evaluation.ports.alerts import Alerts, Webhooks
from application.ports import Clock

STEPS_MAX: Final = 1_000  # of one round, for each table
DELIVERIES_RETENTION: Final = timedelta(days=30)
CHANGES_RETENTION: Final = timedelta(days=400)  # more than a year, to compare with the year before


@dataclass(frozen=True, slots=True)
class PruneAlertHistory:
    """Deletes deliveries and changes whose retention has ended, in batches."""

    alerts: Alerts
    webhooks: Webhooks
    deliveries_retention: timedelta
    changes_retention: timedelta
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rows. Raises Unavailable; earlier batches stay deleted."""
        now = self.clock()
        deleted = await _delete_all(
            self.webhooks.delete_deliveries, now - self.deliveries_retention
        )
        return deleted + await _delete_all(self.alerts.delete_changes, now - self.changes_retention)


async def _delete_all(delete: Callable[[datetime], Awaitable[int]], before: datetime) -> int:
    deleted = 0
    for _ in range(STEPS_MAX):
        batch = await delete(before)
        deleted += batch
        if not batch:
            break
    return deleted
