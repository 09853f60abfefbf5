"""A task of workers: payloads of traces that came in several writes are stored closer together."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.deletion import delete_in_batches
from application.ports import Clock
from application.tracing.ports import PayloadStorage

JOINED_AFTER: Final = timedelta(minutes=10)  # most traces have ended by then


@dataclass(frozen=True, slots=True)
class JoinPayloads:
    """Joins payloads that were written JOINED_AFTER ago, and removes those that were replaced."""

    storage: PayloadStorage
    clock: Clock

    async def __call__(self) -> int:
        """The number of traces. Raises Unavailable; earlier batches stay joined."""
        before = self.clock() - JOINED_AFTER
        return await delete_in_batches(lambda: self.storage.join_blocks(before))
