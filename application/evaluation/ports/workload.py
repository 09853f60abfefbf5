"""The port of the workload: how much there is to evaluate, over all projects, for monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

COUNTED_ROWS_MAX: Final = 10_000  # of each kind; a larger number would say nothing more
# A target counts in the first band whose limit is above its age, else in the last one.
AGE_LIMITS: Final = {
    "10s": timedelta(seconds=10),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
}
OLDEST_BAND: Final = "more"
AGE_BANDS: Final = (*AGE_LIMITS, OLDEST_BAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Counts, each at most COUNTED_ROWS_MAX.

    `queued` are targets that a worker could claim, by age band, with all AGE_BANDS. `running` are
    those that workers have. Targets that wait for capacity aren't counted.
    """

    pending_runs: int
    running_runs: int
    queued: Mapping[str, int]
    running: int


def age_band(age: timedelta) -> str:
    """The band of AGE_BANDS that an age belongs to."""
    return next((name for name, limit in AGE_LIMITS.items() if age < limit), OLDEST_BAND)


class Workloads(Protocol):
    """The workload of all projects, without removed ones.

    Contract of Workloads: tests/contracts/evaluation/work_queue/test_workloads.py.
    """

    async def workload(self, now: datetime) -> Workload:
        """The workload at `now`. Raises Unavailable."""
        ...
