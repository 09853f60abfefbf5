"""Contract of Traces, run against every adapter."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.store import MemoryStore
from adapters.memory.tracing import MemoryTraces
from adapters.postgres.engine import Pool
from adapters.postgres.tracing import PostgresTraces
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound, Unavailable
from domain.ids import ProjectId
from domain.page import Window
from domain.tracing.query import SortOrder, TraceFilter
from domain.tracing.span import SpanKind, SpanStatus, Totals
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import CostSource
from tests import strategies
from tests.builders import NOON, at, prices, span, span_id, trace, trace_id

SERVICE = pytest.mark.service


@pytest.fixture(params=["memory", pytest.param("postgres", marks=SERVICE)])
def adapter(request: pytest.FixtureRequest) -> Pool | None:
    """None for memory, else the pool. A plain fixture: it may ask for another by name."""
    return None if request.param == "memory" else request.getfixturevalue("pool")


@pytest.fixture
async def traces(adapter: Pool | None) -> AsyncIterator[Traces]:
    if adapter is None:
        yield MemoryTraces(MemoryStore(), prices())
        return
    async with PostgresTraces.over(adapter, prices()) as postgres:
        yield postgres


def project() -> ProjectId:
    """A project that no other test, and no other example of this one, has written to."""
    return ProjectId(uuid.uuid4())


async def names(traces: Traces, of: ProjectId, **conditions: Any) -> list[str]:
    page = await traces.summaries(of, TraceFilter(**conditions), SortOrder.ASC, Window())
    assert page.total == len(page.items)
    return [summary.name for summary in page.items]


# --- writing and reading -------------------------------------------------------------------------


async def test_what_was_put_reads_back_settled(traces):
    ours = project()
    llm = span(
        kind=SpanKind.LLM, status=SpanStatus.ERROR, parent_id=span_id(), ended_at=at(2),
        completion_started_at=at(1), error="boom", model="gpt-4o", input=b'{"a": 1.0}',
        output=b"[12345678901234567890]", token_usage=b'{"prompt_tokens": 1000}',
        model_parameters=b'{"temperature": 0.10}', cost={"total": 0.25}, started_at=at(1),
    )  # fmt: skip
    sent = trace(
        llm, span(started_at=at(0)), name="run", status=TraceStatus.RUNNING, ended_at=at(3),
        session_id="s", user_id="", environment="prod", release="1", input=b'"\\u0000"',
        output=b"1e2", tags=("b", "a", "b"),
    )  # fmt: skip
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    assert found == sent.settled(prices().price)
    assert [one.started_at for one in found.spans] == [at(0), at(1)]
    assert found.tags == ("b", "a", "b")


async def test_what_was_left_out_gets_its_default(traces):
    ours, sent = project(), trace(span())
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    assert found.status is TraceStatus.COMPLETED
    assert (found.spans[0].kind, found.spans[0].status) == (SpanKind.OTHER, SpanStatus.UNSET)
    assert found.spans[0].charge.source is CostSource.UNPRICED
    assert (found.input, found.output, found.metadata) == (None, None, b"{}")


async def test_an_unknown_trace_is_not_found(traces):
    with pytest.raises(NotFound):
        await traces.get(project(), trace_id())


async def test_another_project_sees_nothing_and_keeps_its_own(traces):
    ours, theirs, same = project(), project(), trace_id()
    step = span(name="ours")
    await traces.put(ours, trace(step, id=same, name="ours"))
    with pytest.raises(NotFound):
        await traces.get(theirs, same)
    with pytest.raises(NotFound):
        await traces.add_spans(theirs, same, [span()])
    assert await traces.delete(theirs, [same]) == 0
    assert await names(traces, theirs) == []
    await traces.put(theirs, trace(replace(step, name="theirs"), id=same, name="theirs"))
    assert (await traces.get(ours, same)).spans[0].name == "ours"
    assert await traces.delete(theirs, [same]) == 1
    assert (await traces.get(ours, same)).name == "ours"


async def test_the_same_span_id_in_two_traces_is_two_spans(traces):
    ours, step = project(), span()
    one, other = trace(step), trace(replace(step, name="other"))
    await traces.put(ours, one)
    await traces.put(ours, other)
    assert [s.name for s in (await traces.get(ours, one.id)).spans] == ["step"]
    assert [s.name for s in (await traces.get(ours, other.id)).spans] == ["other"]


# --- merging -------------------------------------------------------------------------------------


async def test_a_trace_sent_again_is_merged(traces):
    ours, step = project(), span(kind=SpanKind.LLM, input=b"1", metadata=b'{"a":1,"b":1}')
    first = trace(
        step, tags=("b", "a"), status=TraceStatus.RUNNING, input=b'"in"', metadata=b'{"k":{"x":1}}'
    )
    await traces.put(ours, first)
    again = span(id=step.id, name="renamed", output=b"2", metadata=b'{"b":2}')
    await traces.put(
        ours,
        trace(again, span(), id=first.id, name="later", tags=("c", "a"), metadata=b'{"k":{"y":2}}'),
    )
    found = await traces.get(ours, first.id)
    assert (found.name, found.tags, found.status) == ("later", ("a", "b", "c"), TraceStatus.RUNNING)
    assert found.input == b'"in"'
    assert json.loads(found.metadata) == {"k": {"y": 2}}
    merged = next(one for one in found.spans if one.id == step.id)
    assert (merged.name, merged.kind, merged.input, merged.output) == (
        "renamed", SpanKind.LLM, b"1", b"2",
    )  # fmt: skip
    assert json.loads(merged.metadata) == {"a": 1, "b": 2}
    assert len(found.spans) == 2


async def test_sums_are_right_after_repeats_late_spans_and_corrections(traces):
    ours = project()
    step = span(model="gpt-4o", token_usage=b'{"prompt_tokens":1000,"completion_tokens":100}')
    sent = trace(step)
    for _ in range(3):
        await traces.put(ours, sent)
    [summary] = (await page(traces, ours)).items
    assert summary.totals == Totals(1, 1000, 100, Decimal("0.0035"), 0)
    await traces.add_spans(
        ours, sent.id, [span(status=SpanStatus.ERROR, cost={"a": 0.1, "b": 0.2})]
    )
    [summary] = (await page(traces, ours)).items
    assert summary.totals == Totals(2, 1000, 100, Decimal("0.3035"), 1)
    await traces.put(ours, trace(replace(step, cost={"total": 1.0}), id=sent.id))
    [summary] = (await page(traces, ours)).items
    assert summary.totals == Totals(2, 1000, 100, Decimal("1.3"), 1)
    assert summary.totals == Totals.of((await traces.get(ours, sent.id)).spans)


async def test_a_price_is_found_once_the_missing_half_arrives(traces):
    ours, step = project(), span(model="gpt-4o")
    sent = trace(step)
    await traces.put(ours, sent)
    assert (await traces.get(ours, sent.id)).spans[0].charge.source is CostSource.UNPRICED
    usage = span(id=step.id, token_usage=b'{"completion_tokens":1000}')
    await traces.put(ours, trace(usage, id=sent.id))
    [found] = (await traces.get(ours, sent.id)).spans
    assert (found.charge.source, found.charge.amount) == (CostSource.TABLE, Decimal("0.01"))


async def test_token_sums_beyond_64_bits_are_kept(traces):
    ours = project()
    usage = b'{"prompt_tokens":9007199254740991}'
    sent = trace(*(span(token_usage=usage) for _ in range(1100)))
    await traces.put(ours, sent)
    [summary] = (await page(traces, ours)).items
    assert summary.totals.prompt_tokens == 1100 * (2**53 - 1)


async def page(traces: Traces, of: ProjectId, order: SortOrder = SortOrder.DESC, **window: int):
    return await traces.summaries(of, TraceFilter(), order, Window(**window))


# --- at once -------------------------------------------------------------------------------------


async def test_spans_of_one_trace_from_many_requests_at_once_are_all_kept(traces):
    ours, sent = project(), trace()
    parts = [replace(sent, spans=(span(),), tags=(f"t{n:02}",)) for n in range(40)]
    await asyncio.gather(*(traces.put(ours, part) for part in parts))
    await asyncio.gather(*(traces.add_spans(ours, sent.id, [span()]) for _ in range(10)))
    found = await traces.get(ours, sent.id)
    assert len(found.spans) == 50
    assert found.tags == tuple(sorted(f"t{n:02}" for n in range(40)))
    [summary] = (await page(traces, ours)).items
    assert summary.totals.spans == 50


async def test_writers_that_cross_each_other_neither_lose_nor_lock(traces):
    ours, ids = project(), [trace_id() for _ in range(12)]
    orders = [ids, ids[::-1], ids[6:] + ids[:6]]

    async def write(order):
        await asyncio.gather(*(traces.put(ours, trace(span(), id=one)) for one in order))
        await asyncio.gather(*(traces.add_spans(ours, one, [span()]) for one in order))

    await asyncio.gather(*(write(order) for order in orders * 3))
    for one in ids:
        assert len((await traces.get(ours, one)).spans) == 18


async def test_deleting_while_others_write_leaves_no_halves(traces):
    ours, ids = project(), [trace_id() for _ in range(4)]

    async def write(one):
        await traces.put(ours, trace(span(), span(), id=one, input=b"1"))

    async def delete():
        await traces.delete(ours, ids)

    for _ in range(10):
        await asyncio.gather(*(write(one) for one in ids * 3), delete(), delete())
    await asyncio.gather(*(write(one) for one in ids))
    for summary in (await page(traces, ours)).items:
        assert summary.totals.spans == len((await traces.get(ours, summary.id)).spans) >= 2
    assert await traces.delete(ours, ids) == 4
    assert await names(traces, ours) == []


# --- deleting ------------------------------------------------------------------------------------


async def test_what_was_deleted_is_gone_with_its_spans(traces):
    ours, step = project(), span(input=b"1")
    sent, other = trace(step, input=b"1", tags=("a",)), trace()
    await traces.put(ours, sent)
    await traces.put(ours, other)
    assert await traces.delete(ours, [sent.id, sent.id, trace_id()]) == 1
    with pytest.raises(NotFound):
        await traces.get(ours, sent.id)
    assert await traces.delete(ours, [sent.id]) == 0
    await traces.put(ours, trace(id=sent.id))
    found = await traces.get(ours, sent.id)
    assert (found.spans, found.input, found.tags) == ((), None, ())
    assert (await traces.get(ours, other.id)).id == other.id


async def test_added_spans_leave_the_trace_as_it_is(traces):
    ours, sent = project(), trace(tags=("b", "a"), input=b"1")
    await traces.put(ours, sent)
    step = span()
    await traces.add_spans(ours, sent.id, [step, replace(step, name="twice")])
    found = await traces.get(ours, sent.id)
    assert replace(found, spans=()) == sent.settled(prices().price)
    assert [one.name for one in found.spans] == ["twice"]


async def test_spans_need_a_trace(traces):
    ours = project()
    with pytest.raises(NotFound):
        await traces.add_spans(ours, trace_id(), [span()])


# --- lists ---------------------------------------------------------------------------------------


async def test_a_list_is_ordered_by_start_then_id_and_paged(traces):
    ours = project()
    sent = [trace(started_at=at(n // 3)) for n in range(9)]
    for one in sent:
        await traces.put(ours, one)
    by_start = [one.id for one in sorted(sent, key=lambda one: (one.started_at, one.id))]
    found = await page(traces, ours, SortOrder.ASC)
    assert [one.id for one in found.items] == by_start
    found = await page(traces, ours, SortOrder.DESC, limit=4, offset=3)
    assert [one.id for one in found.items] == by_start[::-1][3:7]
    assert found.total == 9
    beyond = await page(traces, ours, limit=4, offset=10**30)
    assert (beyond.items, beyond.total) == ([], 9)


async def test_filters_hold_together(traces):
    ours = project()
    for n, (session, user, status) in enumerate([
        ("s", "u", TraceStatus.RUNNING), ("s", None, TraceStatus.ERROR), ("", "u", None),
    ]):  # fmt: skip
        await traces.put(
            ours,
            trace(name=f"n{n}", session_id=session, user_id=user, status=status, started_at=at(n)),
        )
    assert await names(traces, ours) == ["n0", "n1", "n2"]
    assert await names(traces, ours, session_id="s") == ["n0", "n1"]
    assert await names(traces, ours, session_id="") == ["n2"]
    assert await names(traces, ours, user_id="u") == ["n0", "n2"]
    assert await names(traces, ours, status=TraceStatus.COMPLETED) == ["n2"]
    assert await names(traces, ours, session_id="s", user_id="u") == ["n0"]
    assert await names(traces, ours, started_after=at(1)) == ["n1", "n2"]
    assert await names(traces, ours, started_before=at(1)) == ["n0"]
    assert await names(traces, ours, started_after=at(1), started_before=at(2)) == ["n1"]


@pytest.mark.parametrize(
    ("needle", "found"),
    [
        ("", {"100% sure", "100x sure", "a_b", "Größe", "back\\slash"}),
        ("0%", {"100% sure"}),
        ("A_B", {"a_b"}),
        ("GRÖSSE", {"Größe"}),
        ("K\\S", {"back\\slash"}),
        ("sure", {"100% sure", "100x sure"}),
        ("nothing", set()),
    ],
)
async def test_a_name_is_found_by_any_part_of_it_whatever_its_case(traces, needle, found):
    ours = project()
    for name in ("100% sure", "100x sure", "a_b", "Größe", "back\\slash"):
        await traces.put(ours, trace(name=name))
    assert set(await names(traces, ours, name=needle)) == found


# --- hard values ---------------------------------------------------------------------------------

DEEP = b"[" * 50_000 + b"]" * 50_000


async def test_json_comes_back_as_it_was_written(traces):
    ours = project()
    text = b'{"n": 1e131071, "m":[1.0, 1e2,12345678901234567890], "s":"\\u0000\\/"}'
    fields = {"input": text, "output": text, "metadata": text}
    sent = trace(span(**fields, token_usage=text, model_parameters=text), **fields)
    await traces.put(ours, sent)
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    [step] = found.spans
    assert {found.input, found.output, found.metadata} == {text}
    assert {step.input, step.output, step.metadata} == {text}
    assert {step.token_usage, step.model_parameters} == {text}


@pytest.mark.parametrize("instant", [datetime.min, datetime.max])
async def test_the_first_and_the_last_year_are_kept(traces, instant):
    ours, when = project(), instant.replace(tzinfo=UTC)
    sent = trace(span(started_at=when, ended_at=NOON), started_at=when, ended_at=NOON)
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    assert (found.started_at, found.spans[0].started_at) == (when, when)
    assert (await page(traces, ours)).items[0].latency_ms == (NOON - when) / timedelta(
        milliseconds=1
    )


@SERVICE
@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"input": DEEP}, "spans.1.input"),
        ({"metadata": b'{"a":' + DEEP + b"}"}, "spans.1.metadata"),
        ({"model_parameters": b'{"a":' + DEEP + b"}"}, "spans.1.model_parameters"),
    ],
    ids=["a payload", "metadata", "another object"],
)
async def test_a_poisonous_trace_fails_alone_and_names_its_field(pool, bad, field):
    ours = project()
    good = [trace(span(), input=b"1") for _ in range(40)]
    poison = trace(span(), span(**bad))
    async with PostgresTraces.over(pool, prices()) as traces:
        outcomes = await asyncio.gather(
            *(traces.put(ours, one) for one in [*good[:20], poison, *good[20:]]),
            return_exceptions=True,
        )
        assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[20]]
        assert isinstance(outcomes[20], Invalid)
        assert [error.field for error in outcomes[20].errors] == [field]
        assert (await page(traces, ours)).total == 40
        with pytest.raises(Invalid) as caught:
            await traces.add_spans(ours, good[0].id, [span(), span(**bad)])
        assert [error.field for error in caught.value.errors] == [field.removeprefix("spans.")]
        assert len((await traces.get(ours, good[0].id)).spans) == 1


@SERVICE
async def test_what_is_sent_again_unchanged_is_not_written_again(pool):
    ours = project()
    sent = trace(span(input=b"1", metadata=b'{"a": 1}'), tags=("a", "b"), input=b"[1]")
    async with PostgresTraces.over(pool, prices()) as traces:
        await traces.put(ours, sent)
        written = "SELECT xmin::text FROM spans WHERE project_id = $1 UNION ALL SELECT "
        written += "xmin::text FROM traces WHERE project_id = $1"
        before = await pool.fetch(written, ours)
        await traces.put(ours, sent)
        assert await pool.fetch(written, ours) == before
        await traces.put(ours, replace(sent, output=b"2"))
        assert await pool.fetch(written, ours) != before


@SERVICE
async def test_a_lost_connection_is_unavailable_and_passes(pool):
    ours, sent = project(), trace(span())
    async with PostgresTraces.over(pool, prices()) as traces:
        await traces.put(ours, sent)
        async with pool.acquire() as other:
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database() "
                "AND backend_type = 'client backend'"
            )
        for _ in range(20):
            try:
                await traces.put(ours, sent)
                break
            except Unavailable:
                continue
        assert (await traces.get(ours, sent.id)).id == sent.id


# --- any history ---------------------------------------------------------------------------------


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(strategies.traces(), min_size=1, max_size=8), data=st.data())
async def test_any_history_reads_the_same_as_the_model(traces, history, data):
    """The memory adapter is the model: written in one order, or in batches, reads agree."""
    ours = project()
    model = MemoryTraces(MemoryStore(), prices())
    for sent in history:
        await model.put(ours, sent)
    # Callers at once are taken in their order, so a batch merges as the sequence does.
    cut = data.draw(st.integers(0, len(history)))
    for some in (history[:cut], history[cut:]):
        await asyncio.gather(*(traces.put(ours, sent) for sent in some))
    for sent in history:
        found, expected = await traces.get(ours, sent.id), await model.get(ours, sent.id)
        assert found == expected
    assert (await page(traces, ours)) == (await page(model, ours))
