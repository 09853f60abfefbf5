"""Taking away what nobody can read any more."""

from dataclasses import dataclass
from typing import Final

from application.identity.ports import RemovedProjects
from application.ports import Clock

STEPS_MAX: Final = 1_000  # of one round: a stop is asked for between rounds


@dataclass(frozen=True, slots=True)
class PurgeRemovedProjects:
    """Removes the rows of removed projects, some at a time, until nothing is left for now."""

    removed_projects: RemovedProjects
    clock: Clock

    async def __call__(self) -> int:
        """How many rows went. Raises Unavailable; what went before stays gone."""
        swept = 0
        for _ in range(STEPS_MAX):
            gone = await self.removed_projects.purge(self.clock())
            swept += gone
            if not gone:
                break
        return swept
