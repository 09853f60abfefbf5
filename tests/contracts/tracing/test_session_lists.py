"""Part of the contract of Sessions: sort orders, pages and filters."""

import pytest

from domain.page import PageRequest, SortOrder
from domain.privacy.erasure import DataSubject, DataSubjectKind
from domain.tracing.session import SessionFilter, SessionSort, SessionSummary, sessions_of
from domain.tracing.span import SpanStatus
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from tests.support.builders.values import at, prices, span, trace, trace_id
from tests.support.fixtures.data_plane import (
    fill,
    project,
    read_all_pages,
    session_counts,
    sessions_page,
)
from tests.support.fixtures.erasures import an_erasure, audit_entry
from tests.support.hypothesis_scale import crossed

PRICE = prices().price


def varied() -> list[Trace]:
    """Returns traces of sessions, many of which are equal in the sort value, and some lack it."""
    return [
        trace(
            *(span(cost={"a": cost}) for cost in [0.1, 0.2][: n % 3]),
            session_id=["b", "a", "B", "é", "\U0001f43c", "\uffff", "", "c"][n % 8],
            started_at=at(n % 5),
            ended_at=None if n % 8 in {0, 3, 4} else at(n % 5 + n % 2),
            status=TraceStatus.ERROR if n % 8 == 1 else None,
            tags=("t",) if n % 3 else (),
            user_id=f"u{n % 2}",
        )
        for n in range(20)
    ]


def sort_value(sort: SessionSort, of: SessionSummary) -> object:
    match sort:
        case SessionSort.RECENT:
            return of.last_activity_at
        case SessionSort.TRACE_COUNT:
            return of.trace_count
        case SessionSort.LATENCY:
            return of.latency_us
        case SessionSort.COST:
            return of.totals.cost


SELECTIONS = [
    {}, {"has_error": False}, {"has_failed_span": True}, {"query": ""}, {"tags": ("t",)},
    {"user_id": "u1"}, {"not_tags": ("t",)},
    {"not_user_id": ("u1", "u2"), "started_after": at(1), "has_error": False},
    {"started_after": at(1), "started_before": at(4)},
    {"tags": ("t", "x"), "user_id": "u0", "started_after": at(1), "has_error": False},
]  # fmt: skip


@pytest.mark.parametrize(("sort", "order"), crossed(list(SessionSort), list(SortOrder)))
async def test_sort_breaks_ties_by_id_and_puts_missing_values_last(plane, sort, order):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    traces = [one.settled(PRICE) for one in sent]
    for conditions in SELECTIONS:
        by_position, by_offset = await read_all_pages(
            lambda window, conditions=conditions: sessions_page(
                plane, ours, sort=sort, order=order, window=window, **conditions
            ),
            3,
        )
        assert by_position == by_offset
        some = sorted(sessions_of(traces, SessionFilter(**conditions)), key=lambda one: one.id)
        with_value = [one for one in some if sort_value(sort, one) is not None]
        without = [one for one in some if sort_value(sort, one) is None]
        if order is SortOrder.DESC:
            with_value.reverse()
            without.reverse()
        with_value.sort(key=lambda one: sort_value(sort, one), reverse=order is SortOrder.DESC)
        assert by_position == with_value + without, conditions


async def test_recent_is_latest_start_or_end(plane):
    ours, removed = project(), trace(session_id="running", ended_at=at(3))
    await fill(
        plane, ours,
        removed,
        trace(session_id="running", ended_at=at(1)),
        trace(session_id="ended", ended_at=at(10)),
        trace(session_id="running", started_at=at(9)),
        trace(session_id="backwards", started_at=at(11), ended_at=at(1)),
    )  # fmt: skip
    await plane.traces.delete(ours, [removed.id])
    page = await sessions_page(plane, ours, order=SortOrder.DESC)
    assert [(one.id, one.last_activity_at) for one in page.items] == [
        ("backwards", at(11)), ("ended", at(10)), ("running", at(9))
    ]  # fmt: skip


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
        ({"started_after": at(5), "started_before": at(5)}, {}),
        ({"has_error": True}, {"Alpha": 2}),
        ({"has_error": False}, {"a%b_": 1, "": 1}),
        ({"has_error": True, "user_id": "u"}, {}),
        ({"has_error": True, "started_before": at(5)}, {}),
        ({"has_error": False, "user_id": "u"}, {"Alpha": 1, "a%b_": 1}),
        ({"not_user_id": ("u",)}, {"Alpha": 1, "": 1}),
        ({"not_tags": ("x",)}, {"Alpha": 1, "a%b_": 1, "": 1}),
        ({"not_tags": ("x", "y"), "user_id": "u"}, {}),
        ({"not_tags": ("y",), "not_user_id": ("v",)}, {"Alpha": 1, "": 1}),
        ({"query": "ALPHA"}, {"Alpha": 2}),
        ({"query": "%"}, {"a%b_": 1}),
        ({"query": "_"}, {"a%b_": 1}),
        ({"query": "\\"}, {}),
        ({"query": ""}, {"Alpha": 2, "a%b_": 1, "": 1}),
        ({"query": "a", "tags": ("z",), "user_id": "u", "has_error": False}, {"a%b_": 1}),
    ],
    ids=str,
)
async def test_filters_apply_to_traces_before_sessions_form(plane, conditions, found):
    ours = project()
    await fill(
        plane, ours,
        trace(session_id="Alpha", user_id="u", tags=("x",), ended_at=at(1)),
        trace(session_id="Alpha", user_id="v", started_at=at(10), status=TraceStatus.ERROR),
        trace(session_id="a%b_", user_id="u", started_at=at(5), tags=("y", "z")),
        trace(session_id="", started_at=at(7)),
        trace(session_id=None, user_id="u", tags=("x",)),
    )  # fmt: skip
    assert await session_counts(plane, ours, **conditions) == found


