"""Traces: partial, reordered and repeated reports give the same trace."""

import json
from dataclasses import replace
from functools import reduce
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import Span
from domain.tracing.trace import (
    Trace,
    TraceChange,
    TraceStatus,
    TraceSummary,
    in_order,
    merged_spans,
    merged_traces,
)
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
    ],
)
def test_falsy_value_replaces_on_merge(field, falsy):
    assert getattr(FULL.merged(trace(id=FULL.id, **{field: falsy})), field) == falsy


OPEN_STATUSES = [TraceStatus.PENDING, TraceStatus.RUNNING]


@pytest.mark.parametrize(
    ("first_status", "second_status"), list(product(TraceStatus, [*TraceStatus, None]))
)
def test_final_status_is_only_replaced_by_a_final_one(first_status, second_status):
    is_kept = second_status is None or (
        first_status not in OPEN_STATUSES and second_status in OPEN_STATUSES
    )
    first, then = trace(id=FULL.id, status=first_status), trace(id=FULL.id, status=second_status)
    for merge in (first.merged(then).settled(PRICE), first.settled(PRICE).merged(then)):
        assert merge.status is (first_status if is_kept else second_status)


@pytest.mark.parametrize("second_status", OPEN_STATUSES)
def test_default_status_is_final_whether_stored_or_merged_before(second_status):
    bare, then = trace(id=FULL.id), trace(id=FULL.id, status=second_status)
    assert bare.settled(PRICE).merged(then).status is TraceStatus.COMPLETED
    assert bare.merged(then).settled(PRICE).status is TraceStatus.COMPLETED
    running = trace(id=FULL.id, status=TraceStatus.RUNNING).settled(PRICE)
    assert running.merged(bare.merged(then)).settled(PRICE).status is second_status


@pytest.mark.parametrize("status", TraceStatus)
def test_change_sets_any_status(status):
    assert TraceChange(status=status).applied(FULL.settled(PRICE)).status is status


def test_name_and_start_are_always_replaced():
    changed = FULL.merged(trace(id=FULL.id, name="renamed", started_at=at(-1)))
    assert (changed.name, changed.started_at) == ("renamed", at(-1))


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


@given(st.lists(one_trace, min_size=1, max_size=5))
def test_merging_all_at_once_is_merging_one_by_one(reports):
    assert merged_traces(reports) == merged(reports)


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
    assert trace(span(ended_at=at(9)), started_at=NOON, ended_at=at(1)).latency_ms == 1000.0


@pytest.mark.parametrize(
    ("ended_at", "is_skewed"), [(None, False), (NOON, False), (at(-1), True), (at(1), False)]
)
def test_trace_that_ends_before_it_starts_has_no_latency_and_is_flagged(ended_at, is_skewed):
    found = trace(ended_at=ended_at)
    shown = TraceSummary.from_trace(found.settled(PRICE))
    assert (found.ended_at, found.clock_skew, shown.clock_skew) == (ended_at, is_skewed, is_skewed)
    is_timed = ended_at is not None and not is_skewed
    latencies = (found.latency_ms, found.latency_us, shown.latency_ms, shown.latency_us)
    assert all((one is not None) is is_timed for one in latencies)
