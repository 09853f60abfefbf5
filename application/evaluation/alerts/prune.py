"""Forgetting what alerts and webhooks did long ago."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from application.evaluation.ports.alerts import Alerts, Webhooks
from application.ports import Clock

STEPS_MAX: Final = 1_000  # of one round, for each of both
DELIVERIES_KEPT: Final = timedelta(days=30)
CHANGES_KEPT: Final = timedelta(days=400)  # more than a year: last year's can be looked at


@dataclass(frozen=True, slots=True)
class PruneAlertHistory:
    """Removes deliveries and changes that have been kept for long enough, some at a time."""

    alerts: Alerts
    webhooks: Webhooks
    deliveries_kept_for: timedelta
    changes_kept_for: timedelta
    clock: Clock

    async def __call__(self) -> int:
        """How many went. Raises Unavailable; what went before stays gone."""
        now = self.clock()
        gone = await _all(self.webhooks.delete_deliveries, now - self.deliveries_kept_for)
        return gone + await _all(self.alerts.delete_changes, now - self.changes_kept_for)


async def _all(forget: Callable[[datetime], Awaitable[int]], before: datetime) -> int:
    forgotten = 0
    for _ in range(STEPS_MAX):
        gone = await forget(before)
        forgotten += gone
        if not gone:
            break
    return forgotten
