"""Deleting old alert changes and deliveries: until none is left, in bounded rounds."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from application.deletion import BATCHES_MAX
from application.evaluation.alerts.alerts import PruneAlertHistory
from domain.errors import Unavailable
from tests.support.builders.values import NOON

MONTH, YEAR = timedelta(days=30), timedelta(days=400)


@dataclass
class Steps:
    """A port whose deletions return, or raise, what was scripted."""

    left: list[int | Exception] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)

    async def delete_changes(self, before: datetime) -> int:
        self.asked.append(before)
        step = self.left.pop(0) if self.left else 0
        if isinstance(step, Exception):
            raise step
        return step

    delete_deliveries = delete_changes


def pruning(alerts: Steps, webhooks: Steps) -> PruneAlertHistory:
    return PruneAlertHistory(alerts, webhooks, MONTH, YEAR, lambda: NOON)


async def test_changes_and_deliveries_have_their_own_retention():
    alerts, webhooks = Steps([2]), Steps([3, 1])
    assert await pruning(alerts, webhooks)() == 6
    assert alerts.asked == [NOON - YEAR] * 2
    assert webhooks.asked == [NOON - MONTH] * 3


async def test_pruning_round_is_bounded_per_table():
    alerts, webhooks = Steps([1]), Steps([1] * (BATCHES_MAX + 5))
    prune = pruning(alerts, webhooks)
    assert await prune() == BATCHES_MAX + 1
    assert await prune() == 5


async def test_next_round_deletes_rest_after_failure():
    prune = pruning(Steps([2]), Steps([1, Unavailable("down"), 4]))
    with pytest.raises(Unavailable):
        await prune()
    assert await prune() == 6
