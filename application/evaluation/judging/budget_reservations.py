"""Reserves budget for questions: one that doesn't fit waits for other questions of its run."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from weakref import WeakValueDictionary

from application.evaluation.ports.judging import Budgets, Reservation
from domain.evaluation.runs.run import EvalRun
from domain.ids import RunId


class BudgetTakenError(Exception):
    """The budget has too little left, but other questions of the run may release a part of it."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class _RunReservations:
    """Counts the questions of a run that hold a reservation, and queues those that wait."""

    held: int = 0
    released: int = 0  # reservations, so far
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def release(self) -> None:
        self.held -= 1
        self.released += 1
        self.wake()

    def wake(self) -> None:
        """Lets the first waiting question try again. It wakes the next one after that."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn had come in the same moment
                self.wake()
            raise


class BudgetReserver:
    """Reserves budget for the questions of all runs of this process."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._runs: WeakValueDictionary[RunId, _RunReservations] = WeakValueDictionary()

    async def with_turns[T](self, run: EvalRun, question: Callable[[], Awaitable[T]]) -> T:
        """Calls the question until the budget lets it through. A call reserves at most once.

        Most questions cost less than is reserved for them. So if `reserve` finds too little left
        while other questions of the run are under way in this process, the question is called
        again once one of them has ended. It holds nothing while it waits.
        """
        ours = self._of(run)
        while True:
            try:
                answer = await question()
            except BudgetTakenError:
                await ours.wait()
            except BaseException:
                ours.wake()  # it may have been its turn
                raise
            else:
                ours.wake()
                return answer

    @asynccontextmanager
    async def reserve(
        self, run: EvalRun, usd: Decimal, now: datetime
    ) -> AsyncIterator[Reservation | None]:
        """`usd` for one question, to be settled in the block; None if the budget has less left.

        Raises BudgetTakenError if other questions of the run may release some, and Unavailable.
        """
        ours = self._of(run)
        async with ours.lock:
            reservation = await self._reserve(ours, run, usd, now)
            if reservation is not None:
                ours.held += 1
            elif ours.held:
                raise BudgetTakenError
        ours.wake()  # the next one may fit too, or must not wait either
        if reservation is None:
            yield None
            return
        try:
            yield reservation
        finally:
            ours.release()

    def __len__(self) -> int:
        return len(self._runs)

    def _of(self, run: EvalRun) -> _RunReservations:
        return self._runs.setdefault(run.id, _RunReservations())

    async def _reserve(
        self, ours: _RunReservations, run: EvalRun, usd: Decimal, now: datetime
    ) -> Reservation | None:
        while True:
            released = ours.released
            found = await self._budgets.reserve(run.project_id, run.id, run.max_cost_usd, usd, now)
            # A question that ended during this call may have released its budget too late for it.
            if found is not None or ours.released == released:
                return found
