"""Retention: deletes traces older than their project keeps them."""

from dataclasses import dataclass
from typing import Final

from application.privacy.ports import ExpiredTraces
from domain.errors import Failure

STEPS_MAX: Final = 1_000  # of one round, for all projects


@dataclass(frozen=True, slots=True)
class DeleteExpiredTraces:
    """Deletes expired traces. Projects take turns, one batch each."""

    expired: ExpiredTraces

    async def __call__(self) -> int:
        """The number of deleted traces. Raises Unavailable; earlier batches stay deleted.

        A failing project delays no other: the failure is raised after the others are done.
        """
        now, deleted, steps = await self.expired.current_time(), 0, 0
        failures = list[Failure]()
        waiting = list(await self.expired.projects(now))
        while waiting and steps < STEPS_MAX:
            turn, waiting = waiting, []
            for project in turn[: STEPS_MAX - steps]:
                steps += 1
                try:
                    batch = await self.expired.delete(project, now)
                except Failure as failure:
                    failures.append(failure)
                    continue
                deleted += batch
                if batch:
                    waiting.append(project)
        if failures:
            raise failures[0]
        return deleted
