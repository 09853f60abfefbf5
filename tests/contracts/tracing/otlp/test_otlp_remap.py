"""Mapping stored fragments again by later rules, as a part of the contract of OtlpTraces."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from adapters.memory.store import MemoryStore
from adapters.memory.tracing.otlp_traces import MemoryOtlpTraces
from adapters.otlp.mapping.spans import map_span
from adapters.postgres.database.pool import Pool
from adapters.postgres.tracing.otlp.otlp_merge import REMAPPED_AT_ONCE
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.writes.edits import TraceEdits
from application.tracing.otlp.ports import (
    CHANGES_SHOWN_MAX,
    REMAPPED_SPANS_MAX,
    FragmentRules,
    OtlpTraces,
)
from application.tracing.otlp.remap import RemapReport, RemapTraces
from domain.ids import ProjectId, TraceId
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import Sent, SentRecord, SentSpan, otel_span_id
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceStatus
from entrypoints.composition.otlp_rules import fragment_rules
from tests.support.builders.otel import START_NS, fragments, sent_record, sent_span
from tests.support.builders.values import prices, project_prices, trace_id
from tests.support.fixtures.data_plane import (
    DataPlane,
    assert_summaries_match,
    over_memory,
    over_postgres,
    project,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.waiting import until_done

ROOT, CHILD, THIRD = (f"{n:016x}" for n in (1, 2, 3))
SECOND: Final = 1_000_000_000
FAR_FUTURE: Final = datetime.now(UTC) + timedelta(days=400)
LATER: Final = fragment_rules().version + 1


def map_later(trace: TraceId, sent: Sequence[Sent]) -> MappedSpan:
    """The rules of a later version: the attribute `x.conversation` names the session."""
    found = map_span(trace, sent)
    said = [one.attributes.get("x.conversation") for one in sent if isinstance(one, SentSpan)]
    session = next((one for one in said if isinstance(one, str)), found.facts.session_id)
    facts = replace(found.facts, session_id=session, mapping_version=LATER)
    model = "gpt-4o" if found.span.model == "x-mini" else found.span.model
    return MappedSpan(replace(found.span, model=model), facts)


LATER_RULES: Final = replace(fragment_rules(), map_span=map_later, version=LATER)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the present rules store, and the same store with later rules."""

    plane: DataPlane
    later: OtlpTraces

    async def put(self, project_id: ProjectId, trace: TraceId, *sent: Sent) -> None:
        await self.plane.otlp.put(project_id, trace, fragments(trace, *sent))

    async def remap(self, project_id: ProjectId, *, is_dry_run: bool = False) -> RemapReport:
        return await RemapTraces(self.later)(project_id, is_dry_run=is_dry_run)

    async def get(self, project_id: ProjectId, trace: TraceId) -> Trace:
        return await self.plane.traces.get(project_id, trace)


@pytest.fixture
async def stored(adapter: Pool | None) -> AsyncIterator[Stored]:
    if adapter is None:
        store = MemoryStore()
        yield Stored(over_memory(store), MemoryOtlpTraces(store, prices(), LATER_RULES))
        return
    edits = TraceEdits(adapter, project_prices())
    async with (
        over_postgres(adapter) as plane,
        PostgresOtlpTraces.open(edits, LATER_RULES) as later,
    ):
        yield Stored(plane, later)


def root(attributes: Any = None, **said: Any) -> SentSpan:
    return sent_span(attributes, **{"span_id": ROOT, "name": "run"} | said)


def call(hex_id: str = CHILD, model: str = "x-mini", **said: Any) -> SentSpan:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": model,
        "gen_ai.usage.input_tokens": 1000,
    }
    known = {
        "span_id": hex_id,
        "parent_span_id": ROOT,
        "start_ns": START_NS + 1_000 * int(hex_id, 16),
    }
    return sent_span(attributes, **known | said)


