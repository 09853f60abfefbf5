"""Forgetting what alerts did long ago: until nothing is left, and no further than a round goes."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from application.evaluation.alerts.prune import STEPS_MAX, PruneAlertHistory
from domain.errors import Unavailable
from tests.support.builders.values import NOON

MONTH, YEAR = timedelta(days=30), timedelta(days=400)


@dataclass
class Steps:
    """A port of which each step forgets what it was told to."""

    left: list[int | Exception] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)

    async def forget(self, before: datetime) -> int:
        self.asked.append(before)
        step = self.left.pop(0) if self.left else 0
        if isinstance(step, Exception):
            raise step
        return step


def forgetting(alerts: Steps, webhooks: Steps) -> PruneAlertHistory:
    return PruneAlertHistory(alerts, webhooks, MONTH, YEAR, lambda: NOON)


async def test_each_is_forgotten_after_a_time_of_its_own():
    alerts, webhooks = Steps([2]), Steps([3, 1])
    assert await forgetting(alerts, webhooks)() == 6
    assert alerts.asked == [NOON - YEAR] * 2
    assert webhooks.asked == [NOON - MONTH] * 3


async def test_a_round_is_bounded_and_one_leaves_the_other_its_turn():
    alerts, webhooks = Steps([1]), Steps([1] * (STEPS_MAX + 5))
    forget = forgetting(alerts, webhooks)
    assert await forget() == STEPS_MAX + 1
    assert await forget() == 5


async def test_a_failure_is_told_and_the_next_round_goes_on():
    forget = forgetting(Steps([2]), Steps([1, Unavailable("down"), 4]))
    with pytest.raises(Unavailable):
        await forget()
    assert await forget() == 6
