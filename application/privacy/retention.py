"""How long traces are kept."""

from dataclasses import dataclass
from typing import Final

from application.ports import Clock
from application.privacy.ports import ExpiredTraces
from domain.errors import Failure

STEPS_MAX: Final = 1_000  # of one round, over all projects


@dataclass(frozen=True, slots=True)
class DeleteExpiredTraces:
    """Removes traces that were kept for long enough. Projects take turns, some traces each."""

    expired: ExpiredTraces
    clock: Clock

    async def __call__(self) -> int:
        """How many traces went. Raises Unavailable; what went before stays gone.

        A project that can't go on holds no other up: the others go first.
        """
        now, removed, steps = self.clock(), 0, 0
        failures = list[Failure]()
        waiting = list(await self.expired.projects(now))
        while waiting and steps < STEPS_MAX:
            turn, waiting = waiting, []
            for project in turn[: STEPS_MAX - steps]:
                steps += 1
                try:
                    gone = await self.expired.delete(project, now)
                except Failure as failure:
                    failures.append(failure)
                    continue
                removed += gone
                if gone:
                    waiting.append(project)
        if failures:
            raise failures[0]
        return removed
