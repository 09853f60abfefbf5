"""The adapters that each port's contract is run against."""

from collections.abc import AsyncIterator

import pytest

from adapters.memory.store import MemoryStore
from adapters.postgres import migrating
from adapters.postgres.engine import Pool, PoolSettings, opened
from adapters.postgres.piccolo_conf import DB
from tests.contracts.identities import Identity, over_memory, over_postgres, remembered


@pytest.fixture(scope="session")
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    """A migrated database, shared by all tests: each writes under ids of its own."""
    async with opened(DB, PoolSettings(url=postgres_url)) as pool:
        await migrating.migrate(pool)
        yield pool


@pytest.fixture(
    params=["memory", "remembered", pytest.param("postgres", marks=pytest.mark.service)]
)
def identity(request: pytest.FixtureRequest) -> Identity:
    """A plain fixture: it may ask for another by name."""
    match request.param:
        case "memory":
            return over_memory(MemoryStore())
        case "remembered":
            return remembered(over_memory(MemoryStore()))
        case _:
            return over_postgres(request.getfixturevalue("pool"))
