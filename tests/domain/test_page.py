"""Pages of a list: order, bounds, and keyset iteration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.page import Page, PageRequest, Position, SortOrder, paginate
from tests.support.builders import strategies

ASC, DESC = SortOrder.ASC, SortOrder.DESC


@dataclass(frozen=True)
class Item:
    value: Any
    id: str

    @property
    def position(self) -> Position:
        return Position(self.value, self.id)


def items(*pairs: tuple[Any, str]) -> list[Item]:
    return [Item(value, key) for value, key in pairs]


def page(some: Iterable[Item], order: SortOrder = ASC, **window: Any) -> Page[Item]:
    return paginate(some, lambda one: one.position, order, PageRequest(**window))


def ids(found: Page[Item]) -> str:
    return "".join(one.id for one in found.items)


def walked(some: Sequence[Item], order: SortOrder, limit: int) -> list[Item]:
    """All items, page by page, each page after the end of the previous one."""
    found, after = [], None
    for _ in range(len(some) + 1):
        part = page(some, order, limit=limit, after=after)
        assert len(part.items) <= limit
        assert part.total == len(some)
        found += part.items
        if (after := part.end) is None:
            return found
        assert after == part.items[-1].position
    raise AssertionError("the walk doesn't end")


MIXED = items((2, "a"), (None, "b"), (1, "d"), (1, "c"), (None, "e"), (3, "f"))


@pytest.mark.parametrize(("order", "found"), [(ASC, "cdafbe"), (DESC, "fadceb")])
def test_ties_are_sorted_by_id_and_missing_values_last(order, found):
    assert ids(page(MIXED, order)) == found
    assert ids(page(reversed(MIXED), order)) == found


@pytest.mark.parametrize(
    ("window", "found", "has_more"),
    [
        ({"limit": 2}, "cd", True),
        ({"limit": 2, "offset": 3}, "fb", True),
        ({"limit": 2, "offset": 4}, "be", False),
        ({"limit": 6}, "cdafbe", False),
        ({"limit": 5}, "cdafb", True),
        ({"limit": 200}, "cdafbe", False),
        ({"limit": 2, "offset": 6}, "", False),
        ({"limit": 2, "offset": 2**63 - 1}, "", False),
    ],
)
def test_page_has_an_end_only_if_more_follow(window, found, has_more):
    part = page(MIXED, **window)
    assert (ids(part), part.total) == (found, 6)
    assert part.end == (part.items[-1].position if has_more else None)


@pytest.mark.parametrize(
    ("after", "order", "found"),
    [
        (Position(1, "c"), ASC, "dafbe"),
        (Position(1, "c"), DESC, "eb"),
        (Position(1, "cc"), ASC, "dafbe"),
        (Position(2.5, "x"), ASC, "fbe"),
        (Position(2.5, "x"), DESC, "adceb"),
        (Position(99, "x"), ASC, "be"),
        (Position(99, "x"), DESC, "fadceb"),
        (Position(None, "b"), ASC, "e"),
        (Position(None, "b"), DESC, ""),
        (Position(None, "c"), DESC, "b"),
        (Position(None, "e"), ASC, ""),
    ],
)
def test_position_of_a_deleted_item_is_valid(after, order, found):
    assert ids(page(MIXED, order, after=after)) == found


def test_empty_list_gives_an_empty_page():
    assert page([]) == Page([], 0, None)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (
            ["b", "a", "B", "é", "", "\U0001f43c", "\uffff"],
            ["", "B", "a", "b", "é", "\uffff", "🐼"],
        ),
        (
            [Decimal("0.1"), Decimal("0.10000000000000000000000000000001"), Decimal(0)],
            [Decimal(0), Decimal("0.1"), Decimal("0.10000000000000000000000000000001")],
        ),
    ],
    ids=["text by code point", "money to the last digit"],
)
def test_values_are_compared_as_they_are(values, found):
    some = [Item(value, str(n)) for n, value in enumerate(values)]
    assert [one.value for one in page(some).items] == found
    assert [one.value for one in page(some, DESC).items] == found[::-1]


values = st.one_of(
    st.lists(strategies.maybe(st.integers(0, 3))),
    st.lists(strategies.maybe(strategies.instants)),
    st.lists(strategies.maybe(strategies.texts)),
    st.lists(st.none()),
)
orders = st.sampled_from(SortOrder)


@given(values, orders, st.integers(1, 5))
def test_keyset_pages_equal_offset_pages(some, order, limit):
    some = [Item(value, f"{n % 7}-{n}") for n, value in enumerate(some)]
    by_offset = [
        one
        for offset in range(0, len(some), limit)
        for one in page(some, order, limit=limit, offset=offset).items
    ]
    assert walked(some, order, limit) == by_offset
    assert sorted(by_offset, key=lambda one: one.id) == sorted(some, key=lambda one: one.id)


@given(values, orders)
def test_items_are_strictly_ascending(some, order):
    some = [Item(value, str(n)) for n, value in enumerate(some)]
    found = page(some, order, limit=len(some) + 1).items
    for one, next_one in pairwise(found):
        if one.value is None or next_one.value is None:
            assert next_one.value is None
        else:
            low, high = (one, next_one) if order is ASC else (next_one, one)
            assert (low.value, low.id) < (high.value, high.id)


@given(values, orders, st.integers(0, 6))
def test_paging_continues_after_a_deleted_item(some, order, at):
    some = [Item(value, str(n)) for n, value in enumerate(some)]
    whole = list(page(some, order, limit=len(some) + 1).items)
    if at < len(whole):
        gone = whole[at]
        rest = [one for one in some if one is not gone]
        assert list(page(rest, order, after=gone.position, limit=99).items) == whole[at + 1 :][:99]
