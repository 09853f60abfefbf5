"""Deletion in batches, so that no transaction is long."""

from collections.abc import Awaitable, Callable
from typing import Final

BATCHES_MAX: Final = 1_000  # of one round; a worker can be stopped between rounds


async def delete_in_batches(delete: Callable[[], Awaitable[int]]) -> int:
    """Calls `delete` until it deletes nothing, BATCHES_MAX times at most; the number of rows.

    Raises what `delete` raises; earlier batches stay deleted.
    """
    deleted = 0
    for _ in range(BATCHES_MAX):
        batch = await delete()
        deleted += batch
        if not batch:
            break
    return deleted
