"""Analytics over time: everything is counted exactly once."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.page import Position
from domain.tracing.analytics import (
    MODELS_MAX,
    Granularity,
    Latencies,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    session_buckets,
    top_models,
    trace_buckets,
    usage_buckets,
    user_summaries,
)
from domain.tracing.span import Span, Totals
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders import strategies
from tests.support.builders.values import NOON, at, prices, span, trace

PRICE = prices().price
HOUR, DAY, WEEK = Granularity
FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
EVER = Period(FIRST, LAST)


def stored(*spans, **overrides) -> Trace:
    return trace(*spans, **overrides).settled(PRICE)


def priced(**overrides) -> Span:
    return span(**overrides).settled(PRICE)


# --- traces ----------------------------------------------------------------------------------


def test_traces_are_counted_by_their_start_ascending_without_empty_buckets():
    traces = [
        stored(started_at=at(7200), ended_at=at(7201)),
        stored(status=TraceStatus.ERROR),
        stored(ended_at=at(0.1)),
        stored(ended_at=at(0.2)),
        stored(started_at=at(3600 * 24)),
    ]
    assert trace_buckets(traces, Period(NOON, at(3600 * 24)), HOUR) == [
        TraceBucket(NOON, 3, 1, Latencies(2, 150.0, 150.0, 190.0, 199.0)),
        TraceBucket(at(7200), 1, 0, Latencies(1, 1000.0, 1000.0, 1000.0, 1000.0)),
    ]
    assert trace_buckets(traces, Period(at(1), at(2)), HOUR) == []
    assert trace_buckets(traces[1:2], EVER, DAY)[0].latencies is None


def test_edge_buckets_contain_only_traces_of_the_period():
    traces = [stored(started_at=at(seconds)) for seconds in (-600, 0, 599, 600, 1800)]
    found = trace_buckets(traces, Period(NOON, at(600)), WEEK)
    assert [(one.bucket, one.trace_count) for one in found] == [(WEEK.bucket(NOON), 2)]


edges = strategies.edges
granularities = st.sampled_from(Granularity)
periods = st.builds(Period, edges, edges)
some_traces = st.lists(
    st.builds(
        stored,
        started_at=edges,
        ended_at=strategies.maybe(edges),
        status=strategies.maybe(st.sampled_from(TraceStatus)),
        session_id=st.sampled_from([None, "", "s", "t"]),
        user_id=st.sampled_from([None, "", "u"]),
    ),
    max_size=8,
)
some_spans = st.lists(
    st.builds(
        priced,
        started_at=edges,
        model=st.sampled_from([None, "", "gpt-4o", "tiny"]),
        token_usage=strategies.maybe(strategies.token_usages),
        cost=strategies.maybe(strategies.costs),
    ),
    max_size=8,
)


@given(some_traces, periods, granularities)
def test_buckets_partition_the_traces_of_a_period(traces, period, granularity):
    found = trace_buckets(traces, period, granularity)
    within = [one for one in traces if period.includes(one.started_at)]
    assert [one.bucket for one in found] == sorted(
        {granularity.bucket(one.started_at) for one in within}
    )
    assert sum(one.trace_count for one in found) == len(within)
    assert sum(one.error_count for one in found) == sum(
        one.status is TraceStatus.ERROR for one in within
    )


@given(some_traces, st.lists(edges, min_size=3, max_size=3).map(sorted), granularities)
def test_adjacent_periods_count_each_trace_once(traces, instants, granularity):
    start, middle, end = instants
    first, second, whole = (
        sum(one.trace_count for one in trace_buckets(traces, Period(after, before), granularity))
        for after, before in [(start, middle), (middle, end), (start, end)]
    )
    assert first + second == whole


# --- spans -----------------------------------------------------------------------------------


def test_spans_count_by_their_own_start():
    usage = b'{"prompt_tokens":3,"completion_tokens":4}'
    spans = [
        priced(started_at=at(3600), token_usage=usage, cost={"total": 0.1}),
        priced(token_usage=usage),
        priced(started_at=at(3601), cost={"total": 0.2}),
        priced(started_at=at(9999)),
    ]
    found = usage_buckets(spans, Period(NOON, at(9999)), HOUR)
    assert found == [
        UsageBucket(NOON, 3, 4, Decimal(0), unpriced=1),
        UsageBucket(at(3600), 3, 4, Decimal("0.3"), priced=2),
    ]
    assert found[0].tokens == 7


@given(some_spans, periods, granularities)
def test_buckets_add_up_to_the_spans_of_a_period(spans, period, granularity):
    found = usage_buckets(spans, period, granularity)
    within = [one for one in spans if period.includes(one.started_at)]
    totals = Totals.from_spans(within)
    assert sum(one.prompt_tokens for one in found) == totals.prompt_tokens
    assert sum(one.completion_tokens for one in found) == totals.completion_tokens
    costs = (Totals(cost=one.cost) for one in found)
    assert sum(costs, Totals()).cost == totals.cost
    assert [one.bucket for one in found] == sorted(
        {granularity.bucket(one.started_at) for one in within}
    )


def test_top_models_are_sorted_by_calls_then_name_and_limited():
    names = [f"m{n:02}" for n in range(MODELS_MAX + 2)]
    calls = [*names, "m11", "m11", "m05"]
    spans = [priced(model=name) for name in reversed(calls)] + [priced(), priced(started_at=at(-1))]
    found = top_models(spans, Period(NOON, at(1)))
    assert [(one.model, one.calls) for one in found] == [
        *(("m11", 3), ("m05", 2)),
        *((name, 1) for name in names if name not in {"m11", "m05"}),
    ][:MODELS_MAX]


def test_models_count_for_every_span_kind():
    usage = b'{"prompt_tokens":1000000}'
    spans = [
        priced(model="gpt-4o", token_usage=usage),
        priced(model="openai/gpt-4o", token_usage=usage),
        priced(model=""),
        priced(model=None, cost={"total": 1.0}),
    ]
    assert top_models(spans, EVER) == [
        ModelUsage("", 1, 0, Decimal(0)),
        ModelUsage("gpt-4o", 1, 1_000_000, Decimal("2.5")),
        ModelUsage("openai/gpt-4o", 1, 1_000_000, Decimal("2.5")),
    ]


@given(some_spans, periods)
def test_models_add_up_to_the_spans_that_have_one(spans, period):
    called = [one for one in spans if one.model is not None and period.includes(one.started_at)]
    found = top_models(spans, period)
    assert sum(one.calls for one in found) == len(called)
    assert sum(one.tokens for one in found) == Totals.from_spans(called).tokens


# --- sessions and users ----------------------------------------------------------------------


def test_session_belongs_to_bucket_of_its_first_trace_in_period():
    traces = [
        stored(session_id="s", started_at=at(-3600), ended_at=at(0)),
        stored(session_id="s", started_at=at(10), ended_at=at(12)),
        stored(session_id="s", started_at=at(3600), ended_at=at(3601)),
        stored(session_id="t", started_at=at(20)),
        stored(session_id="v", started_at=at(3700), ended_at=at(3700)),
        stored(started_at=at(30), ended_at=at(40)),
    ]
    assert session_buckets(traces, Period(NOON, at(7200)), HOUR) == [
        SessionBucket(NOON, 2, 1.5, 3000.0, 1),
        SessionBucket(at(3600), 1, 1.0, 0.0, 1),
    ]
    assert session_buckets(traces[3:4], EVER, HOUR) == [SessionBucket(NOON, 1, 1.0, None, 0)]


@given(some_traces, periods, granularities)
def test_each_session_of_a_period_is_counted_once(traces, period, granularity):
    found = session_buckets(traces, period, granularity)
    within = [
        one for one in traces if period.includes(one.started_at) and one.session_id is not None
    ]
    assert sum(one.session_count for one in found) == len({one.session_id for one in within})
    counted = sum(one.mean_traces * one.session_count for one in found)
    assert counted == pytest.approx(len(within))


def test_user_summary_has_first_and_last_start():
    traces = [
        stored(user_id="u", started_at=at(5), status=TraceStatus.ERROR, ended_at=at(99)),
        stored(user_id="u"),
        stored(user_id=""),
        stored(),
    ]
    empty, user = user_summaries(traces)
    assert (user.id, user.trace_count, user.error_count) == ("u", 2, 1)
    assert (user.first_seen, user.last_seen) == (NOON, at(5))
    assert user.position == Position(at(5), "u")
    assert (empty.id, empty.trace_count, empty.first_seen) == ("", 1, NOON)


@given(some_traces)
def test_users_partition_their_traces(traces):
    found = user_summaries(traces)
    with_user = [one for one in traces if one.user_id is not None]
    assert {one.id for one in found} == {one.user_id for one in with_user}
    assert sum(one.trace_count for one in found) == len(with_user)
    assert all(one.first_seen <= one.last_seen for one in found)
