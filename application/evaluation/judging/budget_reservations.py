"""Reserves budget for questions: one that doesn't fit waits for other questions of its run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from weakref import WeakValueDictionary

from application.evaluation.ports.judging import Budgets, Reservation
from domain.evaluation.runs.run import EvalRun
from domain.ids import RunId


@dataclass(slots=True, weakref_slot=True, eq=False)
class _RunReservations:
    """How many questions of a run hold a reservation, and whether one was released lately."""

    held: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    released: asyncio.Event = field(default_factory=asyncio.Event)


class BudgetReserver:
    """Reserves budget for the questions of all runs of this process."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._runs: WeakValueDictionary[RunId, _RunReservations] = WeakValueDictionary()

    @asynccontextmanager
    async def reserve(
        self, run: EvalRun, usd: Decimal, now: datetime
    ) -> AsyncIterator[Reservation | None]:
        """`usd` for one question, to be settled in the block; None if the budget has less left.

        Most questions cost less than is reserved for them. So while other questions of the run are
        under way in this process, this one waits until enough is released; one waits at a time.
        Raises Unavailable.
        """
        ours = self._runs.setdefault(run.id, _RunReservations())
        async with ours.lock:
            reservation = await self._wait_for_budget(ours, run, usd, now)
            if reservation is not None:
                ours.held += 1
        if reservation is None:
            yield None
            return
        try:
            yield reservation
        finally:
            ours.held -= 1
            ours.released.set()

    def __len__(self) -> int:
        return len(self._runs)

    async def _wait_for_budget(
        self, ours: _RunReservations, run: EvalRun, usd: Decimal, now: datetime
    ) -> Reservation | None:
        while True:
            ours.released.clear()
            found = await self._budgets.reserve(run.project_id, run.id, run.max_cost_usd, usd, now)
            # A question that ended during this call may have released its budget too late for it.
            if found is not None or not (ours.held or ours.released.is_set()):
                return found
            await ours.released.wait()
