"""Part of the contract of Traces: sort orders, pages and totals of lists."""

from dataclasses import replace
from itertools import product

import pytest

from adapters.postgres.tracing.trace_lists import TraceLists
from domain.page import PageRequest, Position, SortOrder
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import Trace, TraceStatus
from tests.support.builders.values import NOON, at, span, trace, trace_id
from tests.support.fixtures.data_plane import (
    assert_pages_are,
    fill,
    names,
    over_postgres,
    project,
    read_all_pages,
    traces_page,
)
from tests.support.hypothesis_scale import some_of

ASC, DESC = SortOrder.ASC, SortOrder.DESC

NAMES = ["b", "a", "B", "é", "\U0001f43c", "\uffff", "a", "A%", "a_", "a\\"]
STATUSES = [*TraceStatus, None]


def varied() -> list[Trace]:
    """Returns traces of which many are equal in the sort value, and some lack it."""
    return [
        trace(
            name=NAMES[n % len(NAMES)],
            status=STATUSES[n % len(STATUSES)],
            started_at=at(n % 3),
            ended_at=None if n % 4 == 0 else at(n % 3 + n % 5 - 1),
        )
        for n in range(17)
    ]


def value(sort: TraceSort, of: Trace) -> object:
    match sort:
        case TraceSort.STARTED_AT:
            return of.started_at
        case TraceSort.ENDED_AT:
            return of.ended_at
        case TraceSort.NAME:
            return of.name
        case TraceSort.LATENCY:
            no_latency = of.ended_at is None or of.ended_at < of.started_at
            return None if no_latency else of.ended_at - of.started_at
        case TraceSort.STATUS:
            return (of.status or TraceStatus.COMPLETED).value


def in_order(sent: list[Trace], sort: TraceSort, order: SortOrder) -> list[object]:
    down = order is DESC
    with_value = [one for one in sent if value(sort, one) is not None]
    without = [one for one in sent if value(sort, one) is None]
    with_value.sort(key=lambda one: (value(sort, one), one.id), reverse=down)
    without.sort(key=lambda one: one.id, reverse=down)
    return [one.id for one in with_value + without]


@pytest.mark.parametrize(("sort", "order"), list(product(TraceSort, SortOrder)))
async def test_sort_breaks_ties_by_id_and_puts_missing_values_last(plane, sort, order):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    expected = in_order(sent, sort, order)
    for limit in (1, 17) if order is SortOrder.ASC else (4, 200):
        by_position, by_offset = await read_all_pages(
            lambda window: traces_page(plane, ours, sort=sort, order=order, window=window), limit
        )
        assert [one.id for one in by_position] == [one.id for one in by_offset] == expected


@pytest.mark.parametrize(("sort", "order"), some_of(product(TraceSort, SortOrder), 3))
async def test_filtered_list_is_paged_in_order(plane, sort, order):
    ours, sent = project(), varied()
    tagged = [replace(one, tags=("t",)) if n % 2 else one for n, one in enumerate(sent)]
    await fill(plane, ours, *tagged)
    conditions = {"tags": ("t",), "started_after": at(1)}
    matches = [one for one in tagged if one.tags and one.started_at >= at(1)]
    by_position, by_offset = await read_all_pages(
        lambda window: traces_page(
            plane, ours, sort=sort, order=order, window=window, **conditions
        ),
        2,
    )
    expected = in_order(matches, sort, order)
    assert [one.id for one in by_position] == [one.id for one in by_offset] == expected


@pytest.mark.parametrize(("sort", "order"), list(product(TraceSort, SortOrder)))
async def test_cursor_continues_after_its_item_was_deleted(plane, sort, order):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    expected = in_order(sent, sort, order)
    first = await traces_page(plane, ours, sort=sort, order=order, window=PageRequest(limit=15))
    assert first.end is not None
    assert await plane.traces.delete(ours, [first.items[-1].id]) == 1
    rest = await traces_page(
        plane, ours, sort=sort, order=order, window=PageRequest(after=first.end)
    )
    assert [one.id for one in rest.items] == expected[15:]
    assert (rest.total, rest.end) == (16, None)


