"""Contract of Traces, run against every adapter."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import batched

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.traces import MemoryTraces
from application.tracing.ports import Traces
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.payloads.payload import OBJECT_VALUES_MAX
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.span import SpanChange, SpanKind, SpanStatus, Totals
from domain.tracing.trace import TraceChange, TraceStatus, TraceSummary
from domain.tracing.usage import CostSource
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, span_id, trace, trace_id
from tests.support.fixtures.data_plane import project
from tests.support.hypothesis_scale import scaled

# --- writing and reading -------------------------------------------------------------------------


async def test_trace_is_read_back_with_costs(traces):
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


async def test_missing_fields_get_defaults(traces):
    ours, sent = project(), trace(span())
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    assert found.status is TraceStatus.COMPLETED
    assert (found.spans[0].kind, found.spans[0].status) == (SpanKind.OTHER, SpanStatus.UNSET)
    assert found.spans[0].charge.source is CostSource.UNPRICED
    assert (found.input, found.output, found.metadata) == (None, None, b"{}")


async def test_unknown_trace_is_not_found(traces):
    with pytest.raises(NotFound):
        await traces.get(project(), trace_id())


async def test_projects_do_not_share_traces(traces):
    ours, theirs, same = project(), project(), trace_id()
    step = span(name="ours")
    await traces.put(ours, trace(step, id=same, name="ours"))
    with pytest.raises(NotFound):
        await traces.get(theirs, same)
    with pytest.raises(NotFound):
        await traces.add_spans(theirs, same, [span()])
    assert await traces.delete(theirs, [same]) == 0
    assert (await page(traces, theirs)).items == []
    await traces.put(theirs, trace(replace(step, name="theirs"), id=same, name="theirs"))
    assert (await traces.get(ours, same)).spans[0].name == "ours"
    assert await traces.delete(theirs, [same]) == 1
    assert (await traces.get(ours, same)).name == "ours"


async def test_same_span_id_in_two_traces_is_two_spans(traces):
    ours, step = project(), span()
    one, other = trace(step), trace(replace(step, name="other"))
    await traces.put(ours, one)
    await traces.put(ours, other)
    assert [s.name for s in (await traces.get(ours, one.id)).spans] == ["step"]
    assert [s.name for s in (await traces.get(ours, other.id)).spans] == ["other"]


# --- merging -------------------------------------------------------------------------------------


async def test_trace_sent_again_is_merged(traces):
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


async def test_totals_are_correct_after_repeats_and_late_spans(traces):
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
    assert summary.totals == Totals.from_spans((await traces.get(ours, sent.id)).spans)


async def test_price_is_found_once_model_and_usage_are_known(traces):
    ours, step = project(), span(model="gpt-4o")
    sent = trace(step)
    await traces.put(ours, sent)
    assert (await traces.get(ours, sent.id)).spans[0].charge.source is CostSource.UNPRICED
    usage = span(id=step.id, token_usage=b'{"completion_tokens":1000}')
    await traces.put(ours, trace(usage, id=sent.id))
    [found] = (await traces.get(ours, sent.id)).spans
    assert (found.charge.source, found.charge.amount) == (CostSource.TABLE, Decimal("0.01"))


async def test_token_sums_beyond_64_bits_are_exact(traces):
    ours = project()
    usage = b'{"prompt_tokens":9007199254740991}'
    sent = trace(*(span(token_usage=usage) for _ in range(1100)))
    await traces.put(ours, sent)
    [summary] = (await page(traces, ours)).items
    assert summary.totals.prompt_tokens == 1100 * (2**53 - 1)


async def page(traces: Traces, project_id: ProjectId) -> Page[TraceSummary]:
    return await traces.summaries(
        project_id, TraceFilter(), TraceSort.STARTED_AT, SortOrder.DESC, PageRequest()
    )


# --- concurrency ---------------------------------------------------------------------------------


async def test_concurrent_parts_of_one_trace_are_all_kept(traces):
    ours, sent = project(), trace()
    parts = [replace(sent, spans=(span(),), tags=(f"t{n:02}",)) for n in range(40)]
    await asyncio.gather(*(traces.put(ours, part) for part in parts))
    await asyncio.gather(*(traces.add_spans(ours, sent.id, [span()]) for _ in range(10)))
    found = await traces.get(ours, sent.id)
    assert len(found.spans) == 50
    assert found.tags == tuple(sorted(f"t{n:02}" for n in range(40)))
    [summary] = (await page(traces, ours)).items
    assert summary.totals.spans == 50


async def test_writers_in_opposite_order_do_not_deadlock(traces):
    ours, ids = project(), [trace_id() for _ in range(12)]
    orders = [ids, ids[::-1], ids[6:] + ids[:6]]

    async def write(order):
        # Two at a time, so that the orders meet, and none waits long for a connection.
        for some in batched(order, 2):
            await asyncio.gather(*(traces.put(ours, trace(span(), id=one)) for one in some))
        for some in batched(order, 2):
            await asyncio.gather(*(traces.add_spans(ours, one, [span()]) for one in some))

    await asyncio.gather(*(write(order) for order in orders * 3))
    for one in ids:
        assert len((await traces.get(ours, one)).spans) == 18


async def test_concurrent_delete_leaves_no_partial_trace(traces):
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
    assert (await page(traces, ours)).items == []


# --- deleting ------------------------------------------------------------------------------------


async def test_deleted_trace_is_gone_with_its_spans(traces):
    ours, step = project(), span(input=b"1")
    sent, other = trace(step, input=b"1", tags=("a",)), trace()
    await traces.put(ours, sent)
    await traces.put(ours, other)
    assert await traces.delete(ours, [sent.id, sent.id, trace_id()]) == 1
    with pytest.raises(NotFound):
        await traces.get(ours, sent.id)
    assert await traces.delete(ours, [sent.id]) == await traces.delete(ours, []) == 0
    await traces.put(ours, trace(id=sent.id))
    found = await traces.get(ours, sent.id)
    assert (found.spans, found.input, found.tags) == ((), None, ())
    assert (await traces.get(ours, other.id)).id == other.id


async def test_add_spans_keeps_the_trace_unchanged(traces):
    ours, sent = project(), trace(tags=("b", "a"), input=b"1")
    await traces.put(ours, sent)
    step = span()
    await traces.add_spans(ours, sent.id, [step, replace(step, name="twice")])
    found = await traces.get(ours, sent.id)
    assert replace(found, spans=()) == sent.settled(prices().price)
    assert [one.name for one in found.spans] == ["twice"]


async def test_add_spans_requires_trace(traces):
    ours = project()
    with pytest.raises(NotFound):
        await traces.add_spans(ours, trace_id(), [span()])


# --- unusual values ------------------------------------------------------------------------------


async def test_json_is_returned_byte_for_byte(traces):
    ours = project()
    text = b'{"n": 1e131071, "m":[1.0, 1e2,12345678901234567890], "s":"\\u0000\\/"}'
    plain = text.replace(b"\\u0000", b"\\u00e9")  # searchable metadata contains no NUL
    fields = {"input": text, "output": text, "metadata": plain}
    sent = trace(span(**fields, token_usage=text, model_parameters=text), **fields)
    await traces.put(ours, sent)
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    [step] = found.spans
    assert {found.input, found.output, step.input, step.output} == {text}
    assert {found.metadata, step.metadata} == {plain}
    assert {step.token_usage, step.model_parameters} == {text}


@pytest.mark.parametrize("instant", [datetime.min, datetime.max])
async def test_first_and_last_year_are_stored(traces, instant):
    ours, when = project(), instant.replace(tzinfo=UTC)
    sent = trace(span(started_at=when, ended_at=NOON), started_at=when, ended_at=NOON)
    await traces.put(ours, sent)
    found = await traces.get(ours, sent.id)
    assert (found.started_at, found.spans[0].started_at) == (when, when)
    expected = None if when > NOON else (NOON - when) / timedelta(milliseconds=1)
    assert (await page(traces, ours)).items[0].latency_ms == expected


async def test_report_that_makes_metadata_too_large_is_the_only_one_refused(traces):
    def members(prefix: str, count: int) -> bytes:
        values = {f"{prefix}{n}": n for n in range(count)}
        return json.dumps(values, separators=(",", ":")).encode()

    ours, step = project(), span(metadata=members("a", OBJECT_VALUES_MAX))
    full = trace(step, metadata=members("a", OBJECT_VALUES_MAX))
    await traces.put(ours, full)
    late = [
        trace(id=full.id, metadata=b'{"b":1}'),
        trace(span(id=step.id, metadata=b'{"b":1}'), id=full.id, name="lost"),
        trace(name="another"),
        trace(id=full.id, metadata=b'{"a0":0}', name="renamed"),
    ]
    outcomes = await asyncio.gather(
        *(traces.put(ours, one) for one in late), return_exceptions=True
    )
    errors = [one.errors[0].field if one is not None else None for one in outcomes]
    assert errors == ["metadata", "spans", None, None]
    for refused in (
        traces.add_spans(ours, full.id, [span(id=step.id, metadata=b'{"b":1}')]),
        traces.change(ours, full.id, TraceChange(metadata=b'{"b":1}')),
        traces.change_span(ours, full.id, step.id, SpanChange(metadata=b'{"b":1}')),
    ):
        with pytest.raises(Invalid):
            await refused
    found = await traces.get(ours, full.id)
    assert (found.name, found.metadata, found.spans[0].metadata) == (
        "renamed", full.metadata, step.metadata,
    )  # fmt: skip


# --- random histories ----------------------------------------------------------------------------


@settings(
    max_examples=scaled(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(strategies.traces(), min_size=1, max_size=8), data=st.data())
async def test_random_histories_agree_with_memory(traces, history, data):
    """The memory adapter is the reference: sequential and batched writes must read the same."""
    ours = project()
    model = MemoryTraces(MemoryStore(), prices())
    for sent in history:
        await model.put(ours, sent)
    # Concurrent callers are merged in call order, so a batch merges as the sequence does.
    cut = data.draw(st.integers(0, len(history)))
    for some in (history[:cut], history[cut:]):
        await asyncio.gather(*(traces.put(ours, sent) for sent in some))
    for sent in history:
        found, expected = await traces.get(ours, sent.id), await model.get(ours, sent.id)
        assert found == expected
    assert (await page(traces, ours)) == (await page(model, ours))
