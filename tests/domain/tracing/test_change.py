"""Changes of traces, spans and tags."""

import json
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.change import UNCHANGED, retagged
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.usage import NO_USAGE, UNPRICED, CostSource, SpanCost, Usage
from tests.support.builders import strategies
from tests.support.builders.values import at, prices, span, span_id, table_cost, trace

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


def clearable(change: type[Any]) -> dict[str, Any]:
    """Another value for each field that null clears."""
    return {field.name: "another" for field in fields(change) if field.default is UNCHANGED}


NEW_OF_TRACE = clearable(TraceChange) | {
    "input": b'"i"', "output": b"[]", "ended_at": at(9), "session_id": "", "user_id": "v",
    "environment": "", "release": "2",
}  # fmt: skip
NEW_OF_SPAN = clearable(SpanChange) | {
    "input": b'"i"', "output": b"[]", "model": "tiny", "token_usage": b"{}", "ended_at": at(9),
    "error": "", "completion_started_at": at(3), "model_parameters": b"{}", "cost": {"total": 0.0},
}  # fmt: skip


def changed(**said: Any) -> Trace:
    return TraceChange(**said).applied(TRACE)


def changed_span(of: Span = SPAN, **said: Any) -> Span:
    return SpanChange(**said).applied(of, PRICE)


# --- a trace ---------------------------------------------------------------------------------


def test_changeable_fields_of_a_trace():
    said = {field.name for field in fields(TraceChange)}
    assert {field.name for field in fields(Trace)} - said == {
        "id",
        "started_at",
        "spans",
        "new_status",
    }
    assert said == {"name", "status", "tags", "metadata", *NEW_OF_TRACE}


def test_empty_change_has_no_effect():
    assert changed() == TRACE
    assert changed(name=None, status=None, tags=None, metadata=b"{}") == TRACE


@pytest.mark.parametrize("field", NEW_OF_TRACE)
def test_null_clears_one_field_of_a_trace(field):
    assert changed(**{field: None}) == replace(TRACE, **{field: None})


@pytest.mark.parametrize(("field", "value"), NEW_OF_TRACE.items())
def test_value_replaces_one_field_of_a_trace(field, value):
    assert changed(**{field: value}) == replace(TRACE, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "renamed"), ("status", TraceStatus.ERROR), ("tags", ("z", "a", "z")), ("tags", ())],
)
def test_null_keeps_name_status_and_tags(field, value):
    assert changed(**{field: value}) == replace(TRACE, **{field: value})


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b'{"c":null}', {"a": 1, "b": {"x": 1}, "c": None}),
        (b'{"b":{"y":2}}', {"a": 1, "b": {"y": 2}}),
        (b'{"a":null}', {"a": None, "b": {"x": 1}}),
    ],
)
def test_metadata_is_merged_by_key(said, found):
    assert json.loads(changed(metadata=said).metadata) == found


@given(st.permutations([f"k{n}" for n in range(5)]))
def test_changes_of_different_keys_commute(keys):
    found = TRACE
    for key in keys:
        found = TraceChange(metadata=f'{{"{key}":1}}'.encode()).applied(found)
    assert json.loads(found.metadata) == json.loads(TRACE.metadata) | dict.fromkeys(keys, 1)


@given(strategies.traces(), strategies.trace_changes)
def test_change_is_idempotent(one, change):
    once = change.applied(one.settled(PRICE))
    assert change.applied(once) == once


# --- a span ----------------------------------------------------------------------------------


def test_changeable_fields_of_a_span():
    said = {field.name for field in fields(SpanChange)}
    derived = {"usage", "usage_role", "charge", "provider", "request_model"}
    assert {field.name for field in fields(Span)} - said - derived == {
        "id", "parent_id", "started_at",
    }  # fmt: skip
    assert said == {"name", "kind", "status", "metadata", *NEW_OF_SPAN}


def test_empty_span_change_has_no_effect():
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
def test_value_replaces_one_field_of_a_span(field, value):
    found = changed_span(**{field: value})
    assert replace(found, usage=None, charge=None) == replace(
        SPAN, **{field: value}, usage=None, charge=None
    )


def test_metadata_of_a_span_is_merged():
    assert json.loads(changed_span(metadata=b'{"b":2}').metadata) == {"a": 1, "b": 2}


def by_client(amount: str) -> SpanCost:
    return SpanCost(Decimal(amount), CostSource.CLIENT, table_cost("0.0025").price)


@pytest.mark.parametrize(
    ("said", "charge"),
    [
        ({}, by_client("0.5")),
        ({"cost": {"total": 0.25}}, by_client("0.25")),
        ({"cost": {"total": 0.0}}, by_client("0")),
        ({"cost": None}, table_cost("0.0025")),
        ({"cost": {}}, table_cost("0.0025")),
        ({"cost": None, "model": "openai/tiny"}, table_cost("1E-9")),
        ({"cost": None, "model": None}, UNPRICED),
        ({"cost": None, "model": "unlisted"}, UNPRICED),
        ({"cost": None, "token_usage": None}, UNPRICED),
        (
            {"cost": None, "token_usage": b'{"completion_tokens":"10"}'},
            table_cost("1e-4"),
        ),
        ({"model": None}, SpanCost(Decimal("0.5"), CostSource.CLIENT)),
    ],
)
def test_cost_follows_the_changed_fields(said, charge):
    assert changed_span(**said).charge == charge


def test_usage_is_recounted_with_a_client_cost():
    found = changed_span(token_usage=b'{"prompt_tokens":7,"completion_tokens":1}')
    assert (found.usage, found.charge.amount) == (Usage(7, 1), SPAN.charge.amount)
    assert found.charge.price.amount == Decimal("0.0000275")
    assert changed_span(token_usage=None).usage == NO_USAGE


STORED = replace(SPAN, cost=None, charge=table_cost("99"))
"""A span with an outdated table price."""


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
def test_price_is_kept_if_its_inputs_are_unchanged(said):
    assert changed_span(STORED, **said).charge == STORED.charge


@pytest.mark.parametrize(
    "said", [{"model": "openai/gpt-4o"}, {"token_usage": b'{"prompt_tokens":1000.0}'}]
)
def test_price_is_recomputed_if_its_inputs_change(said):
    assert changed_span(STORED, **said).charge == table_cost("0.0025")


@given(strategies.spans(), strategies.span_changes)
def test_span_change_is_idempotent_and_settles(one, change):
    once = change.applied(one.settled(PRICE), PRICE)
    assert change.applied(once, PRICE) == once
    # Tokens of the cache and of reasoning come from the client; `token_usage` alone lacks them.
    usage = once.usage
    is_sent = usage is not None and (usage.has_cached or usage.reasoning_tokens)
    assert once == replace(once, usage=usage if is_sent else None, charge=None).settled(PRICE)


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
def test_retagged(tags, add, remove, found):
    assert retagged(tuple(tags), tuple(add), tuple(remove)) == tuple(found)


@given(strategies.tags, strategies.tags, strategies.tags)
def test_retagged_contains_added_and_not_removed_tags(tags, add, remove):
    found = retagged(tags, add, remove)
    assert set(found) == (set(tags) - set(remove)) | set(add)
    assert retagged(found, add, remove) == found
    if add:
        assert list(found) == sorted(set(found))
