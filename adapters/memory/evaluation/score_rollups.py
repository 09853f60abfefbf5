"""ScoreRollups over values in memory, where analytics read the scores themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryScoreRollups:
    async def count_days(self) -> int:
        return 0
