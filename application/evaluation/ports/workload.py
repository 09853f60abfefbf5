"""How much there is to evaluate, over all projects: for whoever watches the installation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

COUNTED_MAX: Final = 10_000  # rows of each kind; nobody needs to know how many more there are
# A target counts in the first band that its age is below; in the last one else.
AGES: Final = {
    "10s": timedelta(seconds=10),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
}
OLDER: Final = "more"
BANDS: Final = (*AGES, OLDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Each number at most COUNTED_MAX.

    `queued` are targets that a worker could begin, by the band of their age; all BANDS are there.
    `running` are those that workers have. Those whose turn hasn't come aren't counted.
    """

    pending_runs: int
    running_runs: int
    queued: Mapping[str, int]
    running: int


def band_of(age: timedelta) -> str:
    """Which of BANDS."""
    return next((name for name, below in AGES.items() if age < below), OLDER)


class Workloads(Protocol):
    """The workload of all projects but those that were removed.

    Contract of Workloads: tests/contracts/evaluation/work_queue/test_workloads.py.
    """

    async def workload(self, now: datetime) -> Workload:
        """What there is to do at `now`. Raises Unavailable."""
        ...
