"""Pools for tests of PostgreSQL alone."""

from collections.abc import AsyncIterator

import pytest

from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool


@pytest.fixture
async def patient_pool(pool: Pool, postgres_url: str) -> AsyncIterator[Pool]:
    """Without a lock timeout, which a busy machine reaches while the test holds the lock."""
    settings = PoolSettings(url=postgres_url, lock_timeout_ms=0)
    async with open_pool(Engine(config={}), settings) as patient:
        yield patient
