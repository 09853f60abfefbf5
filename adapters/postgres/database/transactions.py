"""Transactions that write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.postgres.database.pool import WRITE_TIMEOUT_S, Connection, Pool, translated


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction that is rolled back where it takes longer than WRITE_TIMEOUT_S.

    Waiting for a connection counts. Raises Unavailable.
    """
    async with (
        translated(),
        asyncio.timeout(WRITE_TIMEOUT_S),
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection
