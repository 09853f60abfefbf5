"""Work of workers that is done in batches: each is a transaction, so that none is long."""

from collections.abc import Awaitable, Callable
from typing import Final

BATCHES_MAX: Final = 1_000  # of one round; a worker can be stopped between rounds


async def run_in_batches(batch: Callable[[], Awaitable[int]]) -> int:
    """Calls `batch` until it finds nothing to do, BATCHES_MAX times at most; the sum of its counts.

    Raises what `batch` raises; earlier batches stay done.
    """
    total = 0
    for _ in range(BATCHES_MAX):
        count = await batch()
        total += count
        if not count:
            break
    return total
