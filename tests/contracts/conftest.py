"""The adapters that each port's contract runs against."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from adapters.embedded.process import free_port
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Pool
from adapters.redis.client import opened
from application.tracing.ports import Traces
from entrypoints.composition.memory import memory_ports
from tests.support.builders.values import prices
from tests.support.fixtures import data_plane
from tests.support.fixtures import pricing as priced
from tests.support.fixtures.data_plane import DataPlane
from tests.support.fixtures.evaluation import evaluation
from tests.support.fixtures.evaluation import monitors as watched
from tests.support.fixtures.evaluation.evaluation import Evaluating
from tests.support.fixtures.evaluation.monitors import Monitoring
from tests.support.fixtures.identities import (
    Identity,
    over_memory,
    over_postgres,
    postgres_ports,
    remembered,
)
from tests.support.fixtures.in_memory_app import World
from tests.support.fixtures.pricing import Pricing
from tests.support.fixtures.servers.migrated_postgres import new_database
from tests.support.fixtures.servers.payload_store import s3_server


@pytest.fixture(
    params=["memory", "remembered", pytest.param("postgres", marks=pytest.mark.service)]
)
def identity(request: pytest.FixtureRequest) -> Identity:
    """A synchronous fixture, so that it may request another by name."""
    match request.param:
        case "memory":
            return over_memory(MemoryStore())
        case "remembered":
            return remembered(over_memory(MemoryStore()))
        case _:
            return over_postgres(request.getfixturevalue("serving_pool"))


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
def adapter(request: pytest.FixtureRequest) -> Pool | None:
    """None for memory, else the pool of the serving role.

    A synchronous fixture, so that it may request another by name.
    """
    return None if request.param == "memory" else request.getfixturevalue("serving_pool")


@pytest.fixture
async def plane(adapter: Pool | None) -> AsyncIterator[DataPlane]:
    if adapter is None:
        yield data_plane.over_memory()
        return
    async with data_plane.over_postgres(adapter) as postgres:
        yield postgres


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
async def blocks_url(postgres_url: str, serving_url: str, pool: Pool) -> str:
    """A database whose blocks can't be read without the bucket; once the serving role exists."""
    _, url = await new_database(postgres_url, serving_url)
    return url


@pytest.fixture
async def pricing(adapter: Pool | None) -> AsyncIterator[Pricing]:
    if adapter is None:
        yield priced.over_memory()
        return
    async with priced.over_postgres(adapter) as postgres:
        yield postgres


@pytest.fixture
async def evaluating(adapter: Pool | None) -> AsyncIterator[Evaluating]:
    if adapter is None:
        yield evaluation.over_memory()
        return
    async with evaluation.over_postgres(adapter) as postgres:
        yield postgres


@pytest.fixture
async def monitoring(adapter: Pool | None) -> AsyncIterator[Monitoring]:
    if adapter is None:
        yield watched.over_memory()
        return
    async with watched.over_postgres(adapter) as postgres:
        yield postgres


@pytest.fixture
async def world(adapter: Pool | None) -> AsyncIterator[World]:
    """Every use case, and both planes over one store."""
    if adapter is None:
        yield World(memory_ports(MemoryStore(), prices()))
        return
    async with data_plane.over_postgres(adapter) as plane:
        yield World(postgres_ports(adapter, plane))


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with opened(redis_url) as client:
        yield client


@pytest.fixture
async def nowhere() -> AsyncIterator[Redis]:
    """A client of an address at which no Redis answers."""
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as client:
        yield client


@pytest.fixture
def traces(plane: DataPlane) -> Traces:
    return plane.traces
