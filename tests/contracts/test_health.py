"""Contract of HealthCheck: answers within two seconds and never raises."""

import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.memory.health import FixedHealthCheck
from adapters.postgres.database.pool import Pool
from adapters.postgres.health import MigrationsHealthCheck, PostgresHealthCheck
from adapters.redis.client import RedisHealthCheck, opened
from application.ports import HealthCheck, HealthStatus

WITHIN_S = 2.5  # the two seconds, and what a busy machine needs

type Opened = Callable[[str], AbstractAsyncContextManager[HealthCheck]]


@asynccontextmanager
async def redis_part(address: str) -> AsyncIterator[HealthCheck]:
    async with opened(f"redis://{address}/0") as client:
        yield RedisHealthCheck(client)


@asynccontextmanager
async def postgres_part(address: str) -> AsyncIterator[HealthCheck]:
    """Over connections that are made when they are first needed."""
    pool = asyncpg.create_pool(f"postgresql://postgres@{address}/postgres", min_size=0)
    async with pool:
        yield PostgresHealthCheck(pool)
        pool.terminate()


REMOTE = pytest.mark.parametrize("part", [redis_part, postgres_part])


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def told(part: HealthCheck) -> HealthStatus:
    """What a part says, once it kept to the time."""
    start = time.perf_counter()
    state = await part.check()
    assert time.perf_counter() - start < WITHIN_S
    return state


@pytest.mark.parametrize("state", [HealthStatus(ok=True), HealthStatus(ok=False, detail="away")])
async def test_a_fixed_part_says_what_it_was_given(state):
    assert await told(FixedHealthCheck(state)) == state


@pytest.mark.service
async def test_what_works_is_ok(pool: Pool, redis_url: str):
    async with opened(redis_url) as client:
        states = [
            await told(one)
            for one in (
                PostgresHealthCheck(pool),
                MigrationsHealthCheck(pool),
                RedisHealthCheck(client),
            )
        ]
    assert states == [HealthStatus(ok=True)] * 3


@pytest.mark.service
async def test_a_database_that_takes_no_writes_is_told(pool: Pool, postgres_url: str):
    settings = {"default_transaction_read_only": "on"}  # as the sessions of a standby have it
    async with asyncpg.create_pool(postgres_url, min_size=0, server_settings=settings) as reading:
        state = await told(PostgresHealthCheck(reading))
        assert await told(MigrationsHealthCheck(reading)) == HealthStatus(ok=True)
    assert not state.ok
    assert "read-only" in (state.detail or "")


@REMOTE
async def test_what_cannot_be_reached_is_told(part: Opened):
    async with part(f"127.0.0.1:{free_port()}") as unreachable:
        state = await told(unreachable)
    assert not state.ok
    assert state.detail


@REMOTE
@pytest.mark.slow
async def test_what_does_not_answer_is_told_in_time(part: Opened, silent: str):
    async with part(silent) as mute:
        state = await told(mute)
    assert not state.ok
    assert state.detail


@REMOTE
async def test_no_password_is_told(part: Opened):
    async with part(f"127.0.0.1:{free_port()}") as unreachable:
        detail = (await told(unreachable)).detail or ""
    assert "://" not in detail