async def test_page_holds_part_and_total_counts_all(plane):
    ours = project()
    sent = [trace(started_at=at(n // 3)) for n in range(9)]
    await fill(plane, ours, *sent)
    by_start = [one.id for one in sorted(sent, key=lambda one: (one.started_at, one.id))]
    found = await traces_page(plane, ours, order=DESC, window=PageRequest(limit=4, offset=3))
    assert [one.id for one in found.items] == by_start[::-1][3:7]
    assert (found.total, found.end) == (9, Position(at(0), by_start[2]))
    last = await traces_page(plane, ours, window=PageRequest(limit=4, offset=5))
    assert ([one.id for one in last.items], last.end) == (by_start[5:], None)


@pytest.mark.parametrize("offset", [9, 10, 2**63 - 1])
@pytest.mark.parametrize("conditions", [{}, {"tags": ("t",)}, {"name": "ru"}])
async def test_offset_past_end_returns_total_without_items(plane, offset, conditions):
    ours = project()
    await fill(plane, ours, *(trace(tags=("t",)) for _ in range(9)))
    beyond = await traces_page(plane, ours, window=PageRequest(offset=offset), **conditions)
    assert (list(beyond.items), beyond.total, beyond.end) == ([], 9, None)


@pytest.mark.parametrize("conditions", [{}, {"session_id": "s"}, {"tags": ("t",), "model": "m"}])
async def test_project_without_traces_has_empty_page(plane, conditions):
    page = await traces_page(plane, project(), **conditions)
    assert (list(page.items), page.total, page.end) == ([], 0, None)


async def test_another_project_is_not_listed_or_counted(plane):
    ours, theirs, same = project(), project(), trace_id()
    labels = {"session_id": "s", "user_id": "u", "tags": ("t",), "metadata": b'{"k":"v"}'}
    step = span(model="m")
    await fill(plane, ours, trace(step, id=same, name="ours", **labels))
    await fill(plane, theirs, trace(step, id=same, name="theirs", **labels), trace(name="more"))
    for conditions in (
        {}, {"session_id": "s"}, {"tags": ("t",)}, {"model": "m"}, {"metadata": (("k", ("v",)),)},
    ):  # fmt: skip
        assert await names(plane, ours, **conditions) == ["ours"]
        assert (await names(plane, theirs, **conditions))[0] in {"theirs", "more"}
    assert await names(plane, ours, name="theirs") == []
    position = Position(NOON, trace_id())
    page = await traces_page(plane, ours, window=PageRequest(after=replace(position, value=at(-1))))
    assert [one.name for one in page.items] == ["ours"]


async def test_total_follows_changes(plane):
    ours = project()
    sent = [trace(tags=("t",), status=TraceStatus.RUNNING) for _ in range(5)]
    await fill(plane, ours, *sent)
    await fill(plane, ours, *sent)
    assert (await traces_page(plane, ours)).total == 5
    await plane.traces.put(ours, replace(sent[0], status=TraceStatus.ERROR))
    await plane.traces.delete(ours, [sent[1].id])
    for total, conditions in [
        (4, {}), (4, {"tags": ("t",)}), (3, {"status": TraceStatus.RUNNING}),
        (1, {"status": TraceStatus.ERROR}), (1, {"has_error": True}), (3, {"has_error": False}),
    ]:  # fmt: skip
        page = await traces_page(plane, ours, window=PageRequest(limit=1), **conditions)
        assert (page.total, page.end is None) == (total, total == 1)


@pytest.mark.service
@pytest.mark.parametrize(("sort", "order"), some_of(product(TraceSort, SortOrder), 3))
@pytest.mark.parametrize("counted", [1, 4, None])  # None: exactly as many as match
async def test_pages_are_whole_where_counting_ends_early(pool, sort, order, counted):
    ours = project()
    sent = [
        replace(
            one,
            tags=tuple(tag for tag, of in (("a", 3), ("b", 5)) if n % of),
            environment="e" if n % 4 else "f",
        )
        for n, one in enumerate(varied())
    ]
    async with over_postgres(pool) as plane:
        await fill(plane, ours, *sent)
    for conditions in (
        {"tags": ("a", "b")}, {"tags_all": ("a", "b")}, {"tags": ("a",), "environment": "e"},
    ):  # fmt: skip
        matching = TraceFilter(**conditions)
        expected = in_order([one for one in sent if matching.matches(one)], sort, order)
        assert len(expected) > 4
        most = counted or len(expected)
        lists = TraceLists(pool, sorted_max=1, counted_max=most)

        def read(window, lists=lists, matching=matching):
            return lists.summaries(ours, matching, sort, order, window)

        await assert_pages_are(read, expected, 5, most)
        if counted == 1:
            later = await read(PageRequest(limit=2, offset=3))
            assert later.total >= 5  # those that it shows, and those before them
        whole = await read(PageRequest(limit=1, counts_all=counted is not None))
        assert (whole.total, whole.total_is_at_least) == (len(expected), False)
