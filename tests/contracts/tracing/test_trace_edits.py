"""Part of the contract of Traces: changing and retagging, also concurrently."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal

import pytest

from domain.errors import NotFound
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus, Totals
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.usage import CostSource
from tests.support.builders.values import at, prices, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import (
    assert_summaries_match,
    fill,
    names,
    project,
    session,
    traces_page,
)

PRICE = prices().price


def full_span() -> Span:
    return span(
        kind=SpanKind.LLM, status=SpanStatus.ERROR, parent_id=span_id(), ended_at=at(2),
        completion_started_at=at(1), error="e", model="gpt-4o", input=b"1", output=b"2",
        metadata=b'{"a": 1}', token_usage=b'{"prompt_tokens":1000}',
        model_parameters=b'{"t": 0.0}', cost={"total": 0.5},
    )  # fmt: skip


def full_trace(*spans: Span) -> Trace:
    return trace(
        *spans, status=TraceStatus.RUNNING, ended_at=at(1), session_id="s", user_id="u",
        environment="e", release="r", input=b"1.0", output=b"2", metadata=b'{"a": 1, "b": 1.0}',
        tags=("b", "a", "b"),
    )  # fmt: skip


TRACE_CHANGES = [
    {},
    *({field: None} for field in ("name", "status", "tags")),
    *({field: None} for field in ("input", "output", "ended_at", "session_id", "user_id")),
    *({field: None} for field in ("environment", "release")),
    *({field: ""} for field in ("session_id", "user_id", "environment", "release")),
    {"name": "renamed 100%"},
    {"status": TraceStatus.ERROR},
    {"tags": ()},
    {"tags": ("z", 'q"\\', "z", "")},
    {"metadata": b'{"b": {"x": 2}, "c": "\\u00e9"}'},
    {"input": b'"\\u0000 1e400"', "output": b"[1.0, 12345678901234567890]"},
    {"ended_at": at(-5)},
    {"session_id": "other", "user_id": "other", "name": "n", "input": None},
]

SPAN_CHANGES = [
    {},
    *({field: None} for field in ("name", "kind", "status")),
    *({field: None} for field in ("input", "output", "model", "token_usage", "ended_at")),
    *({field: None} for field in ("error", "completion_started_at", "model_parameters", "cost")),
    {"name": "renamed", "kind": SpanKind.TOOL, "status": SpanStatus.OK, "error": ""},
    {"model": "", "cost": {}},
    {"model": "tiny", "cost": None, "token_usage": b'{"prompt_tokens": 7.0}'},
    {"cost": {"total": 0.0}},
    {"metadata": b'{"a": 2, "b": null}', "model_parameters": b'{"t":1e2}'},
    {"input": b"{}", "output": b'""', "ended_at": at(-1), "completion_started_at": at(0)},
]


# --- single traces and spans -----------------------------------------------------------------


@pytest.mark.parametrize("overrides", TRACE_CHANGES, ids=str)
async def test_change_stores_and_returns_patched_trace(plane, overrides):
    ours, sent = project(), full_trace(full_span(), span())
    await fill(plane, ours, sent, trace(session_id="s", user_id="u"))
    change = TraceChange(**overrides)
    expected = change.applied(sent.settled(PRICE))
    for _ in range(2):
        assert await plane.traces.change(ours, sent.id, change) == expected
        assert await plane.traces.get(ours, sent.id) == expected
    await assert_summaries_match(plane, ours)


@pytest.mark.parametrize("overrides", SPAN_CHANGES, ids=str)
async def test_change_stores_and_returns_patched_span(plane, overrides):
    ours, step, other = project(), full_span(), span(cost={"a": 0.1})
    sent = full_trace(step, other)
    await fill(plane, ours, sent)
    change = SpanChange(**overrides)
    expected = change.applied(step.settled(PRICE), PRICE)
    for _ in range(2):
        assert await plane.traces.change_span(ours, sent.id, step.id, change) == expected
        found = await plane.traces.get(ours, sent.id)
        assert {one.id: one for one in found.spans} == {
            step.id: expected, other.id: other.settled(PRICE)
        }  # fmt: skip
        assert replace(found, spans=()) == replace(sent.settled(PRICE), spans=())
    await assert_summaries_match(plane, ours)


async def test_unknown_trace_or_span_cannot_be_changed(plane):
    ours, theirs, step = project(), project(), span()
    sent, other = trace(step, tags=("t",)), trace(span())
    await fill(plane, ours, sent, other)
    change, span_change = TraceChange(name="stolen"), SpanChange(name="stolen")
    for of, one in [(theirs, sent.id), (ours, trace_id())]:
        with pytest.raises(NotFound):
            await plane.traces.change(of, one, change)
        with pytest.raises(NotFound):
            await plane.traces.change_span(of, one, step.id, span_change)
    for one, of_span in [(other.id, step.id), (sent.id, other.spans[0].id), (sent.id, span_id())]:
        with pytest.raises(NotFound):
            await plane.traces.change_span(ours, one, of_span, span_change)
    assert await plane.traces.retag(theirs, [sent.id], ["x"], ["t"]) == 0
    assert await plane.traces.get(ours, sent.id) == sent.settled(PRICE)


async def test_same_id_in_another_project_is_not_changed(plane):
    ours, theirs, same, step = project(), project(), trace_id(), span()
    for of in (ours, theirs):
        await fill(plane, of, trace(step, id=same, tags=("t",), session_id="s"))
    await plane.traces.change(ours, same, TraceChange(name="ours", session_id=None))
    await plane.traces.change_span(ours, same, step.id, SpanChange(name="ours"))
    assert await plane.traces.retag(ours, [same], [], ["t"]) == 1
    found = await plane.traces.get(theirs, same)
    assert (found.name, found.tags, found.spans[0].name) == ("run", ("t",), "step")
    assert (await session(plane, theirs, "s")).trace_count == 1


async def test_removed_client_cost_falls_back_to_price_table(plane):
    ours, step = project(), full_span()
    sent = trace(step)
    await fill(plane, ours, sent)
    found = await plane.traces.change_span(ours, sent.id, step.id, SpanChange(cost=None))
    assert (found.charge.amount, found.charge.source) == (Decimal("0.0025"), CostSource.TABLE)
    found = await plane.traces.change_span(ours, sent.id, step.id, SpanChange(model=None))
    assert found.charge.source is CostSource.UNPRICED
    [summary] = (await traces_page(plane, ours)).items
    assert summary.totals == Totals(1, 1000, 0, Decimal(0), 1, unpriced=1)


async def test_filters_match_changed_trace_by_new_values(plane):
    ours, step = project(), full_span()
    sent = full_trace(step)
    await fill(plane, ours, sent)
    await plane.traces.change(
        ours, sent.id,
        TraceChange(
            name="Größer", status=TraceStatus.COMPLETED, tags=("c",), metadata=b'{"a": 2}',
            ended_at=None, environment=None, release="2",
        ),
    )  # fmt: skip
    await plane.traces.change_span(
        ours, sent.id, step.id, SpanChange(model="tiny", status=SpanStatus.OK)
    )
    for there in (
        {"name": "GRÖSS"}, {"status": TraceStatus.COMPLETED}, {"tags": ("c",)}, {"release": "2"},
        {"metadata": (("a", ("2",)), ("b", ("1.0",)))}, {"model": "tiny"}, {"has_error": False},
    ):  # fmt: skip
        assert await names(plane, ours, **there) == ["Größer"], there
    for gone in (
        {"name": "run"}, {"status": TraceStatus.RUNNING}, {"tags": ("a", "b")}, {"release": "r"},
        {"metadata": (("a", ("1",)),)}, {"model": "gpt-4o"}, {"has_error": True},
        {"max_latency_ms": 1e9}, {"environment": "e"},
    ):  # fmt: skip
        assert await names(plane, ours, **gone) == [], gone


# --- retagging -------------------------------------------------------------------------------


async def test_retag_removes_before_adding(plane):
    ours = project()
    first, second, third = trace(tags=("b", "a", "b")), trace(), trace(tags=("x",))
    await fill(plane, ours, first, second, third)
    some = [first.id, second.id, first.id, trace_id()]
    assert await plane.traces.retag(ours, some, [], ["a", "z"]) == 2
    assert (await plane.traces.get(ours, first.id)).tags == ("b", "b")
    assert await plane.traces.retag(ours, some, ["c", "b", "c"], ["b"]) == 2
    assert (await plane.traces.get(ours, first.id)).tags == ("b", "c")
    assert (await plane.traces.get(ours, second.id)).tags == ("b", "c")
    assert await plane.traces.retag(ours, some, ["c"], []) == 2
    assert await plane.traces.retag(ours, some, [], []) == 2
    assert await plane.traces.retag(ours, [], ["c"], []) == 0
    assert (await plane.traces.get(ours, third.id)).tags == ("x",)
    assert len(await names(plane, ours, tags=("c",))) == 2
    assert await names(plane, ours, tags=("a",)) == []
    await assert_summaries_match(plane, ours)


async def test_retag_keeps_tags_beyond_request_limit(plane):
    ours, sent = project(), trace(tags=tuple(f"t{n:03}" for n in range(100)))
    await fill(plane, ours, sent)
    more = [f"u{n:03}" for n in range(100)]
    assert await plane.traces.retag(ours, [sent.id], more, []) == 1
    assert (await plane.traces.get(ours, sent.id)).tags == (*sent.tags, *more)
    assert await names(plane, ours, tags=("u099",)) == ["run"]


# --- concurrency -----------------------------------------------------------------------------

CLIENTS = 25
AT_ONCE = 5  # with four changes each; they wait for one lock, and no wait may exceed its limit


async def test_concurrent_changes_of_one_trace_lose_no_update(plane):
    ours = project()
    steps = [span(name=f"s{n}") for n in range(CLIENTS)]
    sent = trace(*steps, session_id="s", user_id="u")
    await fill(plane, ours, sent, trace(session_id="s"))

    room = asyncio.Semaphore(AT_ONCE)

    async def client(n: int) -> None:
        key = f'{{"k{n}":{n}}}'.encode()
        more = {"cost": {"total": 0.1}, "model": f"m{n % 3}", "status": SpanStatus.ERROR}
        step = SpanChange(metadata=key, **more)
        async with room:
            await asyncio.gather(
                plane.traces.change(ours, sent.id, TraceChange(metadata=key)),
                plane.traces.retag(ours, [sent.id], [f"t{n:02}"], []),
                plane.traces.change_span(ours, sent.id, steps[n].id, step),
                plane.traces.change_span(ours, sent.id, steps[0].id, SpanChange(metadata=key)),
            )

    await asyncio.gather(*(client(n) for n in range(CLIENTS)))
    found = await plane.traces.get(ours, sent.id)
    assert json.loads(found.metadata) == {f"k{n}": n for n in range(CLIENTS)}
    assert found.tags == tuple(f"t{n:02}" for n in range(CLIENTS))
    by_id = {one.id: one for one in found.spans}
    for n, step in enumerate(steps[1:], start=1):
        assert json.loads(by_id[step.id].metadata) == {f"k{n}": n}
    assert json.loads(by_id[steps[0].id].metadata) == {f"k{n}": n for n in range(CLIENTS)}
    cost = CLIENTS * Decimal("0.1")
    assert Totals.from_spans(found.spans) == Totals(CLIENTS, cost=cost, errors=CLIENTS)
    await assert_summaries_match(plane, ours)


async def test_concurrent_changes_and_writes_lose_no_update(plane):
    ours, ids = project(), [trace_id() for _ in range(4)]
    await fill(plane, ours, *(trace(id=one, session_id="s") for one in ids))

    room = asyncio.Semaphore(AT_ONCE)

    async def client(n: int) -> None:
        one, key = ids[n % 4], f'{{"k{n}":1}}'.encode()
        sent = trace(span(cost={"a": 1.0}), id=one, tags=(f"p{n:02}",), user_id=f"u{n % 2}")
        async with room:
            await asyncio.gather(
                plane.traces.put(ours, sent),
                plane.traces.change(ours, one, TraceChange(metadata=key, session_id=f"s{n % 3}")),
                plane.traces.add_spans(ours, one, [span(), span()]),
                plane.traces.retag(ours, ids[::-1] if n % 2 else ids, [f"r{n:02}"], ["none"]),
            )

    await asyncio.gather(*(client(n) for n in range(24)))
    traces = await assert_summaries_match(plane, ours)
    assert len(traces) == 4
    for one in traces:
        mine = [n for n in range(24) if ids[n % 4] == one.id]
        assert json.loads(one.metadata) == {f"k{n}": 1 for n in mine}
        expected = {f"p{n:02}" for n in mine} | {f"r{n:02}" for n in range(24)}
        assert one.tags == tuple(sorted(expected))
        assert Totals.from_spans(one.spans) == Totals(18, cost=Decimal(6))


async def test_changes_of_deleted_traces_leave_no_partial_data(plane):
    ours, ids, step = project(), [trace_id() for _ in range(3)], span_id()

    async def outcome(call) -> object:
        try:
            return await call
        except NotFound:
            return None

    for n in range(8):
        await fill(plane, ours, *(
            trace(span(id=step), id=one, session_id="s", user_id=f"u{n}") for one in ids
        ))  # fmt: skip
        await asyncio.gather(
            *(outcome(plane.traces.change(ours, one, TraceChange(tags=("t",)))) for one in ids),
            *(
                outcome(plane.traces.change_span(ours, one, step, SpanChange(cost={"a": 1.0})))
                for one in ids
            ),
            plane.traces.retag(ours, ids, ["r"], []),
            plane.traces.delete(ours, ids[:2]),
            plane.sessions.delete(ours, "s"),
        )
        await assert_summaries_match(plane, ours)
    await plane.traces.delete(ours, ids)
    assert await assert_summaries_match(plane, ours) == []
