"""How many examples a test tries: all of them in `make test-all`, fewer elsewhere."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import settings

OF_PROFILES: Final = {"quick": 5, "usual": 8, "full": 100}  # `make check`, `test`, `test-all`
# Percent of what `make test-all` tries, where one example takes long.
SHARES: Final = {"quick": 5, "usual": 6, "full": 100}
FEWEST: Final = 3


def scaled(full: int) -> int:
    """How many long examples this run's profile tries, where the full one tries `full`."""
    return max(FEWEST, full * SHARES[settings.get_current_profile_name()] // 100)


def shortened(steps: int) -> int:
    """How many steps a long history has: all of them in `make test-all`, half elsewhere."""
    return steps if settings.get_current_profile_name() == "full" else (steps + 1) // 2


def sampled[T](items: Sequence[T], size: int, turn: int, *, usually: bool = False) -> Sequence[T]:
    """`size` of the items in `make check`, others with each `turn`. Elsewhere all items.

    `usually`: in `make test` as well, so that only `make test-all` has all items.
    """
    sampling = ("quick", "usual") if usually else ("quick",)
    if settings.get_current_profile_name() not in sampling or len(items) <= size:
        return items
    return [items[(turn * size + place) % len(items)] for place in range(size)]


def some_of(cases: Iterable[Any], every: int) -> list[Any]:
    """Parameters of a test: one in `every` cases in `make test`, the others are exhaustive."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=pytest.mark.exhaustive if n % every else (),
        )
        for n, case in enumerate(cases)
    ]


def crossed[A, B](some: Sequence[A], others: Sequence[B]) -> list[tuple[A, B]]:
    """Every pair in `make test-all`.

    Elsewhere the first of `some` with each of `others`, and the rest of `some` with one each.
    """
    if settings.get_current_profile_name() == "full":
        return list(product(some, others))
    by_turns = [(one, others[turn % len(others)]) for turn, one in enumerate(some)]
    return [*((some[0], other) for other in others), *by_turns[1:]]
