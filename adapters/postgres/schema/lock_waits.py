"""Locks of tables that requests use: a statement waits for them only as long as requests can.

Requests queue behind a statement that waits for a lock, and are refused after LOCK_TIMEOUT_MS.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from adapters.postgres.database.pool import LOCK_TIMEOUT_MS
from domain.errors import Unavailable

SET_LOCK_WAIT: Final = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS // 2}ms'"
ATTEMPTS_MAX: Final = 60
PAUSE_S: Final = 0.5  # in which the requests that queued are served


async def retry_for_locks[T](attempt: Callable[[], Awaitable[T]]) -> T:
    """Calls `attempt`, a transaction with SET_LOCK_WAIT, again while others hold a lock for long.

    Raises Unavailable.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            return await attempt()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(PAUSE_S)
    raise Unavailable("A table is in use by long transactions; run the command again")
