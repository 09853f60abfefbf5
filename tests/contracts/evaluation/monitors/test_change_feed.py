"""Contract of ChangeFeed, run against every adapter.

Its clock is the store's own, so what is compared here are marks, and no times.
"""

import asyncio

import pytest

from adapters.postgres.evaluation.monitors.change_feed import PostgresChangeFeed
from domain.evaluation.monitors.monitor import SETTLE_DELAY
from domain.evaluation.runs.selection import GivenInstant, SessionSelection, TraceSelection
from domain.tracing.trace import TraceChange, TraceStatus
from tests.support.builders.values import at, span, trace
from tests.support.fixtures.data_plane import fill, project
from tests.support.fixtures.monitors import AT_ONCE, over_postgres

SESSIONS = SessionSelection()


def ids(*traces):
    return sorted(str(one.id) for one in traces)


async def test_what_was_written_after_a_mark(monitoring):
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


async def test_what_comes_late_counts_by_when_it_came(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    await fill(plane, ours, trace(started_at=at(1_000)))
    mark = await monitoring.changed.readable_until()
    late = trace(started_at=at(-1_000_000))
    await fill(plane, ours, late)
    assert await monitoring.targets(ours, mark) == ids(late)


async def test_nothing_beyond_the_upper_mark_is_looked_at(monitoring):
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


async def test_a_report_that_changes_nothing_is_no_write(monitoring):
    ours, plane, one = project(), monitoring.evaluating.plane, trace(span())
    await fill(plane, ours, one)
    mark = await monitoring.changed.readable_until()
    await plane.traces.put(ours, one)
    await plane.traces.retag(ours, [one.id], [], ["absent"])
    assert await monitoring.targets(ours, mark) == []


async def test_a_selection_narrows_what_has_changed(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    meant = trace(name="Run 100%", tags=("x",), started_at=at(5), user_id="u")
    await fill(plane, ours, meant, trace(started_at=at(5)), trace(name="Run 100%"))
    for selection in (
        TraceSelection(tags=("x", "y")),
        TraceSelection(name="100%", date_from=GivenInstant("x", at(5))),
        TraceSelection(user_id="u", date_to=GivenInstant("x", at(6))),
    ):
        assert await monitoring.targets(ours, None, selection) == ids(meant)


async def test_the_first_are_told_in_order_and_one_too_many(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    sent = [trace(session_id=f"s{n}") for n in range(5)]
    await fill(plane, ours, *sent)
    edge = await monitoring.changed.readable_until()
    found = await monitoring.changed.targets(ours, TraceSelection(), None, edge, 2)
    assert found == ids(*sent)[:3]
    found = await monitoring.changed.targets(ours, SESSIONS, None, edge, 2)
    assert found == ["s0", "s1", "s2"]


async def test_a_session_changes_with_any_trace_and_is_judged_by_its_selected_ones(monitoring):
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


async def test_what_was_just_written_settles_first(monitoring):
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


async def test_nothing_of_a_removed_project_has_changed(monitoring):
    ours, plane = project(), monitoring.evaluating.plane
    await fill(plane, ours, trace(session_id="s"))
    await monitoring.evaluating.remove(ours)
    assert await monitoring.targets(ours) == []
    assert await monitoring.targets(ours, None, SESSIONS) == []


# --- what commits late ---------------------------------------------------------------------------

A_TRACE = """
INSERT INTO traces (project_id, trace_id, name, search_name, status, started_at, tags, metadata,
  span_count, error_span_count, prompt_tokens, completion_tokens, total_cost, models, terms)
VALUES ($1, $2, 'late', 'late', 'COMPLETED', now(), '{}', '{}', 0, 0, 0, 0, 0, '{}', '{}')
"""


@pytest.mark.service
@pytest.mark.parametrize("has_written", [True, False], ids=["written", "begun"])
async def test_nobody_looks_beyond_a_write_that_is_under_way(pool, has_written):
    """Others that begin later commit before it: they wait for the next look, and it isn't lost."""
    ours, late = project(), trace()
    changed = PostgresChangeFeed(pool, AT_ONCE)
    selection = TraceSelection()
    async with pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        if has_written:
            await connection.execute(A_TRACE, ours, late.id)
        else:
            await connection.fetchval("SELECT now()")
        await pool.execute(A_TRACE, ours, (other := trace()).id)
        during = await changed.readable_until()
        assert await changed.targets(ours, selection, None, during, 9) == []
        if not has_written:
            await connection.execute(A_TRACE, ours, late.id)
        await writing.commit()
    after = await changed.readable_until()
    assert after > during
    assert await changed.targets(ours, selection, during, after, 9) == ids(late, other)


@pytest.mark.service
async def test_a_write_that_is_given_up_holds_up_nobody(pool):
    ours, changed = project(), PostgresChangeFeed(pool, AT_ONCE)
    async with pool.acquire() as connection:
        writing = connection.transaction()
        await writing.start()
        await connection.execute(A_TRACE, ours, trace().id)
        during = await changed.readable_until()
        await writing.rollback()
    await pool.execute(A_TRACE, ours, (stored := trace()).id)
    after = await changed.readable_until()
    assert await changed.targets(ours, TraceSelection(), during, after, 9) == ids(stored)


@pytest.mark.service
async def test_looks_and_writes_at_once_pass_nothing_over(pool):
    """Every trace is found by exactly those looks between whose marks it was written."""
    ours, sent = project(), [trace() for _ in range(120)]
    async with over_postgres(pool) as monitoring:
        assert sorted(await looked_at_meanwhile(monitoring, ours, sent)) == ids(*sent)


async def looked_at_meanwhile(monitoring, ours, sent):
    """What is found, look by look, while traces are written."""
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
