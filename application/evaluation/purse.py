"""Money for questions: who finds too little of it waits for what others of the run give back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from weakref import WeakValueDictionary

from application.evaluation.judging import Budgets, Reservation
from domain.evaluation.runs.run import EvalRun
from domain.ids import RunId


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Run:
    """How many questions of it have money set aside, and whether one has ended lately."""

    held: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    given_back: asyncio.Event = field(default_factory=asyncio.Event)


class Purse:
    """Sets aside what questions may take, for all runs of this process."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._runs: WeakValueDictionary[RunId, _Run] = WeakValueDictionary()

    @asynccontextmanager
    async def opened(
        self, run: EvalRun, usd: Decimal, now: datetime
    ) -> AsyncIterator[Reservation | None]:
        """`usd` for one question, to be settled in the block; None where there isn't as much.

        Questions mostly take less than is set aside for them: while others of the run are under
        way here, one after the other waits until there is enough. Raises Unavailable.
        """
        ours = self._runs.setdefault(run.id, _Run())
        async with ours.turn:
            reserved = await self._reserved(ours, run, usd, now)
            if reserved is not None:
                ours.held += 1
        if reserved is None:
            yield None
            return
        try:
            yield reserved
        finally:
            ours.held -= 1
            ours.given_back.set()

    def __len__(self) -> int:
        return len(self._runs)

    async def _reserved(
        self, ours: _Run, run: EvalRun, usd: Decimal, now: datetime
    ) -> Reservation | None:
        while True:
            ours.given_back.clear()
            found = await self._budgets.reserve(run.project_id, run.id, run.max_cost_usd, usd, now)
            # One that ended meanwhile may have given back too late for it.
            if found is not None or not (ours.held or ours.given_back.is_set()):
                return found
            await ours.given_back.wait()