async def test_session_fails_by_a_change_that_shortens_it(plane):
    ours, one = project(), trace(session_id="s", ended_at=at(5))
    await fill(plane, ours, one)
    change = TraceChange(status=TraceStatus.ERROR, ended_at=at(3))
    await plane.traces.change(ours, one.id, change)
    assert await session_counts(plane, ours, has_error=True) == {"s": 1}
    assert await session_counts(plane, ours, has_error=False) == {}


async def test_total_of_several_conditions_is_that_of_all(plane):
    """Each of them has twice as many sessions."""
    ours = project()
    await fill(plane, ours, *(
        trace(
            span(status=SpanStatus.ERROR if n % 3 != 2 else None),
            session_id=f"{'x' if n % 3 else 'y'}{n}",
            status=TraceStatus.ERROR if n % 3 != 1 else None,
        )
        for n in range(12)
    ))  # fmt: skip
    for total, conditions in (
        (8, {"has_failed_span": True}), (4, {"has_error": True, "has_failed_span": True}),
        (4, {"has_error": True, "query": "x"}), (4, {"has_failed_span": True, "query": "x"}),
    ):  # fmt: skip
        page = await sessions_page(plane, ours, window=PageRequest(limit=1), **conditions)
        assert page.total == total, conditions


async def test_total_of_a_part_of_the_id_is_without_hidden_sessions(plane):
    ours, grace = project(), DataSubject(DataSubjectKind.USER, "grace")
    await fill(plane, ours, *(
        trace(session_id=f"{'x' if n < 8 else 'y'}{n}", user_id="ada" if n else grace.id)
        for n in range(12)
    ))  # fmt: skip
    erasure = an_erasure(ours, grace)
    await plane.privacy.erasures.begin(erasure, grace, audit_entry(erasure))
    page = await sessions_page(plane, ours, window=PageRequest(limit=1), query="x")
    assert page.total == 7


async def test_aggregates_cover_selected_traces_only(plane):
    ours = project()
    first = trace(
        span(cost={"a": 1.0}), session_id="s", user_id="u", tags=("x",), ended_at=at(1),
        status=TraceStatus.ERROR,
    )  # fmt: skip
    second = trace(
        span(cost={"a": 2.0}), span(), session_id="s", user_id="v", tags=("y",),
        started_at=at(5), ended_at=at(7),
    )  # fmt: skip
    await fill(plane, ours, first, second)
    for conditions in (
        {"user_id": "v"}, {"tags": ("y",)}, {"started_after": at(5)}, {"user_id": "v", "query": "S"}
    ):  # fmt: skip
        [found] = (await sessions_page(plane, ours, **conditions)).items
        assert found == SessionSummary.from_traces("s", [second.settled(PRICE)]), conditions


@pytest.mark.parametrize(
    ("needle", "found"),
    [("STRASSE", {"Straße"}), ("ß", {"Straße"}), ("é", {"É-1"}), ("🐼", {"🐼/1"}), ("/", {"🐼/1"})],
)
async def test_query_matches_part_of_id_ignoring_case(plane, needle, found):
    ours = project()
    await fill(plane, ours, *(trace(session_id=key) for key in ("Straße", "É-1", "🐼/1", "")))
    assert set(await session_counts(plane, ours, query=needle)) == found


async def test_first_inputs_are_of_the_first_trace_of_each_session(plane):
    ours, theirs = project(), project()
    later, first = trace_id(), trace_id()
    await fill(
        plane, ours,
        trace(id=later, session_id="s", started_at=at(5), input=b'"second"', output=b"1"),
        trace(id=first, session_id="s", started_at=at(3), input=b'"first"'),
        trace(session_id="bare", started_at=at(1)),
        trace(session_id="bare", started_at=at(2), input=b'"late"'),
        trace(session_id="other", input=b"1"),
    )  # fmt: skip
    await fill(plane, theirs, trace(session_id="s", input=b'"theirs"'))
    asked = ["s", "bare", "none", "s"]
    assert await plane.sessions.first_inputs(ours, asked) == {"s": "first", "bare": None}
    assert await plane.sessions.first_inputs(theirs, asked) == {"s": "theirs"}
    await plane.traces.change(ours, first, TraceChange(session_id="other"))
    assert await plane.sessions.first_inputs(ours, ["s", "other"]) == {"s": "second", "other": "1"}
    await plane.traces.delete(ours, [later])
    assert await plane.sessions.first_inputs(ours, ["s"]) == {}
