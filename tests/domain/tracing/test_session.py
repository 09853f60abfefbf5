"""Session summaries, and session filters."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.page import Position
from domain.tracing.session import SessionFilter, SessionSort, SessionSummary, sessions_of
from domain.tracing.span import SpanStatus, Totals
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, trace, trace_id

PRICE = prices().price
ALL = SessionFilter()
LOW, HIGH = sorted((trace_id(), trace_id()))


def stored(*spans, **overrides) -> Trace:
    return trace(*spans, **{"session_id": "s"} | overrides).settled(PRICE)


def summary(*traces: Trace) -> SessionSummary:
    return SessionSummary.from_traces("s", traces)


# --- summaries -------------------------------------------------------------------------------


def test_session_of_one_minimal_trace():
    assert summary(stored()) == SessionSummary(
        id="s",
        trace_count=1,
        first_trace_at=NOON,
        last_trace_at=None,
        last_activity_at=NOON,
        latency_us=None,
        has_error=False,
        user_id=None,
        tags=(),
        totals=Totals(),
    )
    assert summary(stored()).latency_ms is None


def test_traces_are_counted_and_summed():
    usage = b'{"prompt_tokens":3,"completion_tokens":4}'
    found = summary(
        stored(
            span(cost={"total": 0.1}, token_usage=usage), started_at=at(5), ended_at=at(6.5),
            tags=("b", "a"),
        ),
        stored(span(cost={"total": 0.2}), span(status=SpanStatus.ERROR), tags=("c", "a", "a")),
        stored(started_at=at(1), ended_at=at(0.75)),
    )  # fmt: skip
    assert (found.trace_count, found.first_trace_at) == (3, NOON)
    assert (found.last_trace_at, found.last_activity_at) == (at(6.5), at(6.5))
    assert (found.latency_us, found.latency_ms) == (1_500_000, 1500.0)
    assert found.tags == ("a", "b", "c")
    assert found.totals == Totals(3, 3, 4, Decimal("0.3"), 1)
    assert not found.has_error


def test_last_activity_is_start_of_newest_running_trace():
    found = summary(stored(ended_at=at(3)), stored(started_at=at(9)))
    assert (found.last_trace_at, found.last_activity_at) == (at(3), at(9))


def test_trace_that_ends_before_it_starts_adds_no_latency():
    found = summary(stored(ended_at=at(-2)), stored(ended_at=at(1)))
    assert (found.latency_ms, found.last_trace_at, found.last_activity_at) == (1000, at(1), at(1))
    assert summary(stored(ended_at=at(-2))).latency_ms is None
    assert summary(stored(ended_at=at(-2))).last_activity_at == NOON


@pytest.mark.parametrize("status", TraceStatus)
def test_has_error_ignores_failed_spans(status):
    found = summary(stored(), stored(span(status=SpanStatus.ERROR), status=status))
    assert found.has_error is (status is TraceStatus.ERROR)


@pytest.mark.parametrize(
    ("traces", "user"),
    [
        ([(LOW, 0, None), (HIGH, 1, "u"), (LOW, 2, "v")], "u"),
        ([(HIGH, 0, "u"), (LOW, 0, "v")], "v"),
        ([(HIGH, 0, "a"), (LOW, 0, "z")], "z"),
        ([(HIGH, 0, ""), (LOW, 1, "u")], ""),
        ([(HIGH, 0, None)], None),
    ],
)
def test_user_of_session_is_from_earliest_trace_with_user(traces, user):
    some = [stored(id=one, started_at=at(start), user_id=name) for one, start, name in traces]
    assert summary(*some).user_id == summary(*reversed(some)).user_id == user


# --- filters ---------------------------------------------------------------------------------

TRACES = [
    stored(session_id="Alpha", user_id="u", tags=("x",), ended_at=at(1)),
    stored(session_id="Alpha", user_id="v", started_at=at(10), status=TraceStatus.ERROR),
    stored(session_id="a%b_", user_id="u", started_at=at(5), tags=("y", "z")),
    stored(session_id="", started_at=at(7)),
    stored(session_id=None, user_id="u", tags=("x",)),
]


def counts(**conditions) -> dict[str, int]:
    return {one.id: one.trace_count for one in sessions_of(TRACES, SessionFilter(**conditions))}


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, {"Alpha": 2, "a%b_": 1, "": 1}),
        ({"user_id": "u"}, {"Alpha": 1, "a%b_": 1}),
        ({"user_id": ""}, {}),
        ({"tags": ("x",)}, {"Alpha": 1}),
        ({"tags": ("y", "x", "y")}, {"Alpha": 1, "a%b_": 1}),
        ({"started_after": at(5)}, {"Alpha": 1, "a%b_": 1, "": 1}),
        ({"started_before": at(5)}, {"Alpha": 1}),
        ({"started_after": at(5), "started_before": at(10)}, {"a%b_": 1, "": 1}),
        ({"started_after": at(5), "started_before": at(5)}, {}),
        ({"has_error": True}, {"Alpha": 2}),
        ({"has_error": False}, {"a%b_": 1, "": 1}),
        ({"has_error": True, "user_id": "u"}, {}),
        ({"has_error": False, "user_id": "u"}, {"Alpha": 1, "a%b_": 1}),
        ({"query": "ALPHA"}, {"Alpha": 2}),
        ({"query": "%"}, {"a%b_": 1}),
        ({"query": "a_"}, {}),
        ({"query": ""}, {"Alpha": 2, "a%b_": 1, "": 1}),
        ({"query": "a", "tags": ("z",), "user_id": "u", "has_error": False}, {"a%b_": 1}),
    ],
)
def test_filters_select_traces_then_sessions(conditions, found):
    assert counts(**conditions) == found


def test_every_aggregate_covers_the_selected_traces_only():
    [found] = sessions_of(TRACES, SessionFilter(user_id="v"))
    assert found == SessionSummary.from_traces("Alpha", [TRACES[1]])
    assert (found.tags, found.latency_us, found.first_trace_at) == ((), None, at(10))


@pytest.mark.parametrize(
    ("conditions", "selects"),
    [
        ({}, False),
        ({"query": "a", "has_error": True}, False),
        *(({name: value}, True) for name, value in [("user_id", ""), ("started_after", NOON)]),
        *(({name: value}, True) for name, value in [("tags", ("",)), ("started_before", NOON)]),
    ],
)
def test_filter_reports_whether_it_selects_traces(conditions, selects):
    assert SessionFilter(**conditions).selects_traces is selects


settled = st.lists(strategies.traces(st.uuids(), spans_max=1), max_size=6).map(
    lambda some: [one.settled(PRICE) for one in some]
)


@given(settled)
def test_sessions_partition_their_traces(traces):
    found = sessions_of(traces, ALL)
    assert {one.id for one in found} == {one.session_id for one in traces} - {None}
    assert sum(one.trace_count for one in found) == sum(t.session_id is not None for t in traces)
    spans = [span for one in traces if one.session_id is not None for span in one.spans]
    assert sum((one.totals for one in found), Totals()) == Totals.from_spans(spans)


@given(settled, st.permutations(range(6)))
def test_summary_is_independent_of_trace_order(traces, order):
    shuffled = [traces[n] for n in order if n < len(traces)]
    by_id = {one.id: one for one in sessions_of(traces, ALL)}
    assert {one.id: one for one in sessions_of(shuffled, ALL)} == by_id


@given(settled)
def test_filter_without_trace_conditions_keeps_whole_sessions(traces):
    whole = {one.id: one for one in sessions_of(traces, ALL)}
    for failed in (True, False):
        for one in sessions_of(traces, SessionFilter(has_error=failed)):
            assert whole.pop(one.id) == one
            assert one.has_error is failed
    assert whole == {}


# --- sorts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        (SessionSort.RECENT, at(2)),
        (SessionSort.TRACE_COUNT, 1),
        (SessionSort.LATENCY, 2_000_000),
        (SessionSort.COST, Decimal("0.1")),
    ],
)
def test_session_position_is_value_and_id(sort, value):
    assert sort.position(summary(stored(span(cost={"a": 0.1}), ended_at=at(2)))) == Position(
        value, "s"
    )


def test_only_latency_position_may_be_none():
    running = summary(stored())
    lacking = [sort for sort in SessionSort if sort.position(running).value is None]
    assert lacking == [SessionSort.LATENCY]


@given(st.lists(strategies.instants, min_size=2, max_size=4))
def test_last_activity_never_decreases(instants):
    traces = [stored(started_at=start, ended_at=end) for start, end in pairwise(instants)]
    activity = [summary(*traces[: n + 1]).last_activity_at for n in range(len(traces))]
    assert activity == sorted(activity)
    assert activity[-1] == max(instants)
    assert summary(*(replace(one, ended_at=None) for one in traces)).last_activity_at == max(
        instants[:-1]
    )
