"""Comparing two traces: the alignment of their steps, and what is said of each."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.comparison import (
    COMPARED_SPANS_MAX,
    ERROR_CHARS_MAX,
    StepChange,
    StepField,
    TraceComparison,
    align,
)
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace
from tests.support.builders import strategies
from tests.support.builders.evaluated_traces import prices
from tests.support.builders.values import at, span, span_id, trace

PRICE = prices().price
SAME, CHANGED, MISSING, ADDED = StepChange
items = st.lists(st.integers(0, 3), max_size=9)


def settled(*spans: Span) -> Trace:
    return trace(*spans).settled(PRICE)


def steps(*names: str) -> list[Span]:
    """Spans in this order; a name such as `search:paris` is a call with this input."""
    return [
        span(
            name=name.partition(":")[0],
            kind=SpanKind.TOOL,
            started_at=at(n),
            input=f'"{name.partition(":")[2]}"'.encode(),
        )
        for n, name in enumerate(names)
    ]


def changes(a: list[Span], b: list[Span]) -> list[tuple[StepChange, str]]:
    found = TraceComparison.from_traces(settled(*a), settled(*b))
    return [(pair.change, pair.name) for pair in found.steps]


def longest(a: list[int], b: list[int]) -> int:
    """The length of a longest common subsequence, by the textbook's table."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for n, one in enumerate(a):
        for m, other in enumerate(b):
            both = max(table[n][m + 1], table[n + 1][m])
            table[n + 1][m + 1] = table[n][m] + 1 if one == other else both
    return table[-1][-1]


@given(items, items)
def test_alignment_pairs_as_many_items_as_possible(a, b):
    places = align(a, b)
    assert [one for one, _ in places if one is not None] == list(range(len(a)))
    assert [other for _, other in places if other is not None] == list(range(len(b)))
    pairs = [(one, other) for one, other in places if one is not None and other is not None]
    assert all(a[one] == b[other] for one, other in pairs)
    assert len(pairs) == longest(a, b)


def test_added_and_missing_steps_are_reported():
    assert changes(steps("plan", "search", "answer"), steps("plan", "fetch", "answer")) == [
        (SAME, "plan"), (MISSING, "search"), (ADDED, "fetch"), (SAME, "answer")
    ]  # fmt: skip


def test_a_call_is_aligned_with_the_call_of_the_same_input():
    one, other = steps("search:rome", "search:oslo"), steps("search:oslo")
    assert changes(one, other) == [(MISSING, "search"), (SAME, "search")]
    assert changes(other, one) == [(ADDED, "search"), (SAME, "search")]


def test_calls_of_one_tool_with_other_inputs_are_changed():
    assert changes(steps("a", "search:rome", "b"), steps("a", "search:oslo", "b")) == [
        (SAME, "a"), (CHANGED, "search"), (SAME, "b")
    ]  # fmt: skip


def test_steps_inside_a_new_wrapper_are_found():
    [call] = steps("search:rome")
    wrapper = span(name="retry", started_at=at(0), kind=SpanKind.CHAIN)
    wrapped = [wrapper, replace(call, id=span_id(), parent_id=wrapper.id, started_at=at(1))]
    assert changes([call], wrapped) == [(ADDED, "retry"), (SAME, "search")]


def test_each_difference_is_named():
    one = span(model="small", input=b"1", output=b"2", ended_at=at(1), status=SpanStatus.OK)
    long = "x" * (ERROR_CHARS_MAX + 1)
    other = replace(
        one, id=span_id(), model="large", input=b"3", output=b"4", error=long,
        status=SpanStatus.ERROR, ended_at=at(3),
    )  # fmt: skip
    found = TraceComparison.from_traces(settled(one), settled(other))
    [pair] = found.steps
    assert (pair.change, list(pair.differences)) == (CHANGED, list(StepField))
    assert pair.a is not None
    assert pair.b is not None
    assert (pair.a.label, pair.a.span_id, pair.b.span_id) == ("s1", one.id, other.id)
    assert (pair.a.latency_ms, pair.b.latency_ms) == (1000, 3000)
    assert (pair.a.error, pair.b.error) == (None, long[:ERROR_CHARS_MAX])


def test_different_times_and_costs_are_not_reported():
    one = span(ended_at=at(1), cost={"total": 1.0})
    other = replace(one, ended_at=at(9), cost={"total": 2.0})
    found = TraceComparison.from_traces(settled(one), settled(other))
    assert found.counts.same == 1
    assert [(pair.a and pair.a.cost, pair.b and pair.b.cost) for pair in found.steps] == [
        (1.0, 2.0)
    ]


@given(strategies.traces(), strategies.traces())
def test_every_step_is_in_one_pair_and_swapping_mirrors_the_counts(a, b):
    a, b = a.settled(PRICE), b.settled(PRICE)
    found = TraceComparison.from_traces(a, b)
    ours = [pair.a.span_id for pair in found.steps if pair.a]
    theirs = [pair.b.span_id for pair in found.steps if pair.b]
    assert sorted(ours) == sorted(span.id for span in a.spans)
    assert sorted(theirs) == sorted(span.id for span in b.spans)
    assert found.counts.missing == TraceComparison.from_traces(b, a).counts.added
    assert found == TraceComparison.from_traces(a, b)
    assert TraceComparison.from_traces(a, a).counts.same == len(a.spans)


@given(strategies.traces(), strategies.traces(), st.integers(1, 4), st.booleans())
def test_pages_put_together_are_the_whole(a, b, limit, only_changes):
    a, b = a.settled(PRICE), b.settled(PRICE)
    whole = TraceComparison.from_traces(a, b, only_changes=only_changes)
    assert whole.next is None
    found, first = [], 0
    while first is not None:
        page = TraceComparison.from_traces(
            a, b, first=first, limit=limit, only_changes=only_changes
        )
        assert (page.total, page.counts) == (whole.total, whole.counts)
        found, first = [*found, *page.steps], page.next
    assert found == list(whole.steps)


def test_the_longest_traces_are_compared_in_part():
    chance = random.Random(1)
    ours, theirs = (
        settled(*steps(*(chance.choice("abcdefgh") for _ in range(COMPARED_SPANS_MAX + 9))))
        for _ in range(2)
    )
    found = TraceComparison.from_traces(ours, theirs)
    assert (found.compared_a, found.compared_b) == (COMPARED_SPANS_MAX, COMPARED_SPANS_MAX)
    counts = found.counts
    assert 2 * (counts.same + counts.changed) + counts.missing + counts.added == 10_000
    assert counts.same > 2_500
