"""Traces that are sent both ways: native writes stay, whatever spans come later."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.native_fields import (
    NativeFields,
    edited_facts,
    recomputed_trace,
    remapped_span,
)
from domain.tracing.otel.trace_state import ComputedTrace, SpanNode, compute_trace
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from tests.support.builders.otel_nodes import TRACE, node
from tests.support.builders.values import NOON, prices, span, trace

NONE = NativeFields()
OPEN = node(1, None, end=None, user_id="u", tags=("a",), sender_metadata={"k": "1", "m": "1"})
ENDED = node(
    1, None, end=3, name="new", user_id="u2", tags=("b",), sender_metadata={"k": "2", "m": "2"}
)


def row(
    *nodes: SpanNode,
    known: Trace | None = None,
    native: NativeFields = NONE,
    input: bytes | None = None,  # noqa: A002 - the name of the field
    output: bytes | None = None,
) -> Trace:
    return recomputed_trace(known, of(*nodes), native, input=input, output=output)


def of(*nodes: SpanNode) -> ComputedTrace:
    return compute_trace(TRACE, nodes)


def test_new_trace_has_computed_fields() -> None:
    computed = of(ENDED)
    assert row(ENDED, input=b"1", output=b"2") == Trace(
        id=TRACE,
        name="new",
        status=TraceStatus.COMPLETED,
        started_at=computed.started_at,
        ended_at=computed.ended_at,
        user_id="u2",
        tags=("b",),
        metadata=computed.metadata,
        input=b"1",
        output=b"2",
    )


def test_without_native_writes_all_is_computed_again() -> None:
    known = replace(row(OPEN, input=b"1"), spans=(span(),))
    assert row(ENDED, known=known) == replace(row(ENDED), spans=known.spans)


CHANGES: list[tuple[str, TraceChange, Any]] = [
    ("name", TraceChange(name="mine"), "mine"),
    ("status", TraceChange(status=TraceStatus.ERROR), TraceStatus.ERROR),
    ("tags", TraceChange(tags=("z",)), ("z",)),
    ("tags", TraceChange(tags=()), ()),
    ("input", TraceChange(input=b"3"), b"3"),
    ("output", TraceChange(output=b"3"), b"3"),
    ("ended_at", TraceChange(ended_at=NOON), NOON),
    ("session_id", TraceChange(session_id="s"), "s"),
    ("user_id", TraceChange(user_id=None), None),
    ("environment", TraceChange(environment="e"), "e"),
    ("release", TraceChange(release="r"), "r"),
]


@pytest.mark.parametrize(("name", "change", "value"), CHANGES)
def test_field_changed_by_native_write_is_kept(
    name: str, change: TraceChange, value: object
) -> None:
    before = row(OPEN)
    after = change.applied(before)
    native = NativeFields.from_write(before, after)
    assert native == NativeFields(frozenset({name}))
    assert row(ENDED, known=after, native=native) == replace(row(ENDED), **{name: value})


def test_native_write_without_change_keeps_no_field() -> None:
    before = row(OPEN)
    assert NativeFields.from_write(before, before) == NONE


def test_members_of_the_metadata_stay_one_by_one() -> None:
    before = row(OPEN)
    after = TraceChange(metadata=b'{"k":"mine","own":1.50}').applied(before)
    native = NativeFields.from_write(before, after)
    assert native == NativeFields(metadata_keys=frozenset({"k", "own"}))
    found = row(ENDED, known=after, native=native)
    assert json.loads(found.metadata) == {
        "k": "mine",
        "m": 2,
        "own": 1.5,
        "otel": {"flags": []},
    }
    assert b"1.50" in found.metadata


def test_reserved_member_is_always_computed() -> None:
    before = row(OPEN)
    after = TraceChange(metadata=b'{"otel":{"flags":["setup"]}}').applied(before)
    native = NativeFields.from_write(before, after)
    assert native == NONE
    assert row(OPEN, known=after, native=native) == before


def test_native_trace_keeps_all_given_fields() -> None:
    after = trace(id=TRACE, user_id="mine", metadata=b'{"k":"mine"}').settled(prices().price)
    native = NativeFields.from_write(None, after)
    assert native.names == {"name", "started_at", "status", "user_id"}
    found = row(ENDED, known=after, native=native, input=b"1")
    assert (found.name, found.user_id, found.tags) == ("run", "mine", ("b",))
    assert (found.started_at, found.input) == (NOON, b"1")
    assert found.ended_at == of(ENDED).ended_at
    assert json.loads(found.metadata)["k"] == "mine"


def test_fields_changed_by_several_writes_are_kept() -> None:
    one = NativeFields(frozenset({"name"}), frozenset({"k"}))
    other = NativeFields(frozenset({"tags"}), frozenset({"m"}))
    both = NativeFields(frozenset({"name", "tags"}), frozenset({"k", "m"}))
    assert one | other == both


def test_unknown_names_from_a_store_are_passed_over() -> None:
    native = NativeFields(frozenset({"spans", "gone"}), frozenset({"gone"}))
    assert row(ENDED, known=row(OPEN), native=native) == row(ENDED)


# --- spans ---------------------------------------------------------------------------------------

STORED = replace(OPEN.span, metadata=b'{"k":1,"m":1}').settled(prices().price)
MAPPED = MappedSpan(
    replace(
        ENDED.span, metadata=b'{"k":2,"otel":{}}', usage=None, charge=None, error="sent"
    ),
    ENDED.facts,
)  # fmt: skip
SPAN_CHANGES: list[tuple[str, SpanChange, Any]] = [
    ("name", SpanChange(name="mine"), "mine"),
    ("kind", SpanChange(kind=SpanKind.TOOL), SpanKind.TOOL),
    ("status", SpanChange(status=SpanStatus.ERROR), SpanStatus.ERROR),
    ("input", SpanChange(input=b"3"), b"3"),
    ("ended_at", SpanChange(ended_at=NOON), NOON),
    ("model", SpanChange(model="m"), "m"),
    ("error", SpanChange(error="mine"), "mine"),
    ("cost", SpanChange(cost={"total": 1.0}), {"total": 1.0}),
    ("model_parameters", SpanChange(model_parameters=b"{}"), b"{}"),
    ("completion_started_at", SpanChange(completion_started_at=NOON), NOON),
]


def again(*changes: SpanChange) -> Span:
    """The span as it is mapped again after native changes of the stored one."""
    known, facts = STORED, OPEN.facts
    for one in changes:
        before, known = known, one.applied(known, prices().price)
        facts = edited_facts(facts, before, known)
    found = remapped_span(MAPPED, known, facts)
    assert remapped_span(found, known, found.facts) == found
    return found.span


@pytest.mark.parametrize(("name", "change", "value"), SPAN_CHANGES)
def test_field_of_a_span_changed_by_native_write_is_kept(
    name: str, change: SpanChange, value: object
) -> None:
    assert again(change) == replace(MAPPED.span, **{name: value})


def test_span_without_native_change_is_as_mapped() -> None:
    assert again() == again(SpanChange(name=STORED.name)) == MAPPED.span


def test_changed_tokens_of_a_span_are_counted() -> None:
    found = again(SpanChange(token_usage=b'{"prompt_tokens":7}'))
    assert found.usage is not None
    assert found.usage.prompt_tokens == 7


def test_all_native_changes_of_a_span_are_kept() -> None:
    other = SpanChange(metadata=b'{"m":2,"otel":{"flags":[]}}')
    found = again(SpanChange(name="mine"), other, SpanChange(metadata=b'{"own":1.50}'))
    assert found.name == "mine"
    assert json.loads(found.metadata) == {"k": 2, "m": 2, "own": 1.5, "otel": {}}
