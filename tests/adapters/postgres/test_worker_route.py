"""Connections to the worker that holds the tables of a group: what they find, and where they lead.

Those of a cluster are skipped without PANDAPROBE_TEST_CITUS, see docs/operation/scaling.md.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.advisory_locks import (
    NODES_OF_PROJECTS,
    AdvisoryLock,
    lock_project,
    on_nodes,
)
from adapters.postgres.database.connections.host_urls import on_host
from adapters.postgres.database.pool import Engine, Pool, PoolSettings, open_pool
from adapters.postgres.database.tenants import within
from adapters.postgres.database.worker_route import NO_CITUS, WorkerRoute
from domain.ids import ProjectId
from entrypoints.composition.database import route_problem
from entrypoints.settings import Settings
from tests.contracts.tracing.search.test_search import found
from tests.support.builders.values import span, trace
from tests.support.fixtures.data_plane import index_traces, over_postgres, project
from tests.support.fixtures.servers import citus
from tests.support.fixtures.table_groups import Database, migrated
from tests.support.waiting import until

ON_CLUSTER: Final = pytest.mark.skipif(
    citus.VARIABLE not in os.environ, reason=f"no cluster: {citus.VARIABLE} is not set"
)
OF_SECOND: Final = "group_2, public"
SELECT_NODE: Final = "SELECT groupid FROM pg_dist_local_group"  # 0: the coordinator
SELECT_OTHER_WORKER: Final = """
SELECT n.nodename, n.nodeport FROM pg_dist_node AS n
WHERE n.groupid > 0 AND (n.nodename, n.nodeport) <> ($1, $2)
"""
MOVE: Final = """
SELECT citus_move_shard_placement(shardid, $1, $2, $3, $4, 'block_writes') FROM pg_dist_shard
WHERE logicalrelid = 'group_2.traces'::regclass
"""
TRY_SHARED: Final = "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($2::uuid::text))"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@one:1,two:2/db?sslmode=require",
         "postgresql://u:p@w:5/db?sslmode=require"),
        ("postgresql:///db", "postgresql://w:5/db"),
    ],
)  # fmt: skip
def test_worker_takes_the_place_of_all_hosts_of_a_url(url: str, expected: str):
    assert on_host(url, "w", 5) == expected


def test_address_of_version_6_is_put_in_brackets():
    assert on_host("postgresql://u@one/db", "::1", 5) == "postgresql://u@[::1]:5/db"


@pytest.mark.service
async def test_database_without_citus_is_reached_as_before(pool: Pool, serving_url: str):
    if citus.VARIABLE in os.environ:
        pytest.skip("it has Citus")
    route = WorkerRoute(serving_url, pool)
    assert not await route.find()
    assert (route.worker, route.problem) == (None, NO_CITUS)
    connection = await route.connect(timeout=5)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with migrated(postgres_url, to_workers=True) as database:
        yield database


@asynccontextmanager
async def opened(
    database: Database, path: str | None = None, *, every_s: float = 60.0
) -> AsyncIterator[tuple[Pool, Pool, WorkerRoute]]:
    """The pools of a group through the coordinator and on its worker."""
    settings = PoolSettings(url=database.serving_url, size=3, search_path=path)
    async with open_pool(Engine({}), settings) as main:
        route = WorkerRoute(database.serving_url, main, every_s)
        await route.find()
        async with (
            open_pool(Engine({}), replace(settings, connect=route.connect, least=0)) as near,
            route.following(near),
        ):
            yield main, near, route


@pytest.mark.service
@ON_CLUSTER
class TestCluster:
    async def test_each_group_is_reached_on_its_worker(self, database: Database):
        nodes = set()
        for path in (None, OF_SECOND):
            async with opened(database, path) as (main, near, route):
                assert route.problem is None
                assert await route.try_worker() is None
                assert await main.fetchval(SELECT_NODE) == 0
                nodes.add(await near.fetchval(SELECT_NODE))
        assert len(nodes - {0}) == 2

    async def test_doctor_names_what_workers_cannot_reach(self, database: Database):
        settings = Settings(database_url=database.serving_url, database_direct_to_workers=True)
        async with opened(database) as (main, near, route):
            assert await route_problem(settings, main) is None
            await database.owner.execute("CREATE TABLE later_shared (id uuid PRIMARY KEY)")
            try:
                assert "later_shared" in (await route_problem(settings, main) or "")
                assert await route.find()
                assert route.worker is None
            finally:
                await database.owner.execute("DROP TABLE later_shared")
            assert await route.find()
            await database.owner.execute("REVOKE SELECT ON visible_traces FROM pandaprobe_serving")
            try:
                assert "visible_traces" in (await route_problem(settings, main) or "")
                assert await near.fetchval(SELECT_NODE) == 0
            finally:
                await database.owner.execute("GRANT SELECT ON visible_traces TO pandaprobe_serving")

    @pytest.mark.parametrize("is_held_on_worker", [True, False])
    async def test_locks_hold_on_all_nodes(self, database: Database, *, is_held_on_worker: bool):
        ours, lock = ProjectId(uuid4()), AdvisoryLock.TRACE_OWNERS
        async with opened(database, OF_SECOND) as (main, near, _):
            holder, other = (near, main) if is_held_on_worker else (main, near)
            async with within(holder, ours).transaction() as held:
                await lock_project(held, lock, ours)
                assert await try_locks(other, lock, ours) == [False, False]
            assert await try_locks(other, lock, ours) == [True, True]

    @pytest.mark.parametrize("is_first_on_worker", [True, False])
    async def test_later_write_is_indexed_whichever_node_it_came_to(
        self, database: Database, *, is_first_on_worker: bool
    ):
        async with opened(database) as (main, near, _):
            pools = (near, main) if is_first_on_worker else (main, near)
            ours, one = project(), trace(span(), input=b'{"said": "before"}')
            sent = (one, replace(one, spans=(), input=b'{"said": "afterwards"}'))
            async with AsyncExitStack() as stack:
                for pool, each in zip(pools, sent, strict=True):
                    plane = await stack.enter_async_context(over_postgres(pool))
                    await plane.traces.put(ours, each)
                    await index_traces(plane)
                assert await found(plane, ours, "afterwards") == [one.name]
                assert await found(plane, ours, "before") == []

    async def test_coordinator_is_used_while_the_worker_refuses(self, database: Database):
        async with opened(database, every_s=0.05) as (_, near, route):
            assert route.worker is not None
            route.worker = (route.worker[0], free_port())
            connection = await near.acquire()
            try:
                assert await connection.fetchval(SELECT_NODE) == 0
            finally:
                await near.release(connection)

            async def is_back() -> bool:
                node: int = await near.fetchval(SELECT_NODE)
                return node != 0

            await until(is_back)

    async def test_connections_follow_a_group_to_another_worker(self, database: Database):
        async with opened(database, OF_SECOND, every_s=0.05) as (main, near, route):
            assert route.worker is not None
            before, node = route.worker, await near.fetchval(SELECT_NODE)
            other = tuple((await main.fetch(SELECT_OTHER_WORKER, *before))[0])
            ours, sent = project(), [trace(span()) for _ in range(2)]
            stays = await near.acquire()
            try:
                async with over_postgres(near) as plane:
                    await plane.traces.put(ours, sent[0])
                    await database.owner.execute(MOVE, *before, *other)
                    # The worker that had the group still takes statements.
                    assert await stays.fetchval(SELECT_NODE) == node
                    assert await count(stays, ours) == 1
                    await plane.traces.put(ours, sent[1])

                    async def has_followed() -> bool:
                        return bool(await near.fetchval(SELECT_NODE) != node)

                    await until(has_followed)
                    assert await count(stays, ours) == 2
            finally:
                await near.release(stays)
                await database.owner.execute(MOVE, *other, *before)


async def try_locks(pool: Pool, lock: AdvisoryLock, ours: ProjectId) -> list[bool]:
    """Whether each of the locks of a project is free: on the coordinator, and on the worker."""
    async with within(pool, ours).transaction() as connection:
        return [
            await connection.fetchval(sql, lock, ours)
            for sql in on_nodes(TRY_SHARED, *NODES_OF_PROJECTS)
        ]


async def count(connection: asyncpg.pool.PoolConnectionProxy, ours: ProjectId) -> int:
    """Its traces, in a transaction of its own: Citus passes no other setting on."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL pandaprobe.tenants = '{ours}'")
        number: int = await connection.fetchval(
            "SELECT count(*) FROM traces WHERE project_id = $1", ours
        )
    return number
