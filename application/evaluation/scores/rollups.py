"""A task of workers: scores of days that are over are counted."""

from dataclasses import dataclass

from application.batches import run_in_batches
from application.evaluation.ports.scores import ScoreRollups


@dataclass(frozen=True, slots=True)
class CountScoreDays:
    """Counts the days that are over and aren't counted, or that changed since."""

    rollups: ScoreRollups

    async def __call__(self) -> int:
        """The number of days. Raises Unavailable; earlier days stay counted."""
        return await run_in_batches(self.rollups.count_days)
