"""Scopes of statements through PgBouncer, whose clients share sessions.

docs/operation/operations.md shows its settings.
"""

import asyncio
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.embedded.process import LOOPBACK, free_port
from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from domain.errors import Unavailable
from domain.ids import ProjectId
from tests.support.fixtures.data_plane import project
from tests.support.waiting import in_time

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.service,
    pytest.mark.exhaustive,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer isn't installed"),
]

SERVER_CONNECTIONS: Final = 3  # fewer than clients, so that they share sessions
CLIENTS: Final = 8
ROUNDS: Final = 60
# As in docs/operation/operations.md. Role and password are those of the tests' serving role.
CONFIGURATION: Final = """
[databases]
postgres = host={host} port={server_port} dbname=postgres user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_prepared_statements = 200
ignore_startup_parameters = statement_timeout, lock_timeout, jit, enable_seqscan{ignored_too}
"""
INSERT_BUDGET: Final = (
    "INSERT INTO judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, 1, now())"
)
BUDGET_PROJECTS: Final = "SELECT array_agg(project_id) FROM judge_budgets"
SCOPE_AND_SESSION: Final = """
SELECT current_setting('pandaprobe.tenants', true), pg_backend_pid(), pg_sleep(0.001)
"""


@pytest.fixture
async def pgbouncer_url(servers_folder: Path, serving_url: str, pool: Pool) -> AsyncIterator[str]:
    async with running_pgbouncer(servers_folder, serving_url) as url:
        yield url


@asynccontextmanager
async def running_pgbouncer(
    servers_folder: Path, serving_url: str, ignored_too: str = ""
) -> AsyncIterator[str]:
    """`ignored_too` follows the parameters of connections that it ignores."""
    server, port = urlsplit(serving_url), free_port()
    settings = servers_folder / "pgbouncer.ini"
    settings.write_text(
        CONFIGURATION.format(
            host=server.hostname, server_port=server.port, user=server.username,
            password=server.password, port=port, size=SERVER_CONNECTIONS, ignored_too=ignored_too,
        )
    )  # fmt: skip
    # It refuses to run as root.
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
    assert PGBOUNCER is not None
    child = await asyncio.create_subprocess_exec(PGBOUNCER, "-q", str(settings), user=user)
    url = server._replace(netloc=f"{server.username}@{LOOPBACK}:{port}").geturl()
    try:
        async with in_time():
            while True:
                try:
                    await (await asyncpg.connect(url)).close()
                    break
                except OSError:
                    assert child.returncode is None
        yield url
    finally:
        child.terminate()
        await child.wait()


@pytest.fixture
async def shared(pgbouncer_url: str) -> AsyncIterator[Pool]:
    settings = PoolSettings(url=pgbouncer_url, size=CLIENTS)
    async with open_pool(Engine(config={}), settings) as shared:
        yield shared


@pytest.fixture
async def tenants(shared: Pool) -> tuple[ProjectId, ProjectId]:
    ours, theirs = project(), project()
    for one in (ours, theirs):
        await within(shared, one).execute(INSERT_BUDGET, one)
    return ours, theirs


async def test_statements_of_two_tenants_see_their_own_rows(
    shared: Pool, tenants: tuple[ProjectId, ProjectId]
):
    sessions = set()

    async def read(own: ProjectId) -> None:
        for _ in range(ROUNDS):
            assert await within(shared, own).fetchval(BUDGET_PROJECTS) == [own]
            async with within(shared, own).transaction() as connection:
                assert await connection.fetchval(BUDGET_PROJECTS) == [own]
            with pytest.raises(asyncpg.DivisionByZeroError):
                await within(shared, own).fetchval("SELECT 1 / 0")

    async def read_without_scope() -> None:
        for _ in range(ROUNDS):
            assert await shared.fetchval(BUDGET_PROJECTS) is None
            scope, session, _ = await shared.fetchrow(SCOPE_AND_SESSION)
            assert not scope
            sessions.add(session)

    async with in_time(), asyncio.TaskGroup() as group:
        for number in range(2 * CLIENTS):
            group.create_task(read(tenants[number % 2]))
            group.create_task(read_without_scope())
    assert len(sessions) == SERVER_CONNECTIONS


async def test_interrupted_statements_leave_no_scope(
    shared: Pool, tenants: tuple[ProjectId, ProjectId]
):
    for own in tenants * CLIENTS:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await within(shared, own).fetchval("SELECT pg_sleep(60)")
        assert await shared.fetchval(BUDGET_PROJECTS) is None
        assert await within(shared, own).fetchval(BUDGET_PROJECTS) == [own]


def test_pool_notices_that_sessions_are_shared(shared: Pool):
    connections = [holder._con for holder in shared._holders if holder._con is not None]
    assert connections
    assert not any(one.keeps_settings for one in connections)


@pytest.mark.parametrize("ignored", [False, True], ids=["as documented", "path ignored"])
async def test_pool_of_a_further_group_is_refused(
    servers_folder: Path, serving_url: str, pool: Pool, ignored: bool
):
    """A session without its search path would find the tables of the first group."""
    more = ", search_path" if ignored else ""
    settings = PoolSettings(url="", search_path="group_2, public")
    async with running_pgbouncer(servers_folder, serving_url, more) as url:
        with pytest.raises(Unavailable, match=r"pooler|search_path"):
            async with open_pool(Engine(config={}), replace(settings, url=url)):
                pass
