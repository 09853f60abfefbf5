"""Transactions that write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.postgres.database.pool import WRITE_TIMEOUT_S, Connection, Pool, translate_errors


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Opens a transaction, and rolls it back after WRITE_TIMEOUT_S.

    The timeout includes the wait for a connection. Raises Unavailable.
    """
    async with (
        translate_errors(),
        asyncio.timeout(WRITE_TIMEOUT_S),
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection
