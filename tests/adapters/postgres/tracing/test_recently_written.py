"""The index of when traces were written: what it finds, and what it doesn't cost."""

import uuid

import pytest

from adapters.postgres.database.pool import Pool
from adapters.postgres.evaluation.monitors.change_feed import PostgresChangeFeed
from domain.evaluation.runs.selection import TraceSelection
from domain.ids import ProjectId
from tests.support.builders.values import trace
from tests.support.fixtures import data_plane
from tests.support.fixtures.evaluation.monitors import NO_DELAY

pytestmark = pytest.mark.service

REWRITE = "UPDATE traces SET updated_at = now() WHERE project_id = $1 AND trace_id = $2"
# `tableoid` is the table that has the row: on a cluster it is on a worker.
STAYED = """
SELECT pg_stat_get_xact_tuples_hot_updated(tableoid) FROM traces
WHERE project_id = $1 AND trace_id = $2
"""
RENEW_DEBOUNCE = (
    "EXPLAIN SELECT trace_id FROM traces WHERE updated_at > now() - interval '1 minute'"
)


async def test_rewritten_trace_can_stay_on_its_page(pool: Pool) -> None:
    ours, one = ProjectId(uuid.uuid4()), trace()
    async with data_plane.over_postgres(pool) as plane:
        await plane.traces.put(ours, one)
    async with pool.acquire() as connection, connection.transaction():
        for _ in range(10):  # the first may find pages that have room for one row
            await connection.execute(REWRITE, ours, one.id)
        assert await connection.fetchval(STAYED, ours, one.id) >= 1


async def test_recent_writes_are_found_by_index(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")  # as everywhere, on workers too
        plan = await connection.fetch(RENEW_DEBOUNCE)
    assert any("traces_updated" in row[0] for row in plan)


async def test_change_feed_accepts_every_filter(pool: Pool) -> None:
    """The statement is one that Postgres takes, whatever is asked."""
    ours, changed = ProjectId(uuid.uuid4()), PostgresChangeFeed(pool, NO_DELAY)
    edge = await changed.readable_until()
    everything = TraceSelection(session_id="s", user_id="u", tags=("a", "b"), name="100%_\\")
    assert await changed.targets(ours, everything, edge, edge, 10) == []
