"""Errors of the server are transient for every statement."""

import asyncpg
import pytest

from adapters.postgres.database.pool import identity_lookup, translate_errors
from adapters.postgres.tracing.writes.batch_writer import is_transient
from domain.errors import Unavailable

pytestmark = pytest.mark.service

OF_THE_SERVER = {
    "disk full": "53100",
    "out of memory": "53200",
    "too many connections": "53300",
    "input or output failed": "58030",
    "shutting down": "57P01",
    "read-only": "25006",
    "deadlock": "40P01",
}


@pytest.mark.parametrize("code", OF_THE_SERVER.values(), ids=OF_THE_SERVER)
async def test_server_errors_raise_unavailable(pool, code):
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$"
    with pytest.raises(Unavailable) as caught:
        async with translate_errors():
            await pool.execute(raised)
    assert isinstance(caught.value.__cause__, Exception)
    # The writer doesn't try a failed batch again in halves: no trace of it is at fault.
    assert is_transient(caught.value.__cause__)


@pytest.mark.parametrize(
    ("code", "said", "retry_after_s"),
    [
        ("55P03", "The database is busy", 1),
        ("53100", "The database refuses writes", 3),
        ("25006", "The database refuses writes", 3),
        ("53300", "The database cannot be reached", 3),
        ("57P03", "The database cannot be reached", 3),
        ("57014", "took too long: narrow the request, first its period", 1),
    ],
)
async def test_busy_and_read_only_database_are_not_called_unreachable(
    pool, code, said, retry_after_s
):
    """An outage takes longer: clients that try a few times have to bridge it."""
    with pytest.raises(Unavailable, match=said) as caught:
        async with translate_errors():
            await pool.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
    assert caught.value.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    "said",
    [
        "SSL SYSCALL error: EOF detected",
        "SSL connection has been closed unexpectedly",
        "server closed the connection unexpectedly",
        "connection to the remote node serving@worker:5432 failed: Connection refused",
        "connection not open",
        "could not commit transaction for shard 102154 on at least one active node",
        "failed to prepare transaction citus_0_1_2_3 on host worker:5432",
        "failure on connection marked as essential: worker:5432",
        "postmaster was shut down, exiting",
    ],
)
async def test_node_of_citus_that_ended_raises_unavailable(pool, said):
    """In the words of Citus, and of the client that it uses. Other internal errors stay errors."""
    raised = "DO $$ BEGIN RAISE EXCEPTION '%', '{}' USING ERRCODE = 'XX000'; END $$"
    with pytest.raises(Unavailable) as caught:
        async with translate_errors():
            await pool.execute(raised.format(said))
    assert is_transient(caught.value.__cause__)
    with pytest.raises(asyncpg.InternalServerError):
        async with translate_errors():
            await pool.execute(raised.format("cache lookup failed for type 1"))


async def test_slow_identity_lookup_raises_unavailable(pool):
    with pytest.raises(Unavailable):
        async with identity_lookup(within_s=0.05):
            await pool.execute("SELECT pg_sleep(60)")
    async with identity_lookup():
        assert await pool.fetchval("SELECT 1") == 1
