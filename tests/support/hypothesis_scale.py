"""How many examples a property is tried with: all of them in `make test-all`, fewer elsewhere."""

from typing import Final

from hypothesis import settings

OF_PROFILES: Final = {"quick": 10, "usual": 25, "full": 100}  # `make check`, `test`, `test-all`
FEWEST: Final = 3


def scaled(full: int) -> int:
    """How many examples of this run's profile stand for `full` of the full one."""
    return max(FEWEST, full * settings().max_examples // OF_PROFILES["full"])
