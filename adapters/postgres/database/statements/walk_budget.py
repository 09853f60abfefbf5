"""What a request may compare that looks for matches in steps, with a statement for each."""

import time
from dataclasses import dataclass, field
from typing import Final

COMPARING_MAX_S: Final = 4.0  # of one request: well below READ_TIMEOUT_S
STEP_GROWTH: Final = 4  # from one step to the next, while too few matches were found


@dataclass(slots=True)
class WalkBudget:
    """A request compares at most `rows`, for at most `seconds`; `compared` is how many it did."""

    rows: int
    seconds: float = COMPARING_MAX_S
    compared: int = 0
    _begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        """How many rows it may still compare."""
        return self.rows - self.compared

    @property
    def is_spent(self) -> bool:
        return self.left <= 0 or time.monotonic() - self._begun >= self.seconds
