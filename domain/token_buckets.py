"""Token buckets: budgets of a volume that is known only after a request was admitted.

A bucket refills continuously, and holds HELD_S of its rate. A request is admitted while the bucket
isn't empty, and its cost is subtracted later, below zero if need be. A bucket is the instant at
which it is full, and that of its last charge. So it needs no rate, and costs are times: how long
the bucket takes to refill them.
"""

from dataclasses import dataclass
from typing import Final

from domain.limits import SECOND_US

HELD_S: Final = 2
HELD_US: Final = HELD_S * SECOND_US
# The cost of requests that were admitted together: no debt is remembered for longer.
DEBT_MAX_S: Final = 600
DEBT_MAX_US: Final = DEBT_MAX_S * SECOND_US


def cost_us(volume: int, per_second: int) -> int:
    """How long a bucket takes to refill `volume`, in microseconds, rounded up."""
    return -(-volume * SECOND_US // per_second)


@dataclass(slots=True)
class TokenBucket:
    """A bucket that is full at `full_at_us`, and from then on. It was charged at `charged_at_us`.

    A clock before that instant was set back: then the bucket lacks what it lacked at the charge.
    """

    full_at_us: int = 0
    charged_at_us: int = 0

    def is_full(self, now_us: int) -> bool:
        return self.full_at_us <= now_us

    def wait_us(self, now_us: int) -> int:
        """How long the bucket is empty from now on; 0 if it has something."""
        missing_us = self._missing_us(now_us)
        return 0 if missing_us < HELD_US else missing_us - HELD_US + 1

    def charge(self, cost_us: int, now_us: int) -> None:
        if not cost_us:
            return
        self.full_at_us = now_us + min(self._missing_us(now_us) + cost_us, DEBT_MAX_US)
        self.charged_at_us = now_us

    def _missing_us(self, now_us: int) -> int:
        back_us = max(0, self.charged_at_us - now_us)
        self.full_at_us -= back_us
        self.charged_at_us -= back_us
        return min(max(0, self.full_at_us - now_us), DEBT_MAX_US)
