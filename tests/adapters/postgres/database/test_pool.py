"""Whatever happened on a connection before, the next caller of the pool gets one that works."""

import asyncio
import itertools
from uuid import uuid4

import asyncpg
import pytest

from adapters.postgres.database.pool import TRANSIENT_ERRORS, Engine, PoolSettings, open_pool
from adapters.postgres.database.tenants import Begin, within
from adapters.postgres.piccolo_conf import DB
from domain.ids import ProjectId
from tests.support.waiting import until

pytestmark = pytest.mark.service

ROWS = [(number, "x" * 300) for number in range(2_000)]  # more than the socket takes at once
NAMES = itertools.count()
TURNS = (0, 1, 2, 3, 5, 8, 13, 21)  # of the loop, until a statement is given up


@pytest.fixture
async def narrow(postgres_url):
    """A pool of two connections, and a table for them alone."""
    async with open_pool(DB, PoolSettings(url=postgres_url, size=2)) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS filled (number int, word text)")
        yield pool
        await pool.execute("DROP TABLE filled")


def reported(connection, code: str) -> None:
    """As if the server said that it gives up this connection, and didn't close it yet."""
    fields = f"SFATAL\0VFATAL\0C{code}\0Mgoing away\0\0".encode()
    message = b"E" + (len(fields) + 4).to_bytes(4) + fields
    connection._con._protocol.data_received(message)


async def test_closed_connection_is_not_handed_out(narrow):
    async with narrow.acquire() as first, narrow.acquire() as second:
        lost = {await one.fetchval("SELECT pg_backend_pid()") for one in (first, second)}
        reported(first, "57P01")
        reported(second, "57P01")
    async with narrow.acquire() as first, narrow.acquire() as second:
        found = {await one.fetchval("SELECT pg_backend_pid()") for one in (first, second)}
    assert len(found) == 2
    assert not found & lost


async def test_connection_closed_before_copy_is_not_handed_out(narrow):
    async with narrow.acquire() as connection:
        reported(connection, "57P01")
        with pytest.raises(asyncpg.InternalClientError):
            await copied(connection)
    assert [await narrow.fetchval("SELECT 1") for _ in range(4)] == [1, 1, 1, 1]


async def test_transaction_cancelled_while_it_begins_is_rolled_back(narrow, postgres_url, caplog):
    """The driver would roll it back later, and log an error."""
    name = f"SELECT pg_sleep(600) AS begins_{next(NAMES)}"

    async def begin() -> None:
        async with within(narrow, ProjectId(uuid4())).transaction(Begin("BEGIN", then=(name,))):
            pass

    other = await asyncpg.connect(postgres_url)
    task = asyncio.create_task(begin())
    try:
        begun = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1"
        await until(lambda: other.fetchval(begun, f"%{name}%"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        await other.close()
    assert [one.message for one in caplog.records if one.name == "asyncio"] == []
    assert [await narrow.fetchval("SELECT 1") for _ in range(4)] == [1, 1, 1, 1]


@pytest.mark.parametrize("turns", TURNS)
async def test_connection_lost_before_its_statement_is_a_passing_failure(postgres_url, turns):
    """Whenever it is lost: while it is looked at, or later."""
    async with open_pool(Engine({}), PoolSettings(url=postgres_url, size=1)) as pool:
        ours = within(pool, ProjectId(uuid4()))
        assert await ours.fetchval("SELECT 1") == 1
        asking = asyncio.create_task(ours.fetchval("SELECT 2"))
        for _ in range(turns):
            await asyncio.sleep(0)
        pool.terminate_all()
        [found] = await asyncio.gather(asking, return_exceptions=True)
        assert found == 2 or isinstance(found, TRANSIENT_ERRORS), repr(found)
        assert await ours.fetchval("SELECT 3") == 3


async def test_idle_check_sends_nothing_to_server(narrow):
    last = "SELECT state_change FROM pg_stat_activity WHERE pid = $1"
    async with narrow.acquire() as watching:
        async with narrow.acquire() as watched:
            pid = await watched.fetchval("SELECT pg_backend_pid()")
        before = await watching.fetchval(last, pid)
        async with narrow.acquire() as watched:
            assert watched.get_server_pid() == pid
        assert await watching.fetchval(last, pid) == before
        async with narrow.acquire() as watched:
            await watched.fetchval("SELECT 1")
        assert await watching.fetchval(last, pid) > before


async def test_new_connection_has_no_transaction(postgres_url):
    async with (
        open_pool(DB, PoolSettings(url=postgres_url, size=1)) as pool,
        pool.acquire() as connection,
        connection.transaction(isolation="serializable"),
    ):
        assert await connection.fetchval("SHOW transaction_isolation") == "serializable"


async def test_first_statement_has_timeout(narrow):
    async with narrow.acquire() as connection:
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(10)", timeout=0.1)
    assert await narrow.fetchval("SELECT 1") == 1


async def fetched(connection):
    await connection.fetch("SELECT * FROM generate_series(1, 20000)")


async def prepared(connection):
    await connection.fetch(f"SELECT 1 AS one_{next(NAMES)}")


async def copied(connection):
    await connection.copy_records_to_table("filled", records=ROWS)


async def copied_in_a_transaction(connection):
    async with connection.transaction():
        await copied(connection)


async def copied_badly(connection):
    with pytest.raises(TypeError):
        await connection.copy_records_to_table("filled", records=[*ROWS, (1, 1)])


async def failed(connection):
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.fetch("SELECT nothing_of_that_name")


GIVEN_UP = (fetched, prepared, copied, copied_in_a_transaction, copied_badly, failed)


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("work", GIVEN_UP, ids=lambda work: work.__name__)
async def test_cancelled_statement_leaves_connection_usable(narrow, work, turns):
    async def worked() -> None:
        async with narrow.acquire() as connection:
            await work(connection)

    tasks = [asyncio.create_task(worked()) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    async with narrow.acquire() as first, narrow.acquire() as second:
        assert not first.is_in_transaction()
        assert not second.is_in_transaction()
        assert await asyncio.gather(
            *(one.fetchval("SELECT $1::int", number) for number, one in enumerate((first, second)))
        ) == [0, 1]
