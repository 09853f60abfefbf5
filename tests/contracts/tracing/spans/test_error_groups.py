"""Groups of errors, run against every adapter. Part of the contract of Spans."""

from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import Any

import pytest

from domain.errors import Invalid
from domain.page import PageRequest, SortOrder, paginate
from domain.tracing.analytics import Period
from domain.tracing.span import Span, SpanStatus
from domain.tracing.spans.error_groups import (
    ERROR_CHARS_MAX,
    ERROR_RELEASES_MAX,
    ERROR_SAMPLES_MAX,
    FAILED_SPANS_MAX,
    ErrorFilter,
    ErrorGroup,
    ErrorSort,
    check_failed_count,
    error_groups,
)
from domain.tracing.trace import Trace
from tests.support.builders.values import at, prices, span, trace
from tests.support.fixtures.data_plane import (
    ALL,
    ALL_TIME,
    DataPlane,
    fill,
    project,
    read_all_pages,
)

LATER = Period(at(10), at(100))


def failed(at_s: float, error: str | None, **said: Any) -> Span:
    return span(status=SpanStatus.ERROR, error=error, started_at=at(at_s), **said)


def varied() -> list[Trace]:
    """Five groups; two of them began before LATER, and one of these has nothing in it."""
    return [
        trace(*(failed(n, f"timed out after {n} s") for n in range(20)), release="1.0"),
        trace(*(failed(n, f"timed out after {n} s") for n in range(20, 24)), release="1.1"),
        trace(failed(3, "only before"), failed(5, "only before", name="tool")),
        trace(failed(12, "new"), failed(12, "new"), span(error="not failed"), release="1.1"),
        trace(failed(12, None), failed(13, ""), release="1.2"),
        trace(failed(40, "x" * 5_000, name="long"), failed(41, "y 'z'"), failed(100, "after")),
        trace(failed(100, "new"), release="1.3"),
    ]


def in_domain(
    sent: list[Trace], period: Period, sort: ErrorSort = ErrorSort.LAST_SEEN,
    order: SortOrder = SortOrder.DESC, is_new: bool | None = None,
) -> list[ErrorGroup]:  # fmt: skip
    settled = [one.settled(prices().price) for one in sent]
    found = error_groups(settled, ErrorFilter(period=period, is_new=is_new))
    return list(paginate(found, sort.position, order, ALL).items)


async def page(
    plane: DataPlane, of: Any, period: Period = ALL_TIME, sort: ErrorSort = ErrorSort.LAST_SEEN,
    order: SortOrder = SortOrder.DESC, window: PageRequest = ALL, is_new: bool | None = None,
) -> Any:  # fmt: skip
    matching = ErrorFilter(period=period, is_new=is_new)
    return await plane.tracing.spans.error_groups(of, matching, sort, order, window)


@pytest.mark.parametrize("period", [ALL_TIME, LATER, Period(at(500), at(600)), Period(at(9), at())])
@pytest.mark.parametrize("is_new", [None, True, False])
async def test_groups_are_those_of_the_domain(plane, period, is_new):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    found = await page(plane, ours, period, is_new=is_new)
    assert [replace(one, samples=list(one.samples)) for one in found.items] == in_domain(
        sent, period, is_new=is_new
    )
    assert (found.total, found.end) == (len(found.items), None)


async def test_group_says_when_where_and_how_often(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    groups = {one.pattern: one for one in (await page(plane, ours, LATER)).items}
    slow, new = groups["timed out after <number> s"], groups["new"]
    assert (slow.count, slow.first_seen, slow.last_seen) == (14, at(0), at(23))
    assert (slow.is_new, slow.releases) == (False, ("1.1", "1.0"))
    assert [one.started_at for one in slow.samples] == [at(n) for n in (23, 22, 21, 20, 19)]
    assert len(slow.samples) == ERROR_SAMPLES_MAX
    assert slow.samples[0].message == "timed out after 23 s"
    assert (new.is_new, new.count, new.first_seen) == (True, 2, at(12))
    assert groups["(no message)"].count == 2
    assert "only before" not in groups
    assert "after" not in groups
    [long] = [one for one in groups.values() if one.samples[0].name == "long"]
    assert len(long.samples[0].message or "") == ERROR_CHARS_MAX


@pytest.mark.parametrize(("sort", "order"), list(product(ErrorSort, SortOrder)))
async def test_pages_follow_each_other_in_order(plane, sort, order):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    for limit in (1, 2, 200):
        by_position, by_offset = await read_all_pages(
            lambda window: page(plane, ours, LATER, sort, order, window), limit
        )
        ids = [one.id for one in in_domain(sent, LATER, sort, order)]
        assert [one.id for one in by_position] == [one.id for one in by_offset] == ids


async def test_pattern_of_a_long_traceback_is_its_last_line(plane):
    ours = project()
    lines = "".join(f'  File "a.py", line {n}\n' for n in range(1_000))
    error = f"Traceback (most recent call last):\n{lines}KeyError: 'missing'"
    await fill(plane, ours, trace(failed(1, error)))
    [group] = (await page(plane, ours)).items
    assert group.pattern == "KeyError: <text>"


async def test_releases_are_bounded(plane):
    ours = project()
    releases = [f"r{n:02}" for n in range(ERROR_RELEASES_MAX + 3)]
    await fill(plane, ours, *(trace(failed(n, "x"), release=one) for n, one in enumerate(releases)))
    [group] = (await page(plane, ours)).items
    assert group.releases == tuple(releases[:2:-1])


async def test_another_project_sees_nothing(plane):
    ours, theirs = project(), project()
    await fill(plane, ours, *varied())
    found = await page(plane, theirs)
    assert (found.items, found.total) == ([], 0)


async def test_deleted_failures_are_forgotten(plane):
    ours, sent = project(), varied()
    await fill(plane, ours, *sent)
    await plane.traces.delete(ours, [sent[0].id, sent[3].id])
    left = [one for one in sent if one not in (sent[0], sent[3])]
    found = (await page(plane, ours, LATER)).items
    assert [one.id for one in found] == [one.id for one in in_domain(left, LATER)]


def test_too_many_failures_are_refused():
    check_failed_count(FAILED_SPANS_MAX)
    with pytest.raises(Invalid) as refused:
        check_failed_count(FAILED_SPANS_MAX + 1)
    assert [error.field for error in refused.value.errors] == ["query.started_after"]


async def test_first_instants_are_in_the_period(plane):
    ours = project()
    first = datetime.min.replace(tzinfo=ALL_TIME.after.tzinfo)
    await fill(plane, ours, trace(failed(0, "x"), replace(failed(1, "x"), started_at=first)))
    [group] = (await page(plane, ours)).items
    assert (group.first_seen, group.is_new) == (first, True)
