"""Part of the contract of Traces: values that PostgreSQL rejects, and lost connections."""

import asyncio
from dataclasses import replace

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.tracing.traces import PostgresTraces
from domain.errors import Invalid, Unavailable
from domain.page import PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import SpanChange
from domain.tracing.trace import TraceChange
from tests.support.builders.values import prices, span, trace
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.servers import citus
from tests.support.waiting import until

pytestmark = pytest.mark.service

ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"
DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"input": DEEP}, "spans.1.input"),
        ({"metadata": b'{"a":' + DEEP + b"}"}, "spans.1.metadata"),
        ({"model_parameters": b'{"a":' + DEEP + b"}"}, "spans.1.model_parameters"),
    ],
    ids=["a payload", "metadata", "another object"],
)
async def test_invalid_trace_names_its_field_and_does_not_affect_others(pool, bad, field):
    ours = project()
    good = [trace(span(), input=b"1") for _ in range(40)]
    invalid = trace(span(), span(**bad))
    async with PostgresTraces.open(pool, prices()) as traces:
        outcomes = await asyncio.gather(
            *(traces.put(ours, one) for one in [*good[:20], invalid, *good[20:]]),
            return_exceptions=True,
        )
        assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[20]]
        assert isinstance(outcomes[20], Invalid)
        assert [error.field for error in outcomes[20].errors] == [field]
        assert await count(traces, ours) == 40
        with pytest.raises(Invalid) as caught:
            await traces.add_spans(ours, good[0].id, [span(), span(**bad)])
        assert [error.field for error in caught.value.errors] == [field.removeprefix("spans.")]
        assert len((await traces.get(ours, good[0].id)).spans) == 1


async def test_unchanged_trace_is_not_rewritten(pool):
    ours = project()
    sent = trace(span(input=b"1", metadata=b'{"a": 1}'), tags=("a", "b"), input=b"[1]")
    async with PostgresTraces.open(pool, prices()) as traces:
        await traces.put(ours, sent)
        spans = citus.placed("span_rows")
        written = f"SELECT xmin::text FROM {spans} WHERE project_id = $1 UNION ALL SELECT "
        written += "xmin::text FROM traces WHERE project_id = $1"
        before = await pool.fetch(written, ours)
        await traces.put(ours, sent)
        assert await pool.fetch(written, ours) == before
        await traces.put(ours, replace(sent, output=b"2"))
        assert await pool.fetch(written, ours) != before


async def test_lost_connections_do_not_fail_writes(pool):
    ours, sent = project(), trace(span())
    async with PostgresTraces.open(pool, prices()) as traces:
        await asyncio.gather(*(traces.put(ours, trace(span())) for _ in range(100)))
        async with pool.acquire() as other:
            ended = await other.fetch(
                "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database() "
                "AND usename = current_user AND backend_type = 'client backend'"
            )
            pids = [one["pid"] for one in ended]
            await until(lambda: other.fetchval(ALIVE, pids), lambda alive: alive == 0)
        assert pids
        await traces.put(ours, sent)
        assert (await traces.get(ours, sent.id)).id == sent.id


@pytest.mark.parametrize("field", ["input", "output"])
async def test_invalid_change_names_its_field_and_changes_nothing(pool, field):
    ours, step = project(), span(input=b"1", output=b"1")
    sent = trace(step, input=b"1", output=b"1", tags=("a",))
    async with PostgresTraces.open(pool, prices()) as traces:
        await traces.put(ours, sent)
        with pytest.raises(Invalid) as caught:
            await traces.change(ours, sent.id, TraceChange(**{field: DEEP}, tags=("b",)))
        assert [error.field for error in caught.value.errors] == [field]
        with pytest.raises(Invalid) as caught:
            await traces.change_span(ours, sent.id, step.id, SpanChange(**{field: DEEP}, name="n"))
        assert [error.field for error in caught.value.errors] == [field]
        assert await traces.get(ours, sent.id) == sent.settled(prices().price)


async def count(traces, of) -> int:
    page = await traces.summaries(
        of, TraceFilter(), TraceSort.STARTED_AT, SortOrder.ASC, PageRequest()
    )
    return page.total


@pytest.mark.slow
async def test_locked_trace_does_not_affect_others(pool, serving_url):
    """With a short limit, which each smaller batch with the locked trace reaches.

    On the worker of a cluster it is that of the serving role.
    """
    ours, locked = project(), trace()
    others = [trace() for _ in range(10)]
    settings = PoolSettings(url=serving_url, lock_timeout_ms=300)
    async with (
        open_pool(Engine(config={}), settings) as hasty,
        PostgresTraces.open(hasty, prices()) as traces,
        pool.acquire() as holder,
    ):
        await traces.put(ours, locked)
        async with holder.transaction():
            await holder.execute(
                "SELECT 1 FROM traces WHERE project_id = $1 AND trace_id = $2 FOR UPDATE",
                ours, locked.id,
            )  # fmt: skip
            again = [*others[:5], trace(span(), id=locked.id), *others[5:]]
            outcomes = await asyncio.gather(
                *(traces.put(ours, one) for one in again), return_exceptions=True
            )
        assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[5]]
        assert isinstance(outcomes[5], Unavailable)
        await traces.put(ours, again[5])
        assert len((await traces.get(ours, locked.id)).spans) == 1
