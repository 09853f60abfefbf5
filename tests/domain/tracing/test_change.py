"""What a change makes of a trace and of a span, and what becomes of tags."""

import json
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.change import SpanChange, TraceChange, retagged
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import NO_USAGE, UNPRICED, CostSource, SpanCost, Usage
from tests.support.builders import strategies
from tests.support.builders.values import at, of_table, prices, span, span_id, trace

PRICE = prices().price

TRACE = trace(
    span(),
    status=TraceStatus.RUNNING,
    ended_at=at(1),
    session_id="s",
    user_id="u",
    environment="e",
    release="r",
    input=b"1",
    output=b"2",
    metadata=b'{"a":1,"b":{"x":1}}',
    tags=("b", "a", "b"),
).settled(PRICE)

SPAN = span(
    kind=SpanKind.LLM,
    status=SpanStatus.OK,
    parent_id=span_id(),
    ended_at=at(2),
    completion_started_at=at(1),
    error="e",
    model="gpt-4o",
    input=b"1",
    output=b"2",
    metadata=b'{"a":1}',
    token_usage=b'{"prompt_tokens":1000}',
    model_parameters=b'{"t":0}',
    cost={"total": 0.5},
).settled(PRICE)

NEW_OF_TRACE = {
    "input": b'"i"', "output": b"[]", "ended_at": at(9), "session_id": "", "user_id": "v",
    "environment": "", "release": "2",
}  # fmt: skip
NEW_OF_SPAN = {
    "input": b'"i"', "output": b"[]", "model": "tiny", "token_usage": b"{}", "ended_at": at(9),
    "error": "", "completion_started_at": at(3), "model_parameters": b"{}", "cost": {"total": 0.0},
}  # fmt: skip


def changed(**said: Any) -> Trace:
    return TraceChange(**said).applied(TRACE)


def changed_span(of: Span = SPAN, **said: Any) -> Span:
    return SpanChange(**said).applied(of, PRICE)


# --- a trace ---------------------------------------------------------------------------------


def test_every_field_of_a_trace_is_changeable_but_its_identity_start_and_spans():
    said = {field.name for field in fields(TraceChange)}
    assert {field.name for field in fields(Trace)} - said == {"id", "started_at", "spans"}
    assert said == {"name", "status", "tags", "metadata", *NEW_OF_TRACE}


def test_a_change_that_says_nothing_changes_nothing():
    assert changed() == TRACE
    assert changed(name=None, status=None, tags=None, metadata=b"{}") == TRACE


@pytest.mark.parametrize("field", NEW_OF_TRACE)
def test_null_clears_one_field_of_a_trace(field):
    assert changed(**{field: None}) == replace(TRACE, **{field: None})


@pytest.mark.parametrize(("field", "value"), NEW_OF_TRACE.items())
def test_a_value_replaces_one_field_of_a_trace_also_an_empty_one(field, value):
    assert changed(**{field: value}) == replace(TRACE, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "renamed"), ("status", TraceStatus.ERROR), ("tags", ("z", "a", "z")), ("tags", ())],
)
def test_what_null_leaves_a_value_replaces(field, value):
    assert changed(**{field: value}) == replace(TRACE, **{field: value})


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b'{"c":null}', {"a": 1, "b": {"x": 1}, "c": None}),
        (b'{"b":{"y":2}}', {"a": 1, "b": {"y": 2}}),
        (b'{"a":null}', {"a": None, "b": {"x": 1}}),
    ],
)
def test_metadata_is_merged_a_key_at_a_time(said, found):
    assert json.loads(changed(metadata=said).metadata) == found


@given(st.permutations([f"k{n}" for n in range(5)]))
def test_changes_of_different_keys_give_the_same_in_any_order(keys):
    found = TRACE
    for key in keys:
        found = TraceChange(metadata=f'{{"{key}":1}}'.encode()).applied(found)
    assert json.loads(found.metadata) == json.loads(TRACE.metadata) | dict.fromkeys(keys, 1)


@given(strategies.traces(), strategies.trace_changes)
def test_the_same_change_twice_is_that_change(one, change):
    once = change.applied(one.settled(PRICE))
    assert change.applied(once) == once


# --- a span ----------------------------------------------------------------------------------


def test_every_field_of_a_span_is_changeable_but_its_ids_and_start():
    said = {field.name for field in fields(SpanChange)}
    derived = {"usage", "charge"}
    assert {field.name for field in fields(Span)} - said - derived == {
        "id", "parent_id", "started_at",
    }  # fmt: skip
    assert said == {"name", "kind", "status", "metadata", *NEW_OF_SPAN}


def test_a_change_that_says_nothing_changes_no_span():
    assert changed_span() == SPAN
    assert changed_span(name=None, kind=None, status=None, metadata=b"{}") == SPAN


