"""Contract of LeaderElection, run against every adapter."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from adapters.memory.evaluation.monitors import Election, MemoryLeaderElection
from adapters.postgres.database.leader_election import (
    LEADER_APPLICATION_NAME,
    PostgresLeaderElection,
)

TRIES_MAX = 100


@pytest.fixture
async def candidate(adapter, request) -> AsyncIterator[Callable[[], object]]:
    """Makes one more that wants to lead; nobody of another test is among them."""
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


async def test_whoever_asks_first_leads_and_keeps_it(candidate):
    first, second = candidate(), candidate()
    for _ in range(3):
        assert await first.is_leader()
        assert not await second.is_leader()


async def test_of_many_at_once_one_leads(candidate):
    many = [candidate() for _ in range(5)]
    found = await asyncio.gather(*(one.is_leader() for one in many))
    assert sum(found) == 1
    assert await asyncio.gather(*(one.is_leader() for one in many)) == found


async def test_who_gives_it_up_is_followed(candidate):
    first, second = candidate(), candidate()
    assert await first.is_leader()
    await first.close()
    assert await second.is_leader()
    assert not await first.is_leader()
    await first.close()  # which is nothing to give up
    assert await second.is_leader()


# --- over a connection ---------------------------------------------------------------------------

CUT_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1"
THEIRS = "SELECT pid FROM pg_stat_activity WHERE application_name = $1"
HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
  AND (classid::bigint << 32) | objid::bigint = $1
"""


@pytest.fixture
async def two(postgres_url) -> AsyncIterator[tuple[PostgresLeaderElection, PostgresLeaderElection]]:
    key = random.getrandbits(62)
    pair = PostgresLeaderElection(postgres_url, key), PostgresLeaderElection(postgres_url, key)
    yield pair
    for one in pair:
        await one.close()


@pytest.mark.service
async def test_whose_connection_breaks_notices_and_leads_no_more(pool, two):
    first, second = two
    assert await first.is_leader()
    await pool.execute(CUT_OFF, await pool.fetchval(HOLDER, first.key))
    for _ in range(TRIES_MAX):  # until the server has let go of it
        if await second.is_leader():
            break
    assert not await first.is_leader()
    assert await second.is_leader()


@pytest.mark.service
async def test_who_cannot_ask_does_not_lead(two):
    nowhere = PostgresLeaderElection("postgresql://nobody@127.0.0.1:1/nothing")
    assert not await nowhere.is_leader()
    assert not await nowhere.is_leader()


@pytest.mark.service
async def test_who_does_not_lead_keeps_no_connection(pool, two):
    first, second = two
    assert await first.is_leader()
    assert not await second.is_leader()
    for _ in range(TRIES_MAX):  # until the server has let go of it
        left = await pool.fetch(THEIRS, LEADER_APPLICATION_NAME)
        if len(left) == 1:
            break
    assert [row["pid"] for row in left] == [await pool.fetchval(HOLDER, first.key)]


@pytest.mark.service
async def test_who_leads_holds_up_no_vacuum(pool, two):
    first, _ = two
    assert await first.is_leader()
    holder = await pool.fetchval(HOLDER, first.key)
    row = await pool.fetchrow("SELECT * FROM pg_stat_activity WHERE pid = $1", holder)
    assert (row["backend_xid"], row["backend_xmin"]) == (None, None)


@pytest.mark.service
async def test_a_call_that_is_given_up_leaves_nothing_behind(pool, two):
    first, second = two
    asking = asyncio.create_task(first.is_leader())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await second.is_leader()
