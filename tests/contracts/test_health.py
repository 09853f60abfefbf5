"""Contract of HealthCheck: answers within two seconds and never raises."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.memory.evaluation.work_queue import MemoryWorkers, MemoryWorkQueue
from adapters.memory.health import FixedHealthCheck
from adapters.memory.store import MemoryStore
from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.evaluation.work_queue.work_queue import PostgresWorkQueue
from adapters.postgres.health import (
    CLOCKS_APART_MAX,
    MigrationsHealthCheck,
    PostgresHealthCheck,
)
from adapters.postgres.read_replica import Replica, ReplicaHealthCheck
from adapters.redis.client import RedisHealthCheck, opened
from application.clock import utc_now
from application.health import QueueHealthCheck
from application.ports import HealthCheck, HealthStatus
from tests.support.waiting import in_time

type PartOpener = Callable[[str], AbstractAsyncContextManager[HealthCheck]]


@asynccontextmanager
async def redis_part(address: str) -> AsyncIterator[HealthCheck]:
    async with opened(f"redis://{address}/0") as client:
        yield RedisHealthCheck(client)


@asynccontextmanager
async def postgres_part(address: str) -> AsyncIterator[HealthCheck]:
    """Opens connections only when they are needed."""
    pool = asyncpg.create_pool(f"postgresql://postgres@{address}/postgres", min_size=0)
    async with pool:
        yield PostgresHealthCheck(pool)
        pool.terminate()


@asynccontextmanager
async def queue_part(address: str) -> AsyncIterator[HealthCheck]:
    pool = asyncpg.create_pool(f"postgresql://postgres@{address}/postgres", min_size=0)
    async with pool:
        yield QueueHealthCheck(PostgresWorkQueue(pool), MemoryWorkers(), utc_now, timedelta(1))
        pool.terminate()


PARTS = [redis_part, postgres_part, queue_part]
REMOTE = pytest.mark.parametrize("part", PARTS)


@pytest.fixture
def silent() -> Iterator[str]:
    """Yields the address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def check_in_time(part: HealthCheck) -> HealthStatus:
    """Checks a part. A check that doesn't limit itself never ends."""
    async with in_time():
        return await part.check()


@pytest.mark.parametrize("state", [HealthStatus(ok=True), HealthStatus(ok=False, detail="away")])
async def test_fixed_part_reports_given_state(state):
    assert await check_in_time(FixedHealthCheck(state)) == state


async def test_queue_without_work_is_ok():
    queue = MemoryWorkQueue(MemoryStore())
    state = await check_in_time(QueueHealthCheck(queue, MemoryWorkers(), utc_now, timedelta(1)))
    assert state == HealthStatus(ok=True)


@pytest.mark.service
async def test_reachable_parts_are_ok(pool: Pool, redis_url: str):
    async with opened(redis_url) as client:
        states = [
            await check_in_time(one)
            for one in (
                PostgresHealthCheck(pool),
                MigrationsHealthCheck(pool),
                RedisHealthCheck(client),
            )
        ]
    assert states == [HealthStatus(ok=True)] * 3


@pytest.mark.service
async def test_read_only_database_is_reported(pool: Pool, postgres_url: str):
    settings = {"default_transaction_read_only": "on"}  # as the sessions of a standby have it
    async with asyncpg.create_pool(postgres_url, min_size=0, server_settings=settings) as reading:
        state = await check_in_time(PostgresHealthCheck(reading))
        assert await check_in_time(MigrationsHealthCheck(reading)) == HealthStatus(ok=True)
    assert not state.ok
    assert "read-only" in (state.detail or "")


@pytest.mark.service
@pytest.mark.parametrize(("ours", "said"), [(-3_600, "s ahead of ours"), (3_600, "s behind ours")])
async def test_clock_that_differs_is_reported_once_and_ok(
    pool: Pool, caplog: pytest.LogCaptureFixture, ours: int, said: str
):
    check = PostgresHealthCheck(pool, clock=lambda: utc_now() + timedelta(seconds=ours))
    states = [await check_in_time(check) for _ in range(2)]
    assert all(one.ok and said in (one.detail or "") for one in states)
    assert [said in one for one in caplog.messages] == [True]


@pytest.mark.service
async def test_slow_answer_is_no_difference_of_clocks(pool: Pool):
    now = utc_now()
    ticks = iter([now, now + 2 * CLOCKS_APART_MAX])
    state = await check_in_time(PostgresHealthCheck(pool, clock=lambda: next(ticks)))
    assert state == HealthStatus(ok=True)


@REMOTE
async def test_unreachable_part_is_reported(part: PartOpener):
    async with part(f"127.0.0.1:{free_port()}") as unreachable:
        state = await check_in_time(unreachable)
    assert not state.ok
    assert state.detail


@pytest.mark.slow
async def test_silent_part_is_reported_in_time(silent: str):
    """All parts at once, since each waits for its limit."""

    async def state_of(part: PartOpener) -> HealthStatus:
        async with part(silent) as mute:
            return await check_in_time(mute)

    states = await asyncio.gather(*map(state_of, PARTS))
    assert [(one.ok, bool(one.detail)) for one in states] == [(False, True)] * len(PARTS)


async def test_missing_replica_is_reported_and_ok():
    """The main database serves its reads."""
    url = f"postgresql://u:hidden@127.0.0.1:{free_port()}/d"
    async with open_pool(Engine({}), PoolSettings(url=url, least=0)) as away:
        replica = Replica(url=url, main=away, checks=away, lag_max_s=1)
        await replica.check()
        state = await check_in_time(ReplicaHealthCheck(replica))
    assert state.ok
    assert "not used: PostgreSQL at 127.0.0.1" in (state.detail or "")
    assert "hidden" not in (state.detail or "")


@REMOTE
async def test_detail_contains_no_password(part: PartOpener):
    async with part(f"127.0.0.1:{free_port()}") as unreachable:
        detail = (await check_in_time(unreachable)).detail or ""
    assert "://" not in detail
