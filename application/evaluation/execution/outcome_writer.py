"""Writes the outcomes of one target as they come: together if they can be, and faults apart."""

import asyncio
from collections.abc import Mapping

from application.evaluation.ports.runs import OnFault
from application.evaluation.ports.work_queue import Claim, WorkQueue
from application.ports import Clock
from domain.errors import Unavailable
from domain.evaluation.scores.outcome import FailCode, Failed, Outcome


class OutcomeWriter:
    """Writes outcomes by metric. Those that come during a write are written together after it."""

    def __init__(
        self, work_queue: WorkQueue, claim: Claim, clock: Clock, on_fault: OnFault
    ) -> None:
        self._work_queue = work_queue
        self._claim = claim
        self._clock = clock
        self._on_fault = on_fault
        self._lock = asyncio.Lock()
        self._waiting: dict[str, Outcome] = {}

    async def put(self, name: str, outcome: Outcome) -> None:
        """Returns once the outcome is written, by this call or another.

        Raises Unavailable to the call that was writing.
        """
        self._waiting[name] = outcome
        await asyncio.sleep(0)  # metrics that are computed at once are written together
        async with self._lock:
            if self._waiting:  # else the call that had the lock before has written it
                outcomes, self._waiting = self._waiting, {}
                await self.write(outcomes)

    async def write(self, outcomes: Mapping[str, Outcome]) -> None:
        """Writes all of them. One that can't be stored becomes FAILED `internal`.

        Raises Unavailable.
        """
        try:
            await self._work_queue.record_all(self._claim, outcomes, self._clock())
        except Unavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - an outcome that can't be stored affects no other
            if len(outcomes) > 1:
                for name, outcome in outcomes.items():
                    await self.write({name: outcome})
                return
            [name] = outcomes
            self._on_fault(self._claim.run.score_id(self._claim.target, name), fault)
            failed = Failed(FailCode.INTERNAL)
            await self._work_queue.record(self._claim, name, failed, self._clock())
