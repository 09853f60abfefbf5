"""How long traces are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from application.ports import Clock
from domain.errors import Failure
from domain.ids import ProjectId

STEPS_MAX: Final = 1_000  # of one round, over all projects
PROJECTS_AT_ONCE: Final = 500  # that take turns in one round


class ExpiredTraces(Protocol):
    """Traces that were stored for longer than their project keeps any.

    A trace is as old as the time since it was first stored, whenever it started.
    Contract of Expired: tests/contracts/privacy/test_retention.py. Both raise
    Unavailable.
    """

    async def projects(self, now: datetime) -> Sequence[ProjectId]:
        """Those that have some at `now`; at most PROJECTS_AT_ONCE."""
        ...

    async def remove(self, project: ProjectId, now: datetime) -> int:
        """Removes some, the oldest first, as `Traces.delete` does; how many.

        0: none is left for now, or somebody else is at the rest. With the last trace of a session
        go its scores. A call is a transaction: a crash between two loses nothing.
        """
        ...


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
                    gone = await self.expired.remove(project, now)
                except Failure as failure:
                    failures.append(failure)
                    continue
                removed += gone
                if gone:
                    waiting.append(project)
        if failures:
            raise failures[0]
        return removed
