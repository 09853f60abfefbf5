"""Contract of ChangeFeed, run against every adapter.

Its clock is the store's own, so the tests compare watermarks and no times.
"""

import asyncio
from urllib.parse import urlsplit

import pytest

from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.evaluation.monitors.change_feed import PostgresChangeFeed
from domain.evaluation.monitors.monitor import SETTLE_DELAY
from domain.evaluation.runs.selection import (
    GivenInstant,
    Sample,
    SessionSelection,
    TraceSelection,
)
from domain.tracing.trace import TraceChange, TraceStatus
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.evaluation.monitors import NO_DELAY, over_postgres

SESSIONS = SessionSelection()


def ids(*traces):
    return sorted(str(one.id) for one in traces)


async def test_targets_after_watermark_are_those_written_since(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    early, late = trace(), trace()
    await fill(plane, ours, early)
    mark = await monitoring.changed.readable_until()
    assert await monitoring.targets(ours) == ids(early)
    assert await monitoring.targets(ours, mark) == []
    await fill(plane, ours, late)
    await fill(plane, project(), trace())
    assert await monitoring.targets(ours, mark) == ids(late)
    assert await monitoring.targets(ours) == ids(early, late)


async def test_late_trace_counts_by_arrival(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    await fill(plane, ours, trace(started_at=at(1_000)))
    mark = await monitoring.changed.readable_until()
    late = trace(started_at=at(-1_000_000))
    await fill(plane, ours, late)
    assert await monitoring.targets(ours, mark) == ids(late)


async def test_targets_beyond_upper_watermark_are_left_out(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    first, second = trace(session_id="s"), trace(session_id="t")
    await fill(plane, ours, first)
    mark = await monitoring.changed.readable_until()
    await fill(plane, ours, second)
    changed = monitoring.changed
    assert await changed.targets(ours, TraceSelection(), None, mark, 9) == ids(first)
    assert await changed.targets(ours, SESSIONS, None, mark, 9) == ["s"]
    assert await changed.targets(ours, TraceSelection(), mark, mark, 9) == []


@pytest.mark.parametrize("how", ["sent", "span", "edited", "tagged", "output"])
async def test_every_write_of_a_trace_counts(monitoring, how):
    ours, plane = project(), monitoring.evaluating.plane
    one = trace(span(), session_id="s", output=b'"a"')
    await fill(plane, ours, one, trace(session_id="t"))
    mark = await monitoring.changed.readable_until()
    match how:
        case "sent":
            await plane.traces.put(ours, trace(id=one.id, status=TraceStatus.ERROR))
        case "span":
            await plane.traces.add_spans(ours, one.id, [span()])
        case "edited":
            await plane.traces.change(ours, one.id, TraceChange(name="other"))
        case "tagged":
            await plane.traces.retag(ours, [one.id], ["new"], [])
        case _:
            await plane.traces.put(ours, trace(id=one.id, output=b'"b"'))
    assert await monitoring.targets(ours, mark) == ids(one)
    assert await monitoring.targets(ours, mark, SESSIONS) == ["s"]


async def test_write_that_changes_nothing_does_not_count(monitoring):
    ours, plane, one = project(), monitoring.evaluating.plane, trace(span())
    await fill(plane, ours, one)
    mark = await monitoring.changed.readable_until()
    await plane.traces.put(ours, one)
    await plane.traces.retag(ours, [one.id], [], ["absent"])
    assert await monitoring.targets(ours, mark) == []


async def test_selection_filters_changed_traces(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    matching = trace(name="Run 100%", tags=("x",), started_at=at(5), user_id="u")
    await fill(plane, ours, matching, trace(started_at=at(5)), trace(name="Run 100%"))
    for selection in (
        TraceSelection(tags=("x", "y")),
        TraceSelection(name="100%", date_from=GivenInstant("x", at(5))),
        TraceSelection(user_id="u", date_to=GivenInstant("x", at(6))),
    ):
        assert await monitoring.targets(ours, None, selection) == ids(matching)


async def test_targets_come_in_order_up_to_one_over_limit(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    sent = [trace(session_id=f"s{n}") for n in range(5)]
    await fill(plane, ours, *sent)
    edge = await monitoring.changed.readable_until()
    found = await monitoring.changed.targets(ours, TraceSelection(), None, edge, 2)
    assert found == ids(*sent)[:3]
    found = await monitoring.changed.targets(ours, SESSIONS, None, edge, 2)
    assert found == ["s0", "s1", "s2"]


async def test_sample_is_that_of_what_changed(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    await fill(plane, ours, *(trace(session_id=f"old {n}") for n in range(5)))
    mark = await monitoring.changed.readable_until()
    sent = [trace(session_id=f"s{n}") for n in range(10)]
    await fill(plane, ours, *sent)
    edge = await monitoring.changed.readable_until()
    sample, changed = Sample(0.3, "salt"), monitoring.changed
    found = await changed.targets(ours, TraceSelection(), mark, edge, 3, sample=sample)
    assert tuple(found) == sample.select(ids(*sent))
    found = await changed.targets(ours, SESSIONS, mark, edge, 3, sample=sample)
    assert tuple(found) == sample.select(sorted(one.session_id for one in sent))


async def test_session_changes_with_any_trace_and_matches_by_selected_traces(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    failed = [trace(session_id="s", status=TraceStatus.ERROR, user_id="u") for _ in range(2)]
    await fill(plane, ours, *failed, trace(session_id="t", user_id="u"))
    mark = await monitoring.changed.readable_until()
    await fill(plane, ours, trace(session_id="s", user_id="v"))
    for selection, found in (
        (SESSIONS, ["s"]),
        (SessionSelection(has_error=True, user_id="u"), ["s"]),
        (SessionSelection(min_trace_count=2, user_id="u"), ["s"]),
        (SessionSelection(min_trace_count=3, user_id="u"), []),
        (SessionSelection(has_error=False), []),
        (SessionSelection(user_id="w"), []),
    ):
        assert await monitoring.targets(ours, mark, selection) == found, selection


async def test_settle_delay_hides_recent_writes(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    now, settled = (
        await monitoring.changed.readable_until(),
        await monitoring.settled.readable_until(),
    )
    assert now.written_at - settled.written_at <= SETTLE_DELAY
    await fill(plane, ours, trace())
    edge = await monitoring.settled.readable_until()
    assert await monitoring.settled.targets(ours, TraceSelection(), None, edge, 9) == []
    assert len(await monitoring.targets(ours)) == 1


async def test_removed_project_has_no_changes(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    await fill(plane, ours, trace(session_id="s"))
    await monitoring.evaluating.remove(ours)
    assert await monitoring.targets(ours) == []
    assert await monitoring.targets(ours, None, SESSIONS) == []


# --- late commits --------------------------------------------------------------------------------

INSERT_TRACE = """
INSERT INTO traces (project_id, trace_id, name, search_name, status, started_at, tags, metadata,
  span_count, error_span_count, prompt_tokens, completion_tokens, total_cost,
  unpriced_span_count, models, terms)
VALUES ($1, $2, 'late', 'late', 'COMPLETED', now(), '{}', '{}', 0, 0, 0, 0, 0, 0, '{}', '{}')
"""


@pytest.mark.service
@pytest.mark.parametrize("has_written", [True, False], ids=["written", "begun"])
async def test_edge_stays_below_open_transactions(pool, has_written):
    """Later transactions that commit earlier wait for the next call, and none is lost."""
    ours, late = project(), trace()
    changed = PostgresChangeFeed(pool, NO_DELAY)
    selection = TraceSelection()
    async with pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        if has_written:
            await connection.execute(INSERT_TRACE, ours, late.id)
        else:
            await connection.fetchval("SELECT now()")
        await pool.execute(INSERT_TRACE, ours, (other := trace()).id)
        during = await changed.readable_until()
        assert await changed.targets(ours, selection, None, during, 9) == []
        if not has_written:
            await connection.execute(INSERT_TRACE, ours, late.id)
        await writing.commit()
    after = await changed.readable_until()
    assert after > during
    assert await changed.targets(ours, selection, during, after, 9) == ids(late, other)


@pytest.mark.service
async def test_edge_stays_below_transactions_of_pool_for_traces(pool, serving_url):
    """A database of its own has its own transactions, as a worker of Citus has."""
    another = urlsplit(serving_url)._replace(path="/template1").geturl()
    elsewhere = PoolSettings(url=another, size=2)
    async with open_pool(Engine({}), elsewhere) as near, near.acquire() as connection:
        changed = PostgresChangeFeed(pool, NO_DELAY, near=near)
        async with connection.transaction():
            began = await connection.fetchval("SELECT now()")
            assert (await PostgresChangeFeed(pool, NO_DELAY).readable_until()).written_at > began
            assert (await changed.readable_until()).written_at < began
        assert (await changed.readable_until()).written_at > began


@pytest.mark.service
async def test_rolled_back_transaction_does_not_hold_back_edge(pool):
    ours, changed = project(), PostgresChangeFeed(pool, NO_DELAY)
    async with pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        await connection.execute(INSERT_TRACE, ours, trace().id)
        during = await changed.readable_until()
        await writing.rollback()
    await pool.execute(INSERT_TRACE, ours, (stored := trace()).id)
    after = await changed.readable_until()
    assert await changed.targets(ours, TraceSelection(), during, after, 9) == ids(stored)


@pytest.mark.service
async def test_concurrent_reads_and_writes_miss_no_trace(pool):
    """Every trace is found by exactly the calls between whose watermarks it was written."""
    ours, sent = project(), [trace() for _ in range(120)]
    async with over_postgres(pool) as monitoring:
        assert sorted(await read_changes_while_writing(monitoring, ours, sent)) == ids(*sent)


async def read_changes_while_writing(monitoring, ours, sent):
    """Returns the targets that successive calls find while traces are written."""
    plane, changed, found, mark = monitoring.evaluating.plane, monitoring.changed, [], None
    writing = asyncio.gather(*(plane.traces.put(ours, one) for one in sent))
    while True:
        is_over = writing.done()
        edge = await changed.readable_until()
        found += await changed.targets(ours, TraceSelection(), mark, edge, 1_000)
        mark = edge
        if is_over:
            break
    await writing
    return found
