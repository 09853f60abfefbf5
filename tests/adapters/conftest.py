"""A seeded database, for the tests that look at how reads go about it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.fixtures.seeded_database import Seeded, seeding


@pytest.fixture(scope="session")
async def seeded(postgres_url: str) -> AsyncIterator[Seeded]:
    async with seeding(postgres_url) as seeded:
        yield seeded
