"""Deletes the rows of removed projects, which are hidden already."""

from dataclasses import dataclass
from typing import Final

from application.identity.ports import RemovedProjects
from application.ports import Clock

STEPS_MAX: Final = 1_000  # of one round; a worker can be stopped between rounds


@dataclass(frozen=True, slots=True)
class PurgeRemovedProjects:
    """Deletes the rows of removed projects in batches, until none is due."""

    removed_projects: RemovedProjects
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted rows. Raises Unavailable; earlier batches stay deleted."""
        deleted = 0
        for _ in range(STEPS_MAX):
            batch = await self.removed_projects.purge(self.clock())
            deleted += batch
            if not batch:
                break
        return deleted
