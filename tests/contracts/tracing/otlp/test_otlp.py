"""Contract of OtlpTraces, run against every adapter."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from adapters.otlp.decoding.stored import encode_sent
from application.tracing.otlp.ports import BATCH_BYTES
from domain.errors import Invalid, NotFound
from domain.ids import ProjectId, TraceId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.analytics import Granularity, Period
from domain.tracing.otel.fragments import (
    Sent,
    SentRecord,
    SentSpan,
    fragment_digest,
    otel_span_id,
)
from domain.tracing.otel.ingestion_warnings import NEWEST_SPANS_MAX
from domain.tracing.span import SpanChange, SpanKind, SpanStatus, Totals
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.usage import CostSource, Usage, UsageRole
from tests.support.builders.otel import END_NS, START_NS, fragments, sent_record, sent_span
from tests.support.builders.values import span, trace, trace_id
from tests.support.fixtures.data_plane import (
    ALL_TIME,
    DataPlane,
    assert_summaries_match,
    names,
    project,
    session_counts,
    stored_traces,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.waiting import until_done

SECOND: Final = 1_000_000_000
ROOT, CHILD, THIRD, FOURTH = (f"{n:016x}" for n in (1, 2, 3, 4))
FAR_FUTURE: Final = datetime.now(UTC) + timedelta(days=400)
CHAT: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def root(attributes: Any = None, **said: Any) -> SentSpan:
    return sent_span(attributes, **{"span_id": ROOT, "name": "run"} | said)


def llm(hex_id: str = CHILD, attributes: Any = None, **said: Any) -> SentSpan:
    known = {
        "span_id": hex_id,
        "parent_span_id": ROOT,
        "name": "chat",
        "start_ns": START_NS + SECOND,
        "end_ns": END_NS - 1,
    }
    return sent_span(CHAT | (attributes or {}), **known | said)


async def put(
    plane: DataPlane, project_id: ProjectId, trace: TraceId, *sent: Sent, size: int = 1_000
) -> None:
    await plane.otlp.put(project_id, trace, fragments(trace, *sent, size=size))


async def put_each(
    plane: DataPlane, project_id: ProjectId, trace: TraceId, sent: Sequence[Sent]
) -> None:
    for one in sent:
        await put(plane, project_id, trace, one)


async def settle(plane: DataPlane) -> None:
    await until_done(plane.otlp.settle_open_traces, FAR_FUTURE)


def flags(trace: Trace) -> list[str]:
    found = json.loads(trace.metadata)["otel"]["flags"]
    assert isinstance(found, list)
    return found


def roles(trace: Trace) -> dict[str, str | None]:
    """The roles by name. The column and the metadata agree."""
    for one in trace.spans:
        assert json.loads(one.metadata)["otel"].get("usage_role") == one.usage_role
    return {one.name: one.usage_role for one in trace.spans}


# --- what is computed ------------------------------------------------------------------------


async def test_trace_is_computed_from_its_spans(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, llm(), root({"input.value": "hi", "output.value": "ho"}))
    found = await plane.traces.get(ours, id_)
    assert (found.name, found.status) == ("run", TraceStatus.COMPLETED)
    assert (found.input, found.output) == (b'"hi"', b'"ho"')
    assert [one.name for one in found.spans] == ["run", "chat"]
    assert found.spans[1].kind is SpanKind.LLM
    assert found.spans[1].parent_id == found.spans[0].id == otel_span_id(id_, ROOT)
    assert Totals.from_spans(found.spans).prompt_tokens == 1000
    assert await assert_summaries_match(plane, ours) == [found]


async def test_order_and_splits_change_nothing(plane):
    sent = [
        root(end_ns=0),
        root({"output.value": "ho", "session.id": "s"}),
        llm(attributes={"user.id": "u", "gen_ai.response.id": "r"}),
        llm(THIRD, {"gen_ai.response.id": "r", "gen_ai.usage.cache_read.input_tokens": 7}),
        sent_record("gen_ai.client.inference.operation.details",
                    {"gen_ai.input.messages": '[{"role":"user","content":"hi"}]'}, span_id=CHILD),
    ]  # fmt: skip
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, *sent)
    expected = await plane.traces.get(ours, id_)
    for order in [*itertools.permutations(sent)][::17]:
        other = project()
        await put_each(plane, other, id_, order)
        assert await plane.traces.get(other, id_) == expected
    assert await assert_summaries_match(plane, other) == [expected]


async def test_concurrent_requests_lose_nothing(plane):
    ours, id_ = project(), trace_id()
    spans = [sent_span(span_id=f"{n:016x}", parent_span_id=ROOT if n > 1 else None)
             for n in range(1, 30)]  # fmt: skip
    await asyncio.gather(*(put(plane, ours, id_, one) for one in spans))
    [found] = await assert_summaries_match(plane, ours)
    assert len(found.spans) == 29


async def test_traces_of_one_request_are_independent(plane):
    """The same span ids in two traces are other spans, and another project sees neither."""
    ours, ids = project(), [trace_id() for _ in range(3)]
    await asyncio.gather(*(put(plane, ours, id_, root(name=f"{id_}"), llm()) for id_ in ids))
    assert {one.name for one in await assert_summaries_match(plane, ours)} == set(map(str, ids))
    with pytest.raises(NotFound):
        await plane.traces.get(project(), ids[0])


@pytest.mark.parametrize("is_known", [False, True])
async def test_request_larger_than_a_chunk_is_one_trace(plane, is_known):
    ours, other, id_ = project(), project(), trace_id()
    late, whole = llm(attributes={"session.id": "s"}, start_ns=START_NS), {"input.value": "all"}
    sent = [llm(), root(end_ns=0), late, llm(THIRD, parent_span_id=CHILD), root(whole)]
    for project_id, size in ((ours, BATCH_BYTES // 2 + 1), (other, 1_000)):
        if is_known:
            await put(plane, project_id, id_, root({"input.value": "some"}, end_ns=0))
        await put(plane, project_id, id_, *sent, size=size)
    found = await plane.traces.get(ours, id_)
    assert found == await plane.traces.get(other, id_)
    assert (found.input, len(found.spans)) == (b'"all"', 3)
    assert await assert_summaries_match(plane, ours) == [found]


# --- repetition ------------------------------------------------------------------------------


async def test_repeated_fragment_changes_nothing(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(end_ns=0), llm())
    await settle(plane)
    settled = await plane.traces.get(ours, id_)
    await put(plane, ours, id_, root(end_ns=0), llm())
    await put(plane, ours, id_, llm(), size=2 * BATCH_BYTES)
    assert await plane.traces.get(ours, id_) == settled
    assert flags(settled) == ["root_open"]
    await assert_summaries_match(plane, ours)


async def test_native_change_survives_a_repeated_fragment(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root())
    await plane.traces.change_span(
        ours, id_, otel_span_id(id_, ROOT), SpanChange(metadata=b'{"k":1}')
    )
    changed = await plane.traces.get(ours, id_)
    await put(plane, ours, id_, root())
    assert await plane.traces.get(ours, id_) == changed


# --- log records -----------------------------------------------------------------------------

DETAILS = sent_record(
    "gen_ai.client.inference.operation.details",
    {"gen_ai.input.messages": '[{"role":"user","content":"hi"}]'},
    span_id=CHILD,
)


@pytest.mark.parametrize("size", [1_000, BATCH_BYTES])
async def test_record_waits_for_its_span(plane, size):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, DETAILS, size=size)
    with pytest.raises(NotFound):
        await plane.traces.get(ours, id_)
    assert await stored_traces(plane, ours) == []
    await put(plane, ours, id_, root(), size=size)
    [before] = (await plane.traces.get(ours, id_)).spans
    assert before.name == "run"
    await put(plane, ours, id_, llm(), size=size)
    found = await plane.traces.get(ours, id_)
    assert json.loads(found.spans[1].input)["messages"][0]["content"] == "hi"
    assert await assert_summaries_match(plane, ours) == [found]


async def test_record_before_its_whole_trace_is_merged(plane):
    ours, other, id_ = project(), project(), trace_id()
    await put(plane, ours, id_, DETAILS)
    await put(plane, ours, id_, root(), llm())
    await put(plane, other, id_, root(), llm(), DETAILS)
    assert await assert_summaries_match(plane, ours) == await stored_traces(plane, other)
    assert (await plane.traces.get(ours, id_)).input is not None


async def test_concurrent_record_and_span_meet(plane):
    ours, ids = project(), [trace_id() for _ in range(10)]
    puts = [put(plane, ours, id_, one) for id_ in ids for one in (llm(), DETAILS)]
    await asyncio.gather(*puts)
    for found in await assert_summaries_match(plane, ours):
        assert found.spans[0].input is not None


async def test_record_without_its_span_is_deleted(plane):
    ours, id_, other = project(), trace_id(), trace_id()
    await put(plane, ours, id_, DETAILS)
    await put(plane, ours, other, llm(), DETAILS)
    of_trace = sent_record("gen_ai.evaluation.result", span_id=None)
    await put(plane, ours, other, of_trace)
    await put(plane, ours, other, sent_record("gen_ai.choice", span_id=THIRD))
    assert await orphans(plane, ours, datetime(2020, 1, 1, tzinfo=UTC)) == []
    gone = await orphans(plane, ours, FAR_FUTURE)
    assert sorted(gone) == sorted([(id_, CHILD), (other, THIRD)])
    await put(plane, ours, id_, llm())
    assert (await plane.traces.get(ours, id_)).spans[0].input is None
    assert (await plane.traces.get(ours, other)).spans[0].input is not None


async def orphans(
    plane: DataPlane, project_id: ProjectId, before: datetime
) -> list[tuple[TraceId, str | None]]:
    found = []
    while gone := await plane.otlp.delete_orphaned_records(before):
        found += [(one.trace, one.record.span_id) for one in gone if one.project == project_id]
    return found


def claude(hex_id: str, kind: str, start: int, end: int, **said: Any) -> SentSpan:
    scope = "com.anthropic.claude_code.tracing"
    attributes = {"span.type": kind} | said
    return sent_span(attributes, span_id=hex_id, parent_span_id=None if hex_id == ROOT else ROOT,
                     start_ns=START_NS + start, end_ns=START_NS + end, name=kind,
                     scope=scope)  # fmt: skip


def answer(text: str, at: int) -> SentRecord:
    said = {"response": text}
    return sent_record("claude_code.assistant_response", said, span_id=ROOT, time_ns=START_NS + at)


async def test_records_go_to_the_span_nearest_in_time(plane):
    """A span that comes later takes a record from one that is farther away."""
    ours, id_ = project(), trace_id()
    turn = claude(ROOT, "interaction", 0, 10 * SECOND)
    far, near = (claude(CHILD, "llm_request", SECOND, 2 * SECOND),
                 claude(THIRD, "llm_request", 3 * SECOND, 4 * SECOND))  # fmt: skip
    first, last = answer("first", 5 * SECOND // 2), answer("last", 7 * SECOND // 2)
    tool = claude(FOURTH, "tool", 5 * SECOND, 6 * SECOND, tool_use_id="c")
    said = {"tool_use_id": "c", "tool_input": '{"a":1}', "success": "false"}
    result = sent_record("claude_code.tool_result", said, span_id=ROOT)
    await put(plane, ours, id_, first, last, result)
    await put(plane, ours, id_, far, turn)
    assert await answers(plane, ours, id_) == {CHILD: "first", ROOT: "last"}
    await put(plane, ours, id_, near, tool)
    assert await answers(plane, ours, id_) == {CHILD: "first", THIRD: "last", ROOT: "last"}
    [found] = await assert_summaries_match(plane, ours)
    failed = found.spans[-1]
    assert (failed.input, failed.status) == (b'{"a":1}', SpanStatus.ERROR)
    await put(plane, ours, id_, answer("later", 4 * SECOND), size=2 * BATCH_BYTES)
    other = project()
    sent = [answer("later", 4 * SECOND), turn, near, result, last, far, first, tool]
    await put_each(plane, other, id_, sent)
    assert await stored_traces(plane, other) == await assert_summaries_match(plane, ours)
    assert await orphans(plane, ours, FAR_FUTURE) == []


async def test_every_store_takes_the_same_of_several_responses_at_one_time(plane):
    """The one whose digest is the greatest: nothing else tells them apart."""
    ours, id_ = project(), trace_id()
    same = [answer(text, SECOND) for text in ("aye", "nay", "maybe")]
    await put(plane, ours, id_, claude(ROOT, "interaction", 0, 2 * SECOND), *same)
    last = max(same, key=lambda one: fragment_digest(id_, encode_sent(one)))
    assert await answers(plane, ours, id_) == {ROOT: last.attributes["response"]}


@pytest.mark.parametrize("is_native_first", [True, False])
@pytest.mark.parametrize("size", [1_000, 2 * BATCH_BYTES], ids=["small", "large"])
async def test_records_before_their_span_are_found_in_a_trace_that_came_natively(
    plane, size, is_native_first
):
    ours, id_ = project(), trace_id()
    cost = sent_record("claude_code.api_request", {"cost_usd": 0.5}, span_id=CHILD)
    records = cost, sent_record("gen_ai.choice", span_id=None)
    if is_native_first:
        await plane.traces.put(ours, trace(span(), id=id_))
    await put(plane, ours, id_, *records, size=size)
    if not is_native_first:
        await plane.traces.put(ours, trace(span(), id=id_))
    await put(plane, ours, id_, claude(CHILD, "llm_request", SECOND, 2 * SECOND), size=size)
    [found] = await assert_summaries_match(plane, ours)
    assert Totals.from_spans(found.spans).cost == Decimal("0.5")
    assert await orphans(plane, ours, FAR_FUTURE) == []


async def test_settling_leaves_records_with_their_span(plane):
    """Even where a native change of the span would lead them elsewhere."""
    ours, id_ = project(), trace_id()
    tool = claude(CHILD, "tool", SECOND, 2 * SECOND, tool_use_id="c")
    said = {"tool_use_id": "c", "tool_input": '{"a":1}'}
    await put(plane, ours, id_, tool, sent_record("claude_code.tool_result", said, span_id=ROOT))
    change = SpanChange(kind=SpanKind.AGENT)
    await plane.traces.change_span(ours, id_, otel_span_id(id_, CHILD), change)
    await settle(plane)
    [found] = await assert_summaries_match(plane, ours)
    assert (found.status, flags(found)) == (TraceStatus.COMPLETED, ["root_missing"])
    assert (found.spans[0].kind, found.spans[0].input) == (SpanKind.AGENT, b'{"a":1}')


async def answers(plane: DataPlane, project_id: ProjectId, trace: TraceId) -> dict[str, str]:
    found = {}
    for one in (await plane.traces.get(project_id, trace)).spans:
        if one.output is not None:
            hex_id = json.loads(one.metadata)["otel"]["span_id"]
            value = json.loads(one.output)
            found[hex_id] = value if isinstance(value, str) else value["messages"][-1]["content"]
    return found


# --- set-up ----------------------------------------------------------------------------------

CREATES_AGENT: Final = {"gen_ai.operation.name": "create_agent", "session.id": "s"}


async def test_trace_that_only_creates_an_agent_counts_in_no_session(plane):
    ours, setup, turn = project(), trace_id(), trace_id()
    await put(plane, ours, setup, root(CREATES_AGENT))
    assert await session_counts(plane, ours) == {}
    await put(plane, ours, turn, root({"session.id": "s"}), llm())
    assert await session_counts(plane, ours) == {"s": 1}
    assert flags(await plane.traces.get(ours, setup)) == ["setup"]
    await put(plane, ours, setup, llm())  # it does more than that
    assert await session_counts(plane, ours) == {"s": 2}
    await put(plane, ours, turn, llm(THIRD, {"gen_ai.operation.name": "create_agent"}))
    assert await session_counts(plane, ours) == {"s": 2}
    await assert_summaries_match(plane, ours)


# --- usage roles -----------------------------------------------------------------------------


async def test_model_that_a_later_fragment_replaces_is_no_model_of_the_trace(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(), llm(end_ns=0))
    await put(plane, ours, id_, llm(attributes={"gen_ai.response.model": "tiny"}))
    assert await names(plane, ours, model="tiny") == ["run"]
    assert await names(plane, ours, model="gpt-4o") == []


async def test_roles_follow_the_tree(plane):
    """A span that comes later takes the role of a known one, or gives it one."""
    ours, id_ = project(), trace_id()
    inner = llm(THIRD, {"gen_ai.response.id": "r"}, name="inner", parent_span_id=CHILD)
    outer = llm(attributes={"gen_ai.response.id": "r", "gen_ai.usage.cache_read.input_tokens": 5})
    await put(plane, ours, id_, inner)
    assert roles(await plane.traces.get(ours, id_)) == {"inner": None}
    await put(plane, ours, id_, outer)
    [found] = await assert_summaries_match(plane, ours)
    assert roles(found) == {"chat": None, "inner": UsageRole.DUPLICATE}
    assert Totals.from_spans(found.spans).prompt_tokens == 1000
    agent = root({"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 1000})
    await put(plane, ours, id_, agent)
    [found] = await assert_summaries_match(plane, ours)
    assert roles(found) == {
        "run": UsageRole.ROLLUP, "chat": None, "inner": UsageRole.DUPLICATE,
    }  # fmt: skip
    best = {"gen_ai.response.id": "r", "gen_ai.usage.cache_read.input_tokens": 5,
            "gen_ai.usage.reasoning.output_tokens": 1}  # fmt: skip
    await put(plane, ours, id_, llm(THIRD, best, name="inner", parent_span_id=CHILD, end_ns=END_NS))
    [found] = await assert_summaries_match(plane, ours)
    assert roles(found) == {
        "run": UsageRole.ROLLUP, "chat": UsageRole.DUPLICATE, "inner": None,
    }  # fmt: skip


async def test_deleted_spans_with_roles_leave_no_usage(plane):
    ours, id_, other = project(), trace_id(), trace_id()
    said = {"gen_ai.response.id": "r", "gen_ai.usage.reasoning.output_tokens": 7,
            "gen_ai.usage.cache_read.input_tokens": 9}  # fmt: skip
    for one in (id_, other):
        await put(plane, ours, one, root(), llm(attributes=said), llm(THIRD, said))
    assert await plane.traces.delete(ours, [id_]) == 1
    [usage] = await plane.analytics.usage(ours, ALL_TIME, Granularity.HOUR)
    assert (usage.cached_tokens, usage.reasoning_tokens, usage.prompt_tokens) == (9, 7, 1000)
    assert await plane.traces.delete(ours, [other]) == 1
    assert await assert_summaries_match(plane, ours) == []


# --- settling --------------------------------------------------------------------------------


async def test_trace_without_root_is_settled(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, llm(status_code=2))
    assert (await plane.traces.get(ours, id_)).status is TraceStatus.RUNNING
    await plane.otlp.settle_open_traces(datetime(2020, 1, 1, tzinfo=UTC))
    assert (await plane.traces.get(ours, id_)).status is TraceStatus.RUNNING
    await settle(plane)
    [found] = await assert_summaries_match(plane, ours)
    assert (found.status, flags(found)) == (TraceStatus.ERROR, ["root_missing"])
    assert found.ended_at == found.spans[0].ended_at
    await put(plane, ours, id_, root(end_ns=0))
    [found] = await assert_summaries_match(plane, ours)
    assert (found.status, found.ended_at, flags(found)) == (TraceStatus.RUNNING, None, [])
    await settle(plane)
    assert flags((await stored_traces(plane, ours))[0]) == ["root_open"]
    await put(plane, ours, id_, root())
    [found] = await assert_summaries_match(plane, ours)
    assert (found.status, flags(found)) == (TraceStatus.COMPLETED, [])


async def test_each_trace_is_settled_once(plane):
    ours, ids = project(), [trace_id() for _ in range(20)]
    await asyncio.gather(*(put(plane, ours, id_, llm()) for id_ in ids))
    await settle(plane)
    await put(plane, ours, ids[0], llm(THIRD))
    settled = await asyncio.gather(*(plane.otlp.settle_open_traces(FAR_FUTURE) for _ in range(3)))
    assert sum(settled) == 1


async def test_traces_whose_root_ended_and_native_ones_are_not_settled(plane):
    ours, ended, native = project(), trace_id(), trace(status=TraceStatus.RUNNING)
    await put(plane, ours, ended, root())
    await plane.traces.put(ours, native)
    await put(plane, ours, native.id, llm())
    await settle(plane)
    found = {one.id: one.status for one in await assert_summaries_match(plane, ours)}
    assert found == {ended: TraceStatus.COMPLETED, native.id: TraceStatus.RUNNING}


# --- together with native writes -------------------------------------------------------------


async def test_native_changes_of_a_trace_stay(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root({"session.id": "s", "langfuse.trace.tags": ["a"]}))
    change = TraceChange(name="renamed", session_id=None, output=b'"o"', metadata=b'{"k":1}')
    await plane.traces.change(ours, id_, change)
    await plane.traces.retag(ours, [id_], ["b"], ["a"])
    more = llm(attributes={"langfuse.trace.tags": ["c"], "user.id": "u", "session.id": "t"})
    await put(plane, ours, id_, more, root({"output.value": "sent"}, end_ns=END_NS + 1))
    [found] = await assert_summaries_match(plane, ours)
    assert (found.name, found.session_id, found.tags) == ("renamed", None, ("b",))
    assert (found.output, found.user_id) == (b'"o"', "u")
    assert json.loads(found.metadata)["k"] == 1


async def test_native_report_of_an_otlp_trace_stays(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root({"input.value": "hi"}))
    report = trace(span(), id=id_, name="native", tags=("n",), input=b'"native"')
    await plane.traces.put(ours, report)
    await put(plane, ours, id_, llm(), root({"input.value": "ho"}, end_ns=END_NS + 1))
    [found] = await assert_summaries_match(plane, ours)
    assert (found.name, found.tags, found.input) == ("native", ("n",), b'"native"')
    assert len(found.spans) == 3


async def test_fragments_of_a_native_trace_fill_what_is_null(plane):
    ours = project()
    step = span(model="gpt-4o", token_usage=b'{"prompt_tokens":1000}')
    native = trace(step, name="native", tags=("n",), output=b'"out"', metadata=b'{"k":1}')
    await plane.traces.put(ours, native)
    said = {"input.value": "hi", "output.value": "no", "session.id": "s"}
    await put(plane, ours, native.id, root(said), llm())
    [found] = await assert_summaries_match(plane, ours)
    assert (found.name, found.tags, found.session_id) == ("native", ("n",), "s")
    assert (found.input, found.output) == (b'"hi"', b'"out"')
    assert json.loads(found.metadata)["k"] == 1
    assert Totals.from_spans(found.spans).prompt_tokens == 2000  # summed without exception


async def test_native_span_of_an_otlp_trace_is_counted(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(), llm())
    step = span(kind=SpanKind.LLM, model="gpt-4o", token_usage=b'{"prompt_tokens":10}')
    await plane.traces.add_spans(ours, id_, [step])
    await put(plane, ours, id_, llm(THIRD))
    [found] = await assert_summaries_match(plane, ours)
    assert Totals.from_spans(found.spans).prompt_tokens == 2010


async def test_native_changes_of_a_span_stay(plane):
    """Whatever fragments of it come later, and however often it changes."""
    ours, id_, asked = project(), trace_id(), {"input.value": "asked"}
    await put(plane, ours, id_, root(end_ns=0), llm(attributes=asked, end_ns=0))
    call = otel_span_id(id_, CHILD)
    change = SpanChange(
        name="renamed", output=b'"fixed"', token_usage=b'{"prompt_tokens":7}',
        metadata=b'{"note":"wrong tool"}', cost={"total": 0.5},
    )  # fmt: skip
    await plane.traces.change_span(ours, id_, call, change)
    await plane.traces.change_span(ours, id_, call, SpanChange(input=None))
    answered = {"output.value": "answered", "metadata": '{"note":"sent","other":1}'}
    await put(plane, ours, id_, llm(attributes=asked | answered), root())
    await put(plane, ours, id_, llm(attributes=answered, end_ns=END_NS), size=2 * BATCH_BYTES)
    [found] = await assert_summaries_match(plane, ours)
    kept = found.spans[1]
    assert (kept.name, kept.input, kept.output) == ("renamed", None, b'"fixed"')
    assert (kept.usage, kept.cost) == (Usage(7), {"total": 0.5})
    assert kept.ended_at == datetime.fromtimestamp(END_NS / SECOND, UTC)
    metadata = json.loads(kept.metadata)
    assert (metadata["note"], metadata["other"]) == ("wrong tool", 1)
    assert (found.name, found.status) == ("run", TraceStatus.COMPLETED)


async def test_native_usage_is_priced_when_the_model_comes_later(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(), sent_span(span_id=CHILD, parent_span_id=ROOT))
    change = SpanChange(token_usage=b'{"prompt_tokens":7}')
    await plane.traces.change_span(ours, id_, otel_span_id(id_, CHILD), change)
    await put(plane, ours, id_, llm())
    [found] = await assert_summaries_match(plane, ours)
    [kept] = [one for one in found.spans if one.id == otel_span_id(id_, CHILD)]
    assert (kept.model, kept.usage) == ("gpt-4o", Usage(7))
    assert kept.charge is not None
    assert kept.charge.source is CostSource.TABLE


async def test_native_report_of_an_otlp_span_stays(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(), llm(end_ns=0))
    report = span(id=otel_span_id(id_, CHILD), name="reported", model="gpt-4o-mini")
    await plane.traces.add_spans(ours, id_, [report])
    await put(plane, ours, id_, llm())
    [found] = await assert_summaries_match(plane, ours)
    assert [(one.name, one.model) for one in found.spans if one.id == report.id] == [
        ("reported", "gpt-4o-mini")
    ]


@pytest.mark.parametrize("size", [1_000, 2 * BATCH_BYTES], ids=["ordinary", "large"])
async def test_fragments_of_a_native_span_fill_what_is_null(plane, size):
    """As after an import, to which the rest of a trace is exported later."""
    ours, first, second = project(), trace_id(), trace_id()
    reported = {
        "name": "reported",
        "model": "gpt-4o-mini",
        "output": b'"kept"',
        "metadata": b'{"k":1}',
    }
    sent = (root(), llm(attributes={"input.value": "asked", "output.value": "no"}), llm(THIRD))
    for id_ in (first, second):
        report = span(id=otel_span_id(id_, CHILD), **reported)
        if id_ == first:
            await plane.traces.put(ours, trace(report, id=id_, name="native"))
            await put(plane, ours, id_, *sent, size=size)
        else:
            await put(plane, ours, id_, *sent, size=size)
            await plane.traces.put(ours, trace(report, id=id_, name="native"))
        await put(plane, ours, id_, llm(attributes={"gen_ai.usage.output_tokens": 200}))
    for found in await assert_summaries_match(plane, ours):
        [joined] = [one for one in found.spans if one.name == "reported"]
        assert (joined.kind, joined.model, joined.output) == (
            SpanKind.LLM, "gpt-4o-mini", b'"kept"'
        )  # fmt: skip
        assert (joined.parent_id, joined.input) == (otel_span_id(found.id, ROOT), b'"asked"')
        assert joined.usage == Usage(1000, 200)
        assert json.loads(joined.metadata).keys() == {"k", "otel"}
        assert (found.name, len(found.spans)) == ("native", 3)


async def test_native_usage_of_a_span_that_fragments_join_is_counted_once(plane):
    ours, id_ = project(), trace_id()
    counted = b'{"prompt_tokens":7,"completion_tokens":1}'
    report = span(
        id=otel_span_id(id_, CHILD), kind=SpanKind.LLM, model="gpt-4o", token_usage=counted
    )
    await plane.traces.put(ours, trace(report, id=id_))
    await put(plane, ours, id_, llm())
    [found] = await assert_summaries_match(plane, ours)
    assert [one.usage for one in found.spans] == [Usage(7, 1)]
    assert Totals.from_spans(found.spans).tokens == 8


async def test_record_that_a_changed_span_takes_changes_the_other_fields(plane):
    ours, id_ = project(), trace_id()
    turn = claude(ROOT, "interaction", 0, 10 * SECOND)
    call = claude(CHILD, "llm_request", SECOND, 2 * SECOND)
    await put(plane, ours, id_, turn, call)
    name = SpanChange(name="renamed")
    await plane.traces.change_span(ours, id_, otel_span_id(id_, CHILD), name)
    await put(plane, ours, id_, answer("done", 3 * SECOND // 2))
    assert await answers(plane, ours, id_) == {CHILD: "done", ROOT: "done"}
    [found] = await assert_summaries_match(plane, ours)
    assert [one.name for one in found.spans] == ["interaction", "renamed"]


async def test_span_stays_part_of_the_tree_after_a_native_change(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root(), llm())
    await plane.traces.change_span(
        ours, id_, otel_span_id(id_, ROOT), SpanChange(output=b'"fixed"')
    )
    await put(plane, ours, id_, llm(THIRD))
    [found] = await assert_summaries_match(plane, ours)
    assert (found.status, flags(found)) == (TraceStatus.COMPLETED, [])
    assert found.spans[0].output == b'"fixed"'


async def test_trace_takes_the_output_of_a_span_that_was_changed_natively(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root({"output.value": "sent"}))
    change = SpanChange(output=b'"fixed"')
    await plane.traces.change_span(ours, id_, otel_span_id(id_, ROOT), change)
    await put(plane, ours, id_, llm())
    [found] = await assert_summaries_match(plane, ours)
    assert found.output == b'"fixed"'


# --- deletion --------------------------------------------------------------------------------


async def test_deletion_takes_fragments_along(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root({"session.id": "s"}), llm())
    assert await plane.traces.delete(ours, [id_]) == 1
    await put(plane, ours, id_, llm())
    [found] = await assert_summaries_match(plane, ours)
    assert [one.name for one in found.spans] == ["chat"]
    assert found.session_id is None


async def test_erased_trace_is_refused(plane):
    ours, id_ = project(), trace_id()
    await put(plane, ours, id_, root({"user.id": "grace"}), llm())
    owner = DataSubject(DataSubjectKind.USER, "grace")
    erasure = an_erasure(ours, owner)
    erasures = plane.privacy.erasures
    await erasures.begin(erasure, owner, audit_entry(erasure))
    with pytest.raises(Invalid):  # it would leave the user
        await put(plane, ours, id_, root({"user.id": "ada"}, end_ns=END_NS + 1))
    gone = await erasures.advance(ours, erasure.id, datetime.now(UTC), audit_entry)
    assert gone.rows["span_fragments"] == 2
    for sent, size in itertools.product((root(), DETAILS), (1_000, 2 * BATCH_BYTES)):
        with pytest.raises(Invalid) as refused:
            await put(plane, ours, id_, sent, size=size)
        assert refused.value.errors[0].field == "trace_id"
    other = TraceId(uuid.uuid4())
    await asyncio.gather(
        put(plane, ours, other, root()),
        *(pytest_raises(put(plane, ours, id_, llm())) for _ in range(3)),
    )
    assert [one.id for one in await stored_traces(plane, ours)] == [other]


async def pytest_raises(refused: Any) -> None:
    with pytest.raises(Invalid):
        await refused


# --- together --------------------------------------------------------------------------------


async def test_native_and_otlp_writers_of_the_same_traces_do_not_block_each_other(plane):
    """Many batches of either kind, in every order of traces: none fails, and no span is lost."""
    ours, ids = project(), [trace_id() for _ in range(6)]

    async def write(n: int) -> None:
        order = ids[n % 6 :] + ids[: n % 6]
        hex_id = f"{n + 1:016x}"
        if n % 3:
            puts = [put(plane, ours, id_, llm(hex_id, name=f"{n}")) for id_ in order]
        else:
            puts = [plane.traces.put(ours, trace(span(name=f"{n}"), id=id_)) for id_ in order]
        await asyncio.gather(*puts)

    await asyncio.gather(*map(write, range(30)))
    found = await assert_summaries_match(plane, ours)
    assert [len(one.spans) for one in found] == [30] * 6


# --- native and OpenTelemetry spans --------------------------------------------------------------

STARTED: Final = datetime.fromtimestamp(START_NS / SECOND, UTC)
ITS_DAY: Final = Period(STARTED - timedelta(hours=12), STARTED + timedelta(hours=12))


async def test_sources_are_mixed_if_spans_came_both_ways(plane):
    ours, id_, ask = project(), trace_id(), plane.analytics
    assert not await ask.are_sources_mixed(ours, ITS_DAY)
    await put(plane, ours, id_, root(), llm())
    await plane.traces.put(project(), trace(span(started_at=STARTED)))
    assert not await ask.are_sources_mixed(ours, ITS_DAY)
    await plane.traces.put(ours, trace(span(started_at=ITS_DAY.before), started_at=STARTED))
    assert not await ask.are_sources_mixed(ours, ITS_DAY)
    await plane.traces.put(ours, trace(span(started_at=STARTED)))
    assert await ask.are_sources_mixed(ours, ITS_DAY)


async def test_native_spans_that_join_a_trace_mix_its_sources(plane):
    ours, id_, ask = project(), trace_id(), plane.analytics
    await put(plane, ours, id_, root())
    await plane.traces.add_spans(ours, id_, [span(started_at=STARTED)])
    assert await ask.are_sources_mixed(ours, ITS_DAY)


async def test_only_the_newest_spans_tell_the_sources(plane):
    ours, ask = project(), plane.analytics
    await put(plane, ours, trace_id(), root())
    later = [span(started_at=STARTED + timedelta(seconds=1)) for _ in range(NEWEST_SPANS_MAX)]
    await plane.traces.put(ours, trace(*later[1:]))
    assert await ask.are_sources_mixed(ours, ITS_DAY)
    await plane.traces.put(ours, trace(later[0]))
    assert not await ask.are_sources_mixed(ours, ITS_DAY)
