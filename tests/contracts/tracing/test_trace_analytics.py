"""Contract of TraceAnalytics, run against every adapter."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.postgres.tracing.analytics import PostgresTraceAnalytics
from domain.ids import TraceId
from domain.page import PageRequest, SortOrder, paginate
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
    user_summaries,
)
from domain.tracing.span import SpanChange
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from domain.tracing.usage import UsageRole
from tests.support.builders.values import NOON, at, prices, span, trace, trace_id
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    assert_analytics_match,
    assert_summaries_match,
    fill,
    over_postgres,
    project,
    read_all_pages,
)

HOUR, DAY, WEEK = Granularity
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
USAGE = b'{"prompt_tokens":3,"completion_tokens":4}'


# --- traces ----------------------------------------------------------------------------------


async def test_volume_counts_traces_by_start_without_empty_buckets(plane):
    ours = project()
    await fill(
        plane, ours,
        trace(started_at=at(7200), ended_at=at(7201)),
        trace(span(started_at=at(9999)), status=TraceStatus.ERROR),
        trace(ended_at=at(0.1)),
        trace(ended_at=at(0.2)),
        trace(started_at=at(-0.000001), status=TraceStatus.ERROR),
        trace(started_at=at(3600 * 24)),
    )  # fmt: skip
    period = Period(NOON, at(3600 * 24))
    assert await plane.analytics.volume(ours, period, HOUR) == [
        TraceBucket(NOON, 3, 1, Latencies(2, 150.0, 150.0, 190.0, 199.0)),
        TraceBucket(at(7200), 1, 0, Latencies(1, 1000.0, 1000.0, 1000.0, 1000.0)),
    ]
    assert await plane.analytics.volume(ours, Period(at(1), at(2)), HOUR) == []


async def test_bucket_without_ended_traces_has_no_latencies(plane):
    ours = project()
    await fill(plane, ours, trace(), trace(status=TraceStatus.ERROR))
    assert await plane.analytics.volume(ours, ALL_TIME, DAY) == [
        TraceBucket(NOON.replace(hour=0), 2, 1, None)
    ]


async def test_weeks_start_on_monday_utc(plane):
    ours = project()
    instants = [MONDAY - timedelta(microseconds=1), MONDAY, MONDAY + timedelta(days=7)]
    await fill(plane, ours, *(trace(started_at=instant) for instant in instants))
    weeks = await plane.analytics.volume(ours, ALL_TIME, WEEK)
    assert [one.bucket for one in weeks] == [MONDAY + timedelta(days=days) for days in (-7, 0, 7)]
    days = await plane.analytics.volume(ours, ALL_TIME, DAY)
    assert [one.bucket for one in days] == [MONDAY + timedelta(days=days) for days in (-1, 0, 7)]


async def test_usage_that_another_span_reports_is_left_out_of_parts_of_hours_too(plane):
    ours, used = project(), {"model": "gpt-4o", "token_usage": USAGE}
    await fill(plane, ours, trace(span(**used), span(**used, usage_role=UsageRole.DUPLICATE)))
    traces = await assert_summaries_match(plane, ours)
    for period in (Period(at(-1), at(1)), ALL_TIME):
        await assert_analytics_match(plane, ours, period, traces)


async def test_first_and_last_year_have_buckets(plane):
    ours = project()
    first, last = ALL_TIME.after, ALL_TIME.before
    await fill(plane, ours, *(
        trace(span(started_at=when, model="m"), started_at=when, session_id="s", user_id="u")
        for when in (first, first + timedelta(hours=1), last, last - timedelta(microseconds=1))
    ))  # fmt: skip
    traces = await assert_summaries_match(plane, ours)
    assert len(traces) == 4
    await assert_analytics_match(plane, ours, Period(first + timedelta(minutes=1), last), traces)
    [user] = (await plane.analytics.users(ours, ALL)).items
    assert (user.first_seen, user.last_seen) == (first, last)


@pytest.mark.parametrize("microseconds", [[1], [1100, 1101], [0, 3, 10**17], [-5, 0, 7, 7, 9, 10]])
async def test_percentiles_are_interpolated(plane, microseconds):
    ours = project()
    await fill(plane, ours, *(
        trace(ended_at=NOON + timedelta(microseconds=us)) for us in microseconds
    ))  # fmt: skip
    [found] = await plane.analytics.volume(ours, ALL_TIME, HOUR)
    expected = Latencies.from_microseconds([us for us in microseconds if us >= 0])
    assert found.latencies == expected
    [found] = await plane.analytics.volume(ours, Period(NOON, at(1)), WEEK)
    assert found.latencies == expected


# --- spans -----------------------------------------------------------------------------------


async def test_usage_counts_spans_by_their_own_start(plane):
    ours = project()
    await fill(
        plane, ours,
        trace(
            span(started_at=at(3600), token_usage=USAGE, cost={"total": 0.1}),
            span(token_usage=USAGE),
            started_at=at(-9999),
        ),
        trace(span(started_at=at(3601), cost={"total": 0.2}), span(started_at=at(7200))),
    )  # fmt: skip
    assert await plane.analytics.usage(ours, Period(NOON, at(7200)), HOUR) == [
        UsageBucket(NOON, 3, 4, Decimal(0), unpriced=1),
        UsageBucket(at(3600), 3, 4, Decimal("0.3"), priced=2),
    ]


async def test_changed_spans_are_counted_where_they_are_now(plane):
    ours = project()
    step = span(model="gpt-4o", token_usage=USAGE)
    sent = trace(step, span(model="tiny"), session_id="s")
    await fill(plane, ours, sent)
    steps = [
        plane.traces.put(ours, trace(replace(step, started_at=at(7200)), id=sent.id)),
        plane.traces.put(ours, trace(replace(step, model="tiny", started_at=at(7300)), id=sent.id)),
        plane.traces.add_spans(ours, sent.id, [replace(step, cost={"a": 1.0}), span(model="")]),
        plane.traces.change_span(ours, sent.id, step.id, SpanChange(model=None)),
        plane.traces.change_span(ours, sent.id, step.id, SpanChange(token_usage=None, cost=None)),
        plane.traces.change_span(ours, sent.id, step.id, SpanChange(model="")),
        plane.traces.put(ours, replace(sent, started_at=at(-3600), spans=())),
        plane.traces.change(ours, sent.id, TraceChange(ended_at=at(-3500), session_id="t")),
        plane.traces.change(ours, sent.id, TraceChange(status=TraceStatus.ERROR)),
        plane.traces.delete(ours, [sent.id]),
    ]
    for change in steps:
        await change
        traces = await assert_summaries_match(plane, ours)
        await assert_analytics_match(plane, ours, Period(at(-1800), at(7250)), traces)
    assert await plane.analytics.usage(ours, ALL_TIME, WEEK) == []


async def test_models_are_ranked_by_calls_then_name_and_limited(plane):
    ours = project()
    ties = [f"m{n:02}" for n in range(MODELS_MAX)] + ["B", "é", ""]
    calls = [*ties, "z", "z", "z", "m05", "B"]
    await fill(plane, ours, *(trace(span(model=model), span()) for model in reversed(calls)))
    await fill(plane, ours, trace(span(model="late", started_at=at(1))))
    found = await plane.analytics.models(ours, Period(NOON, at(1)))
    assert [(one.model, one.calls) for one in found] == [
        *(("z", 3), ("B", 2), ("m05", 2)),
        *((model, 1) for model in sorted(ties) if model not in {"B", "m05"}),
    ][:MODELS_MAX]
    assert found == await plane.analytics.models(ours, Period(NOON - timedelta(hours=7), at(1)))


async def test_model_name_is_reported_as_sent_and_none_left_out(plane):
    ours = project()
    usage = b'{"prompt_tokens":1000000}'
    await fill(
        plane, ours,
        trace(span(model="gpt-4o", token_usage=usage), span(model="openai/gpt-4o")),
        trace(span(model="gpt-4o", cost={"a": 0.25}), span(model=""), span(cost={"a": 1.0})),
    )  # fmt: skip
    assert await plane.analytics.models(ours, ALL_TIME) == [
        ModelUsage("gpt-4o", 2, 1_000_000, Decimal("2.75")),
        ModelUsage("", 1, 0, Decimal(0)),
        ModelUsage("openai/gpt-4o", 1, 0, Decimal(0)),
    ]


# --- sessions and users ----------------------------------------------------------------------


async def test_session_counts_in_bucket_of_its_first_trace_in_period(plane):
    ours = project()
    await fill(
        plane, ours,
        trace(session_id="s", started_at=at(-3600), ended_at=at(0)),
        trace(session_id="s", started_at=at(10), ended_at=at(12)),
        trace(session_id="s", started_at=at(3600), ended_at=at(3601)),
        trace(session_id="t", started_at=at(20)),
        trace(session_id="", started_at=at(3700), ended_at=at(3700)),
        trace(started_at=at(30), ended_at=at(40)),
    )  # fmt: skip
    assert await plane.analytics.sessions(ours, Period(NOON, at(7200)), HOUR) == [
        SessionBucket(NOON, 2, 1.5, 3000.0, 1),
        SessionBucket(at(3600), 1, 1.0, 0.0, 1),
    ]
    assert await plane.analytics.sessions(ours, Period(at(20), at(21)), HOUR) == [
        SessionBucket(NOON, 1, 1.0, None, 0)
    ]


async def test_sessions_are_summed_up_by_their_traces_within_a_period(plane):
    """Some lie within one hour, some reach into the next one, some go on for a day."""
    ours, hour = project(), 3600
    lengths, bounds = (None, 0, 1, hour, 5 * hour, 24 * hour), list[tuple[int, int | None]]()
    for first in (-5 * hour, -hour - 1, -600, 0, 600, hour - 1, 2 * hour, 3 * hour - 1):
        bounds += [(first, length) for length in lengths]
    sent = dict[TraceId, Trace]()
    for number, (first, length) in enumerate(bounds):
        starts = [first] if length is None else [first, first + length / 2, first + length]
        for start in starts:
            ended = None if number % 5 == 0 else at(start + number)
            one = trace(session_id=f"s{number}", started_at=at(start), ended_at=ended)
            sent[one.id] = one
    await fill(plane, ours, *sent.values())
    moved, gone = list(sent)[7:20:3], list(sent)[30:60:4]
    for id_ in moved:
        await plane.traces.change(ours, id_, TraceChange(session_id="s40"))
        sent[id_] = replace(sent[id_], session_id="s40")
    await plane.traces.delete(ours, gone)
    kept = [one.settled(prices().price) for id_, one in sent.items() if id_ not in gone]
    for begin, end in (
        *((-600, 600), (0, hour), (0, 3 * hour), (-1, 3 * hour + 1), (600, 601), (hour, hour)),
        *((-hour, 2 * hour), (-2 * hour, 30 * hour), (600, 3000), (hour - 1, 3 * hour - 1)),
        (-9 * hour, 40 * hour),
    ):
        period = Period(at(begin), at(end))
        for by in Granularity:
            found = await plane.analytics.sessions(ours, period, by)
            assert found == session_buckets(kept, period, by)


@pytest.mark.service
async def test_users_are_counted_up_to_a_limit(pool):
    ours = project()
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *(trace(user_id=user) for user in "abc"))

    async def total(most: int, limit: int) -> tuple[int, bool]:
        analytics = PostgresTraceAnalytics(pool, counted_users=most)
        page = await analytics.users(ours, PageRequest(limit=limit))
        return page.total, page.total_is_at_least

    assert [await total(3, 1), await total(1, 3)] == [(3, False), (3, True)]


async def test_users_are_newest_first_then_by_id_descending(plane):
    ours = project()
    users = ["a", "b", "B", "", "é", "🐼", "\uffff"]
    sent = [trace(user_id=user, started_at=at(n % 2)) for n, user in enumerate(users)]
    more = [trace(user_id="a", started_at=at(-5), status=TraceStatus.ERROR), trace()]
    await fill(plane, ours, *sent, *more)
    found = user_summaries([one.settled(prices().price) for one in (*sent, *more)])
    expected = paginate(found, lambda one: one.position, SortOrder.DESC, ALL)
    assert await plane.analytics.users(ours, ALL) == expected
    by_position, by_offset = await read_all_pages(
        lambda window: plane.analytics.users(ours, window), 2
    )
    assert by_position == by_offset == expected.items
    beyond = await plane.analytics.users(ours, PageRequest(offset=2**63 - 1))
    assert (list(beyond.items), beyond.total, beyond.end) == ([], 7, None)
    assert [one.id for one in expected.items] == ["🐼", "b", "", "\uffff", "é", "a", "B"]
    assert next(one for one in expected.items if one.id == "a").error_count == 1


async def test_user_summary_follows_its_traces(plane):
    ours, same = project(), trace_id()
    await fill(plane, ours, trace(id=same, user_id="u"), trace(user_id="u", started_at=at(9)))
    steps = [
        plane.traces.put(ours, trace(id=same, user_id="v", status=TraceStatus.ERROR)),
        plane.traces.change(ours, same, TraceChange(user_id="u", status=TraceStatus.RUNNING)),
        plane.traces.change(ours, same, TraceChange(status=TraceStatus.ERROR)),
        plane.traces.put(ours, trace(id=same, started_at=at(20))),
        plane.traces.put(ours, trace(id=same, started_at=at(-20))),
        plane.traces.change(ours, same, TraceChange(user_id=None)),
        plane.traces.change(ours, same, TraceChange(user_id="")),
        plane.traces.delete(ours, [same]),
    ]
    for step in steps:
        await step
        await assert_summaries_match(plane, ours)
    [user] = (await plane.analytics.users(ours, ALL)).items
    assert (user.id, user.trace_count, user.first_seen) == ("u", 1, at(9))


async def test_sums_beyond_64_bits_are_exact(plane):
    ours, amount = project(), {"a": 1.7e308}
    usage = b'{"prompt_tokens":9007199254740991}'
    steps = [span(token_usage=usage, model="m", cost=amount) for _ in range(1100)]
    await fill(plane, ours, trace(*steps))
    [found] = await plane.analytics.usage(ours, ALL_TIME, HOUR)
    assert (found.prompt_tokens, found.cost) == (1100 * (2**53 - 1), Decimal("1.7e308") * 1100)
    [model] = await plane.analytics.models(ours, ALL_TIME)
    assert (model.tokens, model.cost) == (found.tokens, found.cost)


async def test_costs_stay_exact_after_adding_and_removing(plane):
    ours, wide = project(), {"a": 1e30, "b": 1e-9}
    gone, kept = trace(span(cost=wide, model="m")), trace(span(cost={"a": 0.1}, model="m"))
    changed = trace(span(cost=wide), session_id="s")
    await fill(plane, ours, gone, kept, changed)
    await assert_summaries_match(plane, ours)
    step = SpanChange(cost={"a": 1e30, "b": 2e-9})
    await plane.traces.change_span(ours, changed.id, changed.spans[0].id, step)
    await assert_summaries_match(plane, ours)
    await plane.traces.delete(ours, [gone.id])
    await plane.traces.change_span(ours, changed.id, changed.spans[0].id, SpanChange(cost=None))
    await assert_summaries_match(plane, ours)
    [found] = await plane.analytics.usage(ours, ALL_TIME, WEEK)
    assert found.cost == Decimal("0.1")
