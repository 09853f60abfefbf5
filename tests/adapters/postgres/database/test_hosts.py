"""A URL with several hosts: the server that accepts writes is found, whatever the others do."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.connections.host_urls import single_host_urls
from adapters.postgres.database.connections.hosts import HostSelector
from adapters.postgres.database.leader_election import PostgresLeaderElection
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from domain.errors import Unavailable
from tests.faults.support.proxy import Proxy
from tests.support.waiting import in_time

TIMEOUT_S = 2.0


def with_hosts(url: str, *hosts: str, query: str = "") -> str:
    parts = urlsplit(url)
    account, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{account}@{','.join(hosts)}", query=query))


def host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, list[object]]]:
    """A server that accepts connections and never answers, as a frozen one does."""
    opened: list[object] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", opened
    finally:
        server.close()
        for writer in opened:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def proxies(target: int) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Two addresses of one server, each of which can be closed."""
    both = Proxy(target), Proxy(target)
    for one in both:
        await one.start()
    try:
        yield both
    finally:
        for one in both:
            await one.close()


async def until_active(url: str, query: str) -> None:
    watcher = await asyncpg.connect(url)
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
    try:
        async with in_time():
            while not await watcher.fetchval(active, query):
                await asyncio.sleep(0.01)
    finally:
        await watcher.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@a:1/d?x=y", ["postgresql://u:p@a:1/d?x=y"]),
        ("postgresql://u:p@a:1,b/d", ["postgresql://u:p@a:1/d", "postgresql://u:p@b/d"]),
        ("postgresql://u:p,q@a,b/d", ["postgresql://u:p,q@a/d", "postgresql://u:p,q@b/d"]),
    ],
)
def test_each_host_has_a_url(url, expected):
    assert list(single_host_urls(url)) == expected


@pytest.mark.service
async def test_refusing_host_is_skipped(postgres_url):
    url = with_hosts(postgres_url, f"127.0.0.1:{free_port()}", host_of(postgres_url))
    async with open_pool(Engine(config={}), PoolSettings(url=url, size=1)) as pool:
        assert await pool.fetchval("SELECT 1") == 1
    leader = PostgresLeaderElection(url, key=991)
    assert await leader.is_leader()
    await leader.close()


@pytest.mark.service
@pytest.mark.slow
async def test_silent_host_delays_only_first_connection(postgres_url):
    async with silent_server() as (silent, opened):
        hosts = HostSelector(with_hosts(postgres_url, silent, host_of(postgres_url)))
        took = []
        for _ in range(3):
            begin = time.monotonic()
            connection = await hosts.connect(timeout=TIMEOUT_S)
            took.append(time.monotonic() - begin)
            await connection.close()
        quick_s = TIMEOUT_S / 4
        assert quick_s <= took[0] < TIMEOUT_S
        assert max(took[1:]) < quick_s
        assert len(opened) <= 2  # with and without TLS


@pytest.mark.service
async def test_read_only_server_is_skipped_unless_url_accepts_it(postgres_url):
    name = "hosts_read_only"
    owner = await asyncpg.connect(postgres_url)
    try:
        await owner.execute(f"DROP DATABASE IF EXISTS {name}")
        await owner.execute(f"CREATE DATABASE {name}")
        await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        here = host_of(postgres_url)
        url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
        both = with_hosts(url, here, here)
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
            await HostSelector(both).connect(timeout=TIMEOUT_S)
        with pytest.raises(Unavailable):
            async with open_pool(Engine(config={}), PoolSettings(url=both, size=1)) as pool:
                await pool.fetchval("SELECT 1")
        any_host = with_hosts(url, here, here, query="target_session_attrs=any")
        await (await HostSelector(any_host).connect(timeout=TIMEOUT_S)).close()
        # A single host is used as it is: readiness says that it doesn't accept writes.
        await (await HostSelector(url).connect(timeout=TIMEOUT_S)).close()
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await owner.close()


@pytest.mark.service
async def test_after_a_change_of_the_primary_connections_to_the_old_one_end(postgres_url):
    """One that hangs would hold statements until their timeouts."""
    real = int(urlsplit(postgres_url).port or 0)
    async with proxies(real) as (old, new):
        await new.close()
        hosts = (f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}")
        url = with_hosts(postgres_url, *hosts)
        async with open_pool(Engine(config={}), PoolSettings(url=url, size=3)) as pool:
            async with pool.acquire() as one, pool.acquire() as two:
                assert await one.fetchval("SELECT 1") == await two.fetchval("SELECT 1")
                held = asyncio.create_task(one.fetchval("SELECT pg_sleep(60)"))
                await until_active(postgres_url, "SELECT pg_sleep(60)")
                await old.refuse()
                await new.start()
                async with pool.acquire() as three:
                    assert await three.fetchval("SELECT 1") == 1
                with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
                    await asyncio.wait_for(held, 5)
                with pytest.raises(asyncpg.InterfaceError):
                    await two.fetchval("SELECT 1")
            async with pool.acquire() as again:
                assert await again.fetchval("SELECT 1") == 1


def test_password_is_not_shown():
    assert "hidden" not in repr(HostSelector("postgresql://u:hidden@a,b/d"))
