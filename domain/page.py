"""Pages of a list, addressed by offset or by the position of the last item (keyset)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200  # items; a page is built in memory
OFFSET_MAX: Final = 2**63 - 1  # bigint of PostgreSQL

type SortValue = str | int | float | Decimal | datetime | None


class SortOrder(StrEnum):
    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Position:
    """The position of an item in a list: its sort value, and its id as tie-breaker.

    Items without a `value` come last, in both sort orders.
    """

    value: SortValue
    id: UUID | str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list to read: `limit` items after the first `offset`, or after a position.

    With `counts_all`, the total of the page is exact, however long counting takes.
    """

    limit: int = LIMIT_DEFAULT
    offset: int = 0
    after: Position | None = None
    counts_all: bool = False


@dataclass(frozen=True, slots=True)
class Page[T]:
    """Some of the matches, in order, and the number of all matches.

    `end` is the position of the last item if more items follow, otherwise None. With
    `total_is_at_least`, counting all matches would cost too much: there may be more than `total`.
    """

    items: Sequence[T]
    total: int
    end: Position | None = None
    total_is_at_least: bool = False


def paginate[T](
    items: Iterable[T], place: Callable[[T], Position], order: SortOrder, window: PageRequest
) -> Page[T]:
    """The reference definition of a page, sorted by value, then id.

    Items without a value come last in both orders.
    """
    down = order is SortOrder.DESC
    placed = [(place(item), item) for item in items]
    placed.sort(key=lambda one: _comparable(one[0]), reverse=down)
    in_order = [one for one in placed if one[0].value is not None]
    in_order += [one for one in placed if one[0].value is None]
    start = window.offset
    if window.after is not None:
        start = sum(not _is_after(one[0], window.after, down=down) for one in in_order)
    cut = in_order[start : start + window.limit]
    has_more = len(in_order) > start + len(cut)
    return Page([item for _, item in cut], len(in_order), cut[-1][0] if cut and has_more else None)


def _comparable(position: Position) -> tuple[Any, ...]:
    has_value = position.value is not None
    return (has_value, position.value if has_value else 0, position.id)


def _is_after(position: Position, other: Position, *, down: bool) -> bool:
    if (position.value is None) is not (other.value is None):
        return position.value is None
    left, right = _comparable(position), _comparable(other)
    return left < right if down else left > right
