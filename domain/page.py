"""Pages of a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200  # items; a page is built in memory
OFFSET_MAX: Final = 2**63 - 1  # what the database counts with


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: `limit` items after the first `offset`."""

    limit: int = LIMIT_DEFAULT
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page[T]:
    """Some of the matches in their order, and the exact number of all of them."""

    items: Sequence[T]
    total: int
