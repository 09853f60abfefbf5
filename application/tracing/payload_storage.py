"""Tasks of workers: payloads are stored closer together, and objects without a block removed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.deletion import delete_in_batches
from application.ports import Clock
from application.tracing.ports import PayloadStorage

JOINED_AFTER: Final = timedelta(minutes=10)  # most traces have ended by then
REMOVED_AFTER: Final = timedelta(minutes=1)  # reads that know an object have ended by then
ORPHANED_AFTER: Final = timedelta(hours=1)  # writes that stored an object have ended by then


@dataclass(frozen=True, slots=True)
class JoinPayloads:
    """Joins payloads that were written JOINED_AFTER ago, and removes those that were replaced."""

    storage: PayloadStorage
    clock: Clock

    async def __call__(self) -> int:
        """The number of traces. Raises Unavailable; earlier batches stay joined."""
        before = self.clock() - JOINED_AFTER
        return await delete_in_batches(lambda: self.storage.join_blocks(before))


@dataclass(frozen=True, slots=True)
class RemovePayloadObjects:
    """Deletes objects of a store that hold no block any more, or never did."""

    storage: PayloadStorage
    clock: Clock

    async def __call__(self) -> int:
        """The number of objects. Raises Unavailable; earlier ones stay deleted."""
        now = self.clock()
        removed = await delete_in_batches(lambda: self.storage.remove_objects(now - REMOVED_AFTER))
        return removed + await self.storage.remove_orphans(now - ORPHANED_AFTER)
