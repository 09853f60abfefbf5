"""A failed connection says which of its parts is wrong, and no secret."""

import asyncio
import logging
import socket
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.connections.connection_failures import ConnectionFailed
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.health import PostgresHealthCheck
from tests.support.fixtures.servers import citus

pytestmark = pytest.mark.service

PASSWORD = "hidden-word"


async def failure_of(url: str) -> str:
    with pytest.raises(ConnectionFailed) as caught:
        async with open_pool(Engine(config={}), PoolSettings(url=url)):
            pass
    assert PASSWORD not in caught.value.message
    return caught.value.message


def changed(url: str, **parts: str) -> str:
    """The URL with another user, password or database, and parameters."""
    given = urlsplit(url)
    user, password = parts.get("user", given.username), parts.get("password", given.password)
    place = f"{user}:{password}@{given.hostname}:{parts.get('port', given.port)}"
    path, query = parts.get("database", given.path), parts.get("query", given.query)
    return given._replace(netloc=place, path=path, query=query).geturl()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        pytest.param(
            {"password": PASSWORD},
            ["refuses postgres or the password"],
            marks=citus.not_on_cluster("a cluster may let its superuser in without a password"),
        ),
        ({"user": "nobody", "password": PASSWORD}, ["nobody"]),
        ({"database": "/missing"}, ["no database missing", "create it"]),
        ({"query": "pool_timeout=9"}, ["refuses a parameter", "pool_timeout"]),
        ({"query": "sslmode=sometimes"}, ["a parameter of the URL is invalid", "sslmode"]),
        ({"query": "sslmode=require"}, ["SSL", "docs/operation/tls.md"]),
    ],
)
async def test_server_refuses(postgres_url, parts, words):
    said = await failure_of(changed(postgres_url, **parts))
    assert str(urlsplit(postgres_url).port) in said
    assert [word for word in words if word not in said] == [], said


WITH_PASSWORD = citus.not_on_cluster("a cluster may let its superuser in without a password")


@pytest.mark.parametrize(
    ("parts", "detail", "logged"),
    [
        pytest.param(
            {"password": PASSWORD},
            "it refuses the user or the password",
            "refuses",
            marks=WITH_PASSWORD,
        ),
        (
            {"database": "/missing"},
            "it has no database of this name: create it, or name another",
            "no database",
        ),
        ({"query": "pool_timeout=9"}, "it refuses a parameter of the URL", "pool_timeout"),
        ({"query": "sslmode=require"}, "it closed the connection", "SSL"),
    ],
)
async def test_health_check_says_the_cause_without_details(
    postgres_url, parts, detail, logged, caplog
):
    url = changed(postgres_url, **parts)
    async with asyncpg.create_pool(url, min_size=0) as pool:
        check = PostgresHealthCheck(pool)
        with caplog.at_level(logging.WARNING):
            details = [(await check.check()).detail for _ in range(2)]
    assert details == [detail, detail]
    [line] = [one.getMessage() for one in caplog.records]
    assert line.startswith("PostgreSQL isn't ready: it ")
    assert logged in line
    assert PASSWORD not in line


async def test_health_check_says_that_nothing_listens(postgres_url):
    url = changed(postgres_url, port=str(free_port()))
    async with asyncpg.create_pool(url, min_size=0) as pool:
        detail = (await PostgresHealthCheck(pool).check()).detail
    assert detail == "nothing accepts connections there: is it running, and is the port correct?"


async def test_nothing_listens(postgres_url):
    said = await failure_of(changed(postgres_url, port=str(free_port())))
    assert "nothing accepts connections there" in said


async def test_host_has_no_address():
    said = await failure_of(f"postgresql://ada:{PASSWORD}@does-not-exist.invalid/traces")
    assert said == (
        "PostgreSQL at does-not-exist.invalid:5432: the name of the host can't be resolved"
    )


async def test_host_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://ada:{PASSWORD}@127.0.0.1:{port}/traces?connect_timeout=1"
        async with asyncio.timeout(20):
            assert "doesn't answer in time" in await failure_of(url)


async def test_parameters_of_hosted_providers_are_understood(postgres_url):
    query = "connect_timeout=10&channel_binding=prefer&application_name=x&keepalives=1"
    url = changed(postgres_url, query=query)
    async with open_pool(Engine(config={}), PoolSettings(url=url)) as pool:
        assert await pool.fetchval("SELECT 1") == 1
