"""Contract of Sessions, run against every adapter."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import NotFound
from domain.page import PageRequest
from domain.tracing.session import SessionSummary
from domain.tracing.span import SpanChange, SpanStatus, Totals
from domain.tracing.trace import TraceChange, TraceStatus
from tests.support.builders.scores import session_score
from tests.support.builders.values import NOON, at, prices, span, trace, trace_id
from tests.support.fixtures.data_plane import (
    assert_summaries_match,
    fill,
    project,
    session,
    session_counts,
    sessions_page,
    traces_page,
)

PRICE = prices().price
USAGE = b'{"prompt_tokens":3,"completion_tokens":4}'


# --- summaries -------------------------------------------------------------------------------


async def test_summary_aggregates_traces(plane):
    ours = project()
    await fill(
        plane, ours,
        trace(
            span(cost={"total": 0.1}, token_usage=USAGE), session_id="s", started_at=at(5),
            ended_at=at(6.5), tags=("b", "a", "b"), user_id="late",
        ),
        trace(
            span(cost={"total": 0.2}), span(status=SpanStatus.ERROR), session_id="s",
            tags=("c", "a"),
        ),
        trace(session_id="s", started_at=at(1), ended_at=at(0.75), user_id="early"),
        trace(session_id=None, user_id="none", status=TraceStatus.ERROR),
    )  # fmt: skip
    expected = SessionSummary(
        id="s", trace_count=3, first_trace_at=NOON, last_trace_at=at(6.5),
        last_activity_at=at(6.5), latency_us=1_500_000, has_error=False, user_id="early",
        tags=("a", "b", "c"), totals=Totals(3, 3, 4, Decimal("0.3"), 1),
    )  # fmt: skip
    assert list((await sessions_page(plane, ours)).items) == [expected]
    assert await session(plane, ours, "s") == expected


async def test_summary_of_running_session_has_no_end(plane):
    ours = project()
    await fill(plane, ours, trace(session_id="s"), trace(session_id="s", started_at=at(3)))
    found = await session(plane, ours, "s")
    assert (found.last_trace_at, found.latency_us, found.last_activity_at) == (None, None, at(3))
    assert (found.user_id, found.tags, found.totals) == (None, (), Totals())


async def test_user_is_that_of_earliest_trace_then_smallest_id(plane):
    ours = project()
    first, second, low, high = sorted(trace_id() for _ in range(4))
    await fill(
        plane, ours, trace(session_id="s"),
        trace(id=high, session_id="s", started_at=at(1), user_id="a"),
        trace(id=low, session_id="s", started_at=at(1), user_id="z"),
        trace(session_id="s", started_at=at(2), user_id="b"),
        trace(id=first, session_id="in order", user_id="z"),
    )  # fmt: skip
    await plane.traces.put(ours, trace(id=second, session_id="in order", user_id="a"))
    assert (await session(plane, ours, "s")).user_id == "z"
    assert (await session(plane, ours, "in order")).user_id == "z"
    await plane.traces.change(ours, low, TraceChange(user_id=None))
    assert (await session(plane, ours, "s")).user_id == "a"
    await plane.traces.delete(ours, [high])
    assert (await session(plane, ours, "s")).user_id == "b"
    await plane.traces.put(ours, trace(id=low, session_id="s", started_at=at(3), user_id=""))
    assert (await session(plane, ours, "s")).user_id == "b"


@pytest.mark.parametrize(
    "key",
    ["", " ", "a/b", "a%2Fb", "100%", "_", "\\", "analytics", "🐼 panda", "x" * 255, "🐼" * 255],
    ids=ascii,
)
async def test_any_text_is_a_session_id(plane, key):
    ours = project()
    await fill(plane, ours, trace(session_id=key), trace(session_id=f"{key}'"), trace())
    assert await session_counts(plane, ours) == {key: 1, f"{key}'": 1}
    found = await plane.sessions.get(ours, key, PageRequest())
    assert (found.summary.id, found.traces[0].session_id) == (key, key)
    assert key in await session_counts(plane, ours, query=key)
    assert await plane.sessions.delete(ours, key) == 1
    assert await session_counts(plane, ours) == {f"{key}'": 1}


# --- single sessions -------------------------------------------------------------------------


async def test_get_returns_full_traces_by_page(plane):
    ours = project()
    sent = [
        trace(
            span(input=b"1.0"), span(started_at=at(-1)), session_id="s", started_at=at(n // 2),
            input=b'"\\u0000"', metadata=b'{"n": 1.0}', name=f"n{n}",
        )
        for n in range(5)
    ]  # fmt: skip
    await fill(plane, ours, *sent, trace(session_id="t"))
    whole = sorted((one.settled(PRICE) for one in sent), key=lambda one: (one.started_at, one.id))
    found = await plane.sessions.get(ours, "s", PageRequest(limit=200))
    assert list(found.traces) == whole
    assert found.summary == SessionSummary.from_traces("s", whole)
    for limit, offset in [(2, 0), (2, 1), (2, 4), (1000, 4), (2, 5), (2, 2**63 - 1)]:
        part = await plane.sessions.get(ours, "s", PageRequest(limit=limit, offset=offset))
        assert list(part.traces) == whole[offset : offset + limit]
        assert part.summary == found.summary


async def test_session_without_traces_is_not_found(plane):
    ours, theirs = project(), project()
    await fill(plane, ours, trace(session_id="s"), trace())
    for of, key in [(ours, "t"), (ours, "S"), (ours, ""), (theirs, "s")]:
        with pytest.raises(NotFound):
            await plane.sessions.get(of, key, PageRequest())
        assert await plane.sessions.delete(of, key) == 0
    assert await session_counts(plane, ours) == {"s": 1}
    assert await session_counts(plane, theirs) == {}


async def test_deletion_of_session_without_traces_deletes_its_scores(plane):
    ours, one, scores = project(), trace(session_id="s"), plane.evaluation.session_scores
    await fill(plane, ours, one, trace(session_id="t"))
    for key in "st":
        await scores.add(session_score(ours, key))
    await plane.traces.delete(ours, [one.id])
    assert [len(await scores.by_session(ours, key)) for key in "st"] == [1, 1]
    assert await plane.sessions.delete(ours, "s") == 0
    assert [len(await scores.by_session(ours, key)) for key in "st"] == [0, 1]


async def test_same_id_in_two_projects_is_two_sessions(plane):
    ours, theirs, same = project(), project(), trace_id()
    await fill(plane, ours, trace(id=same, session_id="s", tags=("ours",)))
    await fill(plane, theirs, trace(id=same, session_id="s"), trace(session_id="s"))
    assert (await session_counts(plane, ours), await session_counts(plane, theirs)) == (
        {"s": 1},
        {"s": 2},
    )
    assert await plane.sessions.delete(theirs, "s") == 2
    assert (await session(plane, ours, "s")).tags == ("ours",)


async def test_deleting_session_deletes_its_traces(plane):
    ours = project()
    step = span(model="m", cost={"a": 1.0})
    kept, gone = trace(step, session_id="t", user_id="u"), trace(step, session_id="s", user_id="u")
    await fill(plane, ours, kept, gone, trace(session_id="s", input=b"1"), trace())
    assert await plane.sessions.delete(ours, "s") == 2
    assert await plane.sessions.delete(ours, "s") == 0
    with pytest.raises(NotFound):
        await plane.traces.get(ours, gone.id)
    assert (await traces_page(plane, ours)).total == 2
    await assert_summaries_match(plane, ours)
    await plane.traces.put(ours, trace(id=gone.id, session_id="s"))
    found = await plane.sessions.get(ours, "s", PageRequest())
    assert (found.summary.trace_count, found.traces[0].spans) == (1, ())


# --- changes of traces -----------------------------------------------------------------------


async def test_moved_trace_changes_both_sessions(plane):
    ours = project()
    sent = trace(
        span(cost={"a": 1.0}), session_id="s", user_id="u", tags=("t",), ended_at=at(9),
        status=TraceStatus.ERROR,
    )  # fmt: skip
    await fill(plane, ours, sent, trace(session_id="s", started_at=at(1), user_id="v"))
    await plane.traces.put(ours, replace(sent, session_id="z", spans=()))
    assert await session_counts(plane, ours) == {"s": 1, "z": 1}
    await assert_summaries_match(plane, ours)
    await plane.traces.change(ours, sent.id, TraceChange(session_id="s", user_id="w"))
    assert await session_counts(plane, ours) == {"s": 2}
    assert (await session(plane, ours, "s")).user_id == "w"
    await plane.traces.change(ours, sent.id, TraceChange(session_id=None))
    assert await session_counts(plane, ours) == {"s": 1}
    found = await session(plane, ours, "s")
    assert (found.has_error, found.tags, found.user_id) == (False, (), "v")
    assert (found.last_trace_at, found.totals) == (None, Totals())
    await assert_summaries_match(plane, ours)


async def test_summary_follows_changes_of_traces(plane):
    ours, step = project(), span(cost={"a": 1.0}, token_usage=USAGE)
    sent = trace(step, session_id="s", tags=("a", "b"), ended_at=at(5), user_id="u")
    other = trace(session_id="s", tags=("b",), started_at=at(1), ended_at=at(2))
    await fill(plane, ours, sent, other)
    steps = [
        plane.traces.put(ours, replace(sent, started_at=at(3), spans=())),
        plane.traces.put(ours, replace(sent, status=TraceStatus.ERROR)),
        plane.traces.add_spans(ours, other.id, [span(cost={"a": 0.5}), step]),
        plane.traces.change_span(ours, sent.id, step.id, SpanChange(cost=None, token_usage=None)),
        plane.traces.change(ours, sent.id, TraceChange(ended_at=None)),
        plane.traces.change(ours, sent.id, TraceChange(status=TraceStatus.RUNNING, tags=("c",))),
        plane.traces.retag(ours, [sent.id, other.id], ["d"], ["b", "c"]),
        plane.traces.retag(ours, [sent.id, other.id], [], ["d"]),
        plane.traces.put(ours, replace(other, started_at=at(-7200), user_id="first")),
        plane.traces.delete(ours, [other.id]),
        plane.traces.delete(ours, [sent.id]),
    ]
    for change in steps:
        await change
        await assert_summaries_match(plane, ours)
    assert await session_counts(plane, ours) == {}


async def test_session_with_many_traces_is_deleted_completely(plane):
    ours = project()
    many = [trace(session_id="many") for _ in range(1_010)]
    await asyncio.gather(*(plane.traces.put(ours, one) for one in many))
    await fill(plane, ours, trace(session_id="other"))
    assert await plane.sessions.delete(ours, "many") == 1_010
    assert await plane.sessions.delete(ours, "many") == 0
    with pytest.raises(NotFound):
        await plane.sessions.get(ours, "many", PageRequest())
    assert await session_counts(plane, ours) == {"other": 1}
