"""Deletion: of one object on request, and of many old rows in batches."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from domain.errors import NotFound

BATCHES_MAX: Final = 1_000  # of one round; a worker can be stopped between rounds


@dataclass(frozen=True, slots=True)
class DeleteOne[**Ids]:
    """Deletes an object by the method of its port, which says whether the object existed."""

    delete: Callable[Ids, Awaitable[bool]]
    missing: str

    async def __call__(self, *ids: Ids.args, **more: Ids.kwargs) -> None:
        """Raises NotFound with the message `missing`, also the second time; Unavailable."""
        if not await self.delete(*ids, **more):
            raise NotFound(self.missing)


async def delete_in_batches(delete: Callable[[], Awaitable[int]]) -> int:
    """Calls `delete` until it deletes nothing, BATCHES_MAX times at most; the number of rows.

    Each batch is a transaction, so that none is long. Raises what `delete` raises; earlier batches
    stay deleted.
    """
    deleted = 0
    for _ in range(BATCHES_MAX):
        batch = await delete()
        deleted += batch
        if not batch:
            break
    return deleted