async def test_changed_rule_changes_stored_spans(stored):
    ours, id_, other = project(), trace_id(), trace_id()
    await stored.put(ours, id_, root({"x.conversation": "c"}), call())
    await stored.put(ours, other, root(), call(model="gpt-4"))
    unchanged = await stored.get(ours, other)
    report = await stored.remap(ours)
    assert (report.traces, report.changed_traces, report.changed_spans) == (2, 1, 2)
    assert {(one.span_id, one.field, one.before, one.after) for one in report.changes} >= {
        (ROOT, "session_id", "null", "c"),
        (CHILD, "model", "x-mini", "gpt-4o"),
    }
    found = await stored.get(ours, id_)
    assert (found.session_id, found.spans[1].model) == ("c", "gpt-4o")
    assert found.spans[1].charge.amount  # priced as the model that it is now
    assert await stored.get(ours, other) == unchanged
    await assert_summaries_match(stored.plane, ours)


async def test_trace_is_as_the_later_rules_store_it(stored):
    ours, fresh, id_ = project(), project(), trace_id()
    sent = [root({"x.conversation": "c"}), call(), call(THIRD, parent_span_id=CHILD)]
    await stored.put(ours, id_, *sent)
    await stored.remap(ours)
    await stored.later.put(fresh, id_, fragments(id_, *sent))
    assert await stored.get(ours, id_) == await stored.get(fresh, id_)


async def test_second_run_changes_nothing(stored):
    ours, ids = project(), [trace_id() for _ in range(3)]
    for id_ in ids:
        await stored.put(ours, id_, root({"x.conversation": "c"}), call())
    assert (await stored.remap(ours)).changed_traces == 3
    before = await assert_summaries_match(stored.plane, ours)
    assert await stored.remap(ours) == RemapReport(traces=3)
    assert await assert_summaries_match(stored.plane, ours) == before


async def test_dry_run_writes_nothing_and_tells_the_same(stored):
    ours, id_ = project(), trace_id()
    await stored.put(ours, id_, root({"x.conversation": "c"}), call())
    before = await stored.get(ours, id_)
    dry = await stored.remap(ours, is_dry_run=True)
    assert await stored.get(ours, id_) == before
    assert dry == await stored.remap(ours)
    assert (dry.traces, dry.changed_spans) == (1, 2)
    await assert_summaries_match(stored.plane, ours)


async def test_few_changed_fields_are_shown(stored):
    ours, id_ = project(), trace_id()
    spans = [call(f"{n:016x}") for n in range(2, 40)]
    await stored.put(ours, id_, root(), *spans)
    dry = await stored.remap(ours, is_dry_run=True)
    assert (dry.changed_spans, len(dry.changes)) == (38, CHANGES_SHOWN_MAX)


async def test_only_the_given_project_changes(stored):
    ours, other, id_ = project(), project(), trace_id()
    for project_id in (ours, other):
        await stored.put(project_id, id_, root({"x.conversation": "c"}))
    await stored.remap(ours)
    assert (await stored.get(ours, id_)).session_id == "c"
    assert (await stored.get(other, id_)).session_id is None
    report = await RemapTraces(stored.later)(None, is_dry_run=False)
    assert report.changed_spans >= 1
    assert (await stored.get(other, id_)).session_id == "c"


async def test_native_changes_stay(stored):
    ours, id_ = project(), trace_id()
    await stored.put(ours, id_, root({"x.conversation": "c"}), call())
    change = SpanChange(model="gpt-4", output=b'"fixed"', metadata=b'{"note":1}')
    child = otel_span_id(id_, CHILD)
    await stored.plane.traces.change_span(ours, id_, child, change)
    edited = (await stored.get(ours, id_)).spans[1]
    report = await stored.remap(ours)
    assert report.changed_spans == 1  # of the root
    found = await stored.get(ours, id_)
    assert found.session_id == "c"
    assert found.spans[1] == edited
    await assert_summaries_match(stored.plane, ours)


async def test_settled_trace_stays_settled_and_an_open_one_open(stored):
    ours, settled, open_ = project(), trace_id(), trace_id()
    await stored.put(ours, settled, call())
    await until_done(stored.plane.otlp.settle_open_traces, FAR_FUTURE)
    await stored.put(ours, open_, call())
    await stored.remap(ours)
    found = {one.id: one for one in await assert_summaries_match(stored.plane, ours)}
    assert found[settled].status is TraceStatus.COMPLETED
    assert json.loads(found[settled].metadata)["otel"]["flags"] == ["root_missing"]
    assert found[open_].status is TraceStatus.RUNNING
    assert {one.spans[0].model for one in found.values()} == {"gpt-4o"}
    assert await stored.plane.otlp.settle_open_traces(FAR_FUTURE) >= 1