@pytest.mark.parametrize("field", NEW_OF_SPAN)
def test_null_clears_one_field_of_a_span(field):
    found = changed_span(**{field: None})
    assert replace(found, usage=None, charge=None) == replace(
        SPAN, **{field: None}, usage=None, charge=None
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *NEW_OF_SPAN.items(),
        *(("name", "renamed"), ("kind", SpanKind.TOOL), ("status", SpanStatus.ERROR)),
    ],
)
def test_a_value_replaces_one_field_of_a_span_also_a_falsy_one(field, value):
    found = changed_span(**{field: value})
    assert replace(found, usage=None, charge=None) == replace(
        SPAN, **{field: value}, usage=None, charge=None
    )


def test_metadata_of_a_span_is_merged():
    assert json.loads(changed_span(metadata=b'{"b":2}').metadata) == {"a": 1, "b": 2}


def by_client(amount: str) -> SpanCost:
    return SpanCost(Decimal(amount), CostSource.CLIENT, of_table("0.0025").price)


@pytest.mark.parametrize(
    ("said", "charge"),
    [
        ({}, by_client("0.5")),
        ({"cost": {"total": 0.25}}, by_client("0.25")),
        ({"cost": {"total": 0.0}}, by_client("0")),
        ({"cost": None}, of_table("0.0025")),
        ({"cost": {}}, of_table("0.0025")),
        ({"cost": None, "model": "openai/tiny"}, of_table("1E-9")),
        ({"cost": None, "model": None}, UNPRICED),
        ({"cost": None, "model": "unlisted"}, UNPRICED),
        ({"cost": None, "token_usage": None}, UNPRICED),
        (
            {"cost": None, "token_usage": b'{"completion_tokens":"10"}'},
            of_table("1e-4"),
        ),
        ({"model": None}, SpanCost(Decimal("0.5"), CostSource.CLIENT)),
    ],
)
def test_a_span_costs_what_is_known_after_the_change(said, charge):
    assert changed_span(**said).charge == charge


def test_tokens_are_counted_anew_under_a_price_of_the_client():
    found = changed_span(token_usage=b'{"prompt_tokens":7,"completion_tokens":1}')
    assert (found.usage, found.charge.amount) == (Usage(7, 1), SPAN.charge.amount)
    assert found.charge.price.amount == Decimal("0.0000275")
    assert changed_span(token_usage=None).usage == NO_USAGE


STORED = replace(SPAN, cost=None, charge=of_table("99"))
"""A span whose table price is none of today."""


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"name": "renamed", "kind": SpanKind.TOOL, "metadata": b'{"z":1}'},
        {"status": SpanStatus.ERROR},
        {"input": None, "output": b"1", "error": None, "ended_at": None, "model_parameters": None},
        {"completion_started_at": at(7)},
        {"model": STORED.model, "token_usage": STORED.token_usage, "cost": None},
    ],
)
def test_a_stored_price_stays_while_what_made_it_stays(said):
    assert changed_span(STORED, **said).charge == STORED.charge


@pytest.mark.parametrize(
    "said", [{"model": "openai/gpt-4o"}, {"token_usage": b'{"prompt_tokens":1000.0}'}]
)
def test_a_stored_price_is_found_anew_where_what_made_it_changes(said):
    assert changed_span(STORED, **said).charge == of_table("0.0025")


@given(strategies.spans(), strategies.span_changes)
def test_a_span_is_settled_after_any_change_and_the_same_change_twice_is_one(one, change):
    once = change.applied(one.settled(PRICE), PRICE)
    assert change.applied(once, PRICE) == once
    # What was cached of a prompt its sender told: its token usage by itself doesn't say.
    told = once.usage if once.usage is not None and once.usage.has_cached else None
    assert once == replace(once, usage=told, charge=None).settled(PRICE)


# --- tags ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "add", "remove", "found"),
    [
        ("bab", "", "", "bab"),
        ("bab", "", "z", "bab"),
        ("bab", "", "a", "bb"),
        ("bab", "", "ab", ""),
        ("bab", "a", "", "ab"),
        ("bab", "c", "b", "ac"),
        ("bab", "b", "b", "ab"),
        ("ab", "cc", "", "abc"),
        ("", "ba", "", "ab"),
        ("", "", "a", ""),
    ],
)
def test_tags_are_removed_then_added_and_sorted_only_by_an_addition(tags, add, remove, found):
    assert retagged(tuple(tags), tuple(add), tuple(remove)) == tuple(found)


@given(strategies.tags, strategies.tags, strategies.tags)
def test_what_was_added_is_there_and_what_was_removed_is_not(tags, add, remove):
    found = retagged(tags, add, remove)
    assert set(found) == (set(tags) - set(remove)) | set(add)
    assert retagged(found, add, remove) == found
    if add:
        assert list(found) == sorted(set(found))
