"""Writing down what the metrics of a target come to, as it comes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from domain.evaluation.scores.outcome import Outcome

type Write = Callable[[Mapping[str, Outcome]], Awaitable[None]]


class Recording:
    """Outcomes by metric: those that come while others are being written go together."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._turn = asyncio.Lock()
        self._waiting: dict[str, Outcome] = {}

    async def put(self, name: str, outcome: Outcome) -> None:
        """Returns once it is written, by whomever; who wrote it raises what `write` does."""
        self._waiting[name] = outcome
        async with self._turn:
            if self._waiting:  # else who had the turn before took it along
                some, self._waiting = self._waiting, {}
                await self._write(some)