async def test_records_that_belong_to_other_spans_are_mapped_with_them(stored):
    ours, id_ = project(), trace_id()
    scope = "com.anthropic.claude_code.tracing"
    turn = root({"span.type": "interaction", "x.conversation": "c"}, scope=scope,
                start_ns=START_NS, end_ns=START_NS + 10 * SECOND)  # fmt: skip
    asked = sent_span({"span.type": "llm_request", "model": "x-mini"}, scope=scope, span_id=CHILD,
                      parent_span_id=ROOT, start_ns=START_NS + 1_000,
                      end_ns=START_NS + SECOND)  # fmt: skip
    answer = sent_record("claude_code.assistant_response", {"response": "done"}, span_id=ROOT,
                         time_ns=START_NS + SECOND // 2)  # fmt: skip
    await stored.put(ours, id_, turn, asked, answer)
    outputs = [one.output for one in (await stored.get(ours, id_)).spans]
    assert None not in outputs
    await stored.remap(ours)
    found = await stored.get(ours, id_)
    assert [one.output for one in found.spans] == outputs
    assert (found.session_id, found.spans[1].model) == ("c", "gpt-4o")


@pytest.mark.parametrize(
    "count",
    [
        REMAPPED_AT_ONCE + 50,
        pytest.param(REMAPPED_SPANS_MAX + 50, marks=pytest.mark.exhaustive),  # takes 3 s
    ],
)
async def test_large_trace_is_mapped_in_parts(stored, count):
    ours, large, small = project(), trace_id(), trace_id()
    await stored.put(ours, large, root({"x.conversation": "c"}),
                     *(call(f"{n:016x}") for n in range(2, count + 1)))  # fmt: skip
    await stored.put(ours, small, root({"x.conversation": "d"}))
    report = await stored.remap(ours)
    assert (report.traces, report.changed_spans) == (2, count + 1)
    [one, other] = sorted(
        await assert_summaries_match(stored.plane, ours), key=lambda t: -len(t.spans)
    )
    assert {span.model for span in one.spans[1:]} == {"gpt-4o"}
    assert (one.session_id, other.session_id) == ("c", "d")


async def test_fragments_may_be_stored_meanwhile(stored):
    """Each span is mapped once by the later rules, and no fragment is lost."""
    ours, ids = project(), [trace_id() for _ in range(10)]
    for id_ in ids:
        await stored.put(ours, id_, root({"x.conversation": "c"}), call())
    more = [stored.later.put(ours, id_, fragments(id_, call(THIRD))) for id_ in ids]
    await asyncio.gather(stored.remap(ours), *more, stored.remap(ours))
    found = await assert_summaries_match(stored.plane, ours)
    assert {one.session_id for one in found} == {"c"}
    assert {(len(one.spans), one.spans[1].model, one.spans[2].model) for one in found} == {
        (3, "gpt-4o", "gpt-4o")
    }
    assert await stored.remap(ours) == RemapReport(traces=10)


async def test_trace_under_erasure_is_left_out(stored):
    ours, id_ = project(), trace_id()
    await stored.put(ours, id_, root({"user.id": "grace", "x.conversation": "c"}))
    owner = DataSubject(DataSubjectKind.USER, "grace")
    erasure = an_erasure(ours, owner)
    await stored.plane.privacy.erasures.begin(erasure, owner, audit_entry(erasure))
    assert (await stored.remap(ours)).changed_traces == 0


async def test_waiting_record_waits_on(stored):
    ours, id_ = project(), trace_id()
    record = sent_record("gen_ai.user.message", {"content": "hi"}, span_id=CHILD)
    assert isinstance(record, SentRecord)
    await stored.put(ours, id_, root(), record)
    await stored.remap(ours)
    await stored.put(ours, id_, call())
    assert b"hi" in (await stored.get(ours, id_)).spans[1].input


def test_rules_state_the_version_that_facts_have():
    rules: FragmentRules = fragment_rules()
    assert rules.map_span(trace_id(), [root()]).facts.mapping_version == rules.version
