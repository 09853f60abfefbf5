"""A cancelled transaction ends with the cancellation, also if the server can't be reached."""

import asyncio

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import ALL_TENANTS, within

pytestmark = pytest.mark.service


async def test_cancellation_stays_one_although_the_connection_is_lost(pool, serving_url):
    begun = asyncio.Event()
    async with open_pool(Engine(config={}), PoolSettings(url=serving_url, size=1)) as one:

        async def write():
            async with within(one, ALL_TENANTS).transaction() as connection:
                connection.terminate()  # so that ROLLBACK fails
                begun.set()
                await asyncio.Event().wait()

        writing = asyncio.create_task(write())
        await begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await within(one, ALL_TENANTS).fetchval("SELECT 1") == 1
