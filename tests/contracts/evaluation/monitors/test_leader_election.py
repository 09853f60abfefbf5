"""Contract of LeaderElection, run against every adapter."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from adapters.memory.evaluation.monitors import Election, MemoryLeaderElection
from adapters.postgres.database.leader_election import (
    LEADER_APPLICATION_NAME,
    PostgresLeaderElection,
)
from application.clock import utc_now

TRIES_MAX = 100


@pytest.fixture
async def candidate(adapter, request) -> AsyncIterator[Callable[[], object]]:
    """Returns a factory of candidates for one leadership that no other test uses."""
    made = []
    election, key = Election(), random.getrandbits(62)

    def new() -> object:
        if adapter is None:
            made.append(MemoryLeaderElection(election))
        else:
            made.append(PostgresLeaderElection(request.getfixturevalue("postgres_url"), key))
        return made[-1]

    yield new
    for one in made:
        await one.close()


async def test_first_caller_leads_and_keeps_leadership(candidate):
    first, second = candidate(), candidate()
    for _ in range(3):
        assert await first.is_leader()
        assert not await second.is_leader()


async def test_of_concurrent_candidates_one_leads(candidate):
    many = [candidate() for _ in range(5)]
    found = await asyncio.gather(*(one.is_leader() for one in many))
    assert sum(found) == 1
    assert await asyncio.gather(*(one.is_leader() for one in many)) == found


async def test_released_leadership_passes_to_next(candidate):
    first, second = candidate(), candidate()
    assert await first.is_leader()
    await first.close()
    assert await second.is_leader()
    assert not await first.is_leader()
    await first.close()  # which no longer leads, so this releases nothing
    assert await second.is_leader()


# --- over a connection ---------------------------------------------------------------------------

TERMINATE_BACKEND = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1"
SELECT_PIDS_BY_APPLICATION = "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
SELECT_LOCK_HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
  AND (classid::bigint << 32) | objid::bigint = $1
"""


@pytest.fixture
async def pair(
    postgres_url,
) -> AsyncIterator[tuple[PostgresLeaderElection, PostgresLeaderElection]]:
    key = random.getrandbits(62)
    pair = PostgresLeaderElection(postgres_url, key), PostgresLeaderElection(postgres_url, key)
    yield pair
    for one in pair:
        await one.close()


@pytest.mark.service
async def test_broken_connection_ends_leadership(pool, pair):
    first, second = pair
    assert await first.is_leader()
    await pool.execute(TERMINATE_BACKEND, await pool.fetchval(SELECT_LOCK_HOLDER, first.key))
    for _ in range(TRIES_MAX):  # until the server has released the lock
        if await second.is_leader():
            break
    assert not await first.is_leader()
    assert await second.is_leader()


@pytest.mark.service
async def test_unreachable_database_means_no_leadership(pair):
    nowhere = PostgresLeaderElection("postgresql://nobody@127.0.0.1:1/nothing")
    assert not await nowhere.is_leader()
    assert not await nowhere.is_leader()


@pytest.mark.service
async def test_follower_keeps_no_connection(pool, pair):
    first, second = pair
    assert await first.is_leader()
    assert not await second.is_leader()
    for _ in range(TRIES_MAX):  # until the server has closed its connection
        left = await pool.fetch(SELECT_PIDS_BY_APPLICATION, LEADER_APPLICATION_NAME)
        if len(left) == 1:
            break
    assert [row["pid"] for row in left] == [await pool.fetchval(SELECT_LOCK_HOLDER, first.key)]


@pytest.mark.service
async def test_leader_holds_no_snapshot(pool, pair):
    first, _ = pair
    assert await first.is_leader()
    holder = await pool.fetchval(SELECT_LOCK_HOLDER, first.key)
    row = await pool.fetchrow("SELECT * FROM pg_stat_activity WHERE pid = $1", holder)
    assert (row["backend_xid"], row["backend_xmin"]) == (None, None)


@pytest.mark.service
@pytest.mark.parametrize("apart", [timedelta(days=1), timedelta(days=-1)])
async def test_process_with_a_wrong_clock_does_not_lead(pair, caplog, apart):
    first, second = pair
    assert await first.is_leader()
    first.clock = lambda: utc_now() + apart
    assert not await first.is_leader()
    assert await second.is_leader()
    await second.close()
    assert not await first.is_leader()
    assert ["runs no monitors" in one for one in caplog.messages] == [True]
    first.clock = utc_now
    assert await first.is_leader()


@pytest.mark.service
async def test_cancelled_call_leaves_no_lock(pool, pair):
    first, second = pair
    asking = asyncio.create_task(first.is_leader())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await second.is_leader()
