"""Tasks of workers: payloads are stored closer together, and what no trace has is removed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.batches import run_in_batches
from application.ports import Clock
from application.tracing.ports import PayloadStorage

JOINED_AFTER: Final = timedelta(minutes=10)  # most traces have ended by then
REMOVED_AFTER: Final = timedelta(minutes=1)  # reads that know what is removed have ended
ORPHANED_AFTER: Final = timedelta(hours=1)  # writes that stored an object have ended by then


@dataclass(frozen=True, slots=True)
class JoinPayloads:
    """Joins payloads that were written JOINED_AFTER ago, and removes those that were replaced."""

    storage: PayloadStorage
    clock: Clock

    async def __call__(self) -> int:
        """The number of traces. Raises Unavailable; earlier batches stay joined."""
        before = self.clock() - JOINED_AFTER
        return await run_in_batches(lambda: self.storage.join_blocks(before))


@dataclass(frozen=True, slots=True)
class RemoveUnusedPayloads:
    """Deletes shared texts that no trace has any more, and objects of a store without a block."""

    storage: PayloadStorage
    clock: Clock

    async def __call__(self) -> int:
        """How many were looked at or deleted. Raises Unavailable; earlier ones stay deleted."""
        now = self.clock()
        before, storage = now - REMOVED_AFTER, self.storage
        done = await run_in_batches(lambda: storage.remove_unused_texts(before))
        done += await run_in_batches(lambda: storage.remove_objects(before))
        return done + await storage.remove_orphans(now - ORPHANED_AFTER)
