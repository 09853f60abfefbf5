"""Traces: partial, reordered and repeated reports give the same trace."""

import json
from dataclasses import replace
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import Span
from domain.tracing.trace import Trace, TraceStatus, in_order, merged_spans
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, trace

PRICE = prices().price
FULL = trace(
    status=TraceStatus.ERROR,
    ended_at=at(1),
    session_id="s",
    user_id="u",
    environment="e",
    release="r",
    input=b'"i"',
    output=b'"o"',
    metadata=b'{"m":1}',
)
OPTIONAL = "status ended_at session_id user_id environment release input output metadata".split()
one_trace = strategies.traces(st.just(FULL.id))


def merged(reports: list[Trace]) -> Trace:
    return reduce(Trace.merged, reports)


def shape(of: Trace) -> Trace:
    """The trace without the order of metadata keys, which a merge doesn't guarantee."""
    return replace(
        of,
        metadata=_sorted(of.metadata),
        spans=tuple(replace(one, metadata=_sorted(one.metadata)) for one in of.spans),
    )


def _sorted(text: bytes) -> bytes:
    return json.dumps(json.loads(text, parse_float=str, parse_int=str), sort_keys=True).encode()


# --- merging -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", OPTIONAL)
def test_merge_keeps_known_and_adds_new_fields(field):
    bare = trace(id=FULL.id)
    assert getattr(FULL.merged(bare), field) == getattr(FULL, field)
    assert getattr(bare.merged(FULL), field) == getattr(FULL, field)


@pytest.mark.parametrize(
    ("field", "falsy"),
    [
        *((name, "") for name in ("session_id", "user_id", "environment", "release")),
        *(
            (name, value)
            for name in ("input", "output")
            for value in (b"0", b"false", b'""', b"[]")
        ),
        ("status", TraceStatus.PENDING),
    ],
)
def test_falsy_value_replaces_on_merge(field, falsy):
    assert getattr(FULL.merged(trace(id=FULL.id, **{field: falsy})), field) == falsy


def test_name_and_start_are_always_replaced():
    late = FULL.merged(trace(id=FULL.id, name="renamed", started_at=at(-1)))
    assert (late.name, late.started_at) == ("renamed", at(-1))


def test_tags_stay_as_sent_until_a_merge_makes_them_a_sorted_union():
    first = trace(id=FULL.id, tags=("b", "a", "b"))
    assert first.settled(PRICE).tags == ("b", "a", "b")
    assert first.merged(FULL).tags == ("a", "b")
    assert first.merged(trace(tags=("ä", "Z", "b"))).tags == ("Z", "a", "b", "ä")


def test_tag_union_is_unlimited():
    halves = [trace(id=FULL.id, tags=tuple(f"{n}{i:03}" for i in range(100))) for n in "ab"]
    assert len(merged(halves).tags) == 200


@given(strategies.traces())
def test_trace_merge_is_idempotent_except_tag_order(sent):
    stored = sent.settled(PRICE)
    twice = stored.merged(sent).settled(PRICE)
    assert twice == replace(stored, tags=tuple(sorted(set(sent.tags))))
    assert twice.merged(sent).settled(PRICE) == twice


@given(strategies.reports())
def test_consistent_reports_merge_in_any_order(reports):
    results = [shape(merged(list(some)).settled(PRICE)) for some in permutations(reports)]
    assert all(result == results[0] for result in results)


@given(strategies.reports(), st.data())
def test_merging_before_or_after_storing_is_equal(reports, data):
    cut = data.draw(st.integers(1, len(reports) - 1))
    before, after = merged(reports[:cut]), merged(reports[cut:])
    one_by_one = before.settled(PRICE).merged(after).settled(PRICE)
    assert shape(one_by_one) == shape(merged(reports).settled(PRICE))


@given(one_trace, one_trace, one_trace)
def test_batch_merge_equals_sequential_merges(one, two, three):
    sequence = one.settled(PRICE).merged(two).settled(PRICE).merged(three).settled(PRICE)
    assert one.merged(two).merged(three).settled(PRICE) == sequence
    assert shape(one.merged(two.merged(three)).settled(PRICE)) == shape(sequence)


# --- spans ---------------------------------------------------------------------------------


@given(strategies.traces(spans_max=6))
def test_stored_trace_is_settled_with_unique_ordered_spans(sent):
    stored = sent.settled(PRICE)
    keys = [(one.started_at, one.id) for one in stored.spans]
    assert keys == sorted(keys)
    assert [one.id for one in stored.spans] == list(dict.fromkeys(one.id for one in stored.spans))
    assert {one.id for one in stored.spans} == {one.id for one in sent.spans}
    assert all(one.kind and one.status and one.charge for one in stored.spans)
    assert stored.status is (sent.status or TraceStatus.COMPLETED)
    assert stored.settled(PRICE) == stored


def test_duplicate_spans_are_merged_in_order():
    first, second = span(name="a", error="e"), span(name="b", model="m")
    [found] = merged_spans([first, replace(second, id=first.id)])
    assert (found.name, found.error, found.model) == ("b", "e", "m")


def test_unmentioned_spans_are_kept():
    one, two = span(), span()
    both = FULL.merged(replace(FULL, spans=(one,))).merged(replace(FULL, spans=(two,)))
    assert both.spans == (one, two)


@given(st.lists(strategies.spans(), max_size=6))
def test_order_is_by_start_then_id(spans: list[Span]):
    shown = in_order(spans)
    assert list(shown) == sorted(spans, key=lambda one: (one.started_at, one.id.int))


def test_latency_comes_from_the_trace_itself():
    assert trace(span(ended_at=at(9))).latency_ms is None
    assert trace(span(ended_at=at(9)), started_at=NOON, ended_at=at(-1)).latency_ms == -1000.0
