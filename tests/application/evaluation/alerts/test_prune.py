"""Pruning of old alert changes and deliveries, in bounded rounds."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from application.batches import BATCHES_MAX
from application.evaluation.alerts.alerts import PruneAlertHistory
from domain.errors import Unavailable
from tests.support.builders.values import NOON

MONTH, YEAR = timedelta(days=30), timedelta(days=400)


@dataclass
class ScriptedDeletions:
    """A port whose deletions return or raise the scripted results, then return 0."""

    script: list[int | Exception] = field(default_factory=list)
    cutoffs: list[datetime] = field(default_factory=list)

    async def delete_changes(self, before: datetime) -> int:
        self.cutoffs.append(before)
        step = self.script.pop(0) if self.script else 0
        if isinstance(step, Exception):
            raise step
        return step

    delete_deliveries = delete_changes


def prune_history(alerts: ScriptedDeletions, webhooks: ScriptedDeletions) -> PruneAlertHistory:
    return PruneAlertHistory(alerts, webhooks, MONTH, YEAR, lambda: NOON)


async def test_changes_and_deliveries_have_their_own_retention():
    alerts, webhooks = ScriptedDeletions([2]), ScriptedDeletions([3, 1])
    assert await prune_history(alerts, webhooks)() == 6
    assert alerts.cutoffs == [NOON - YEAR] * 2
    assert webhooks.cutoffs == [NOON - MONTH] * 3


async def test_pruning_round_is_bounded_per_table():
    alerts, webhooks = ScriptedDeletions([1]), ScriptedDeletions([1] * (BATCHES_MAX + 5))
    prune = prune_history(alerts, webhooks)
    assert await prune() == BATCHES_MAX + 1
    assert await prune() == 5


async def test_next_round_deletes_rest_after_failure():
    prune = prune_history(ScriptedDeletions([2]), ScriptedDeletions([1, Unavailable("down"), 4]))
    with pytest.raises(Unavailable):
        await prune()
    assert await prune() == 6
