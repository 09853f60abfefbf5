"""Closes targets; those that end while others of their project are closed are closed together."""

import asyncio
from dataclasses import dataclass, field

from application.evaluation.ports.work_queue import Claim, WorkQueue
from application.jobs import Jobs
from application.ports import Clock
from domain.errors import Unavailable
from domain.ids import ProjectId


@dataclass(slots=True)
class _Closing:
    """A target to close, and how that ended. The call that waits for it raises `error`."""

    claim: Claim
    is_over: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class _ProjectQueue:
    """Waiting calls of one project. The call that has the lock closes the targets of all."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Closing] = field(default_factory=list)
    calls: int = 0


class TargetCloser:
    """Closes claimed targets, and announces the jobs that follow.

    Closing locks the run and chooses the next targets of the project, so that the targets of one
    project are closed one after the other. Those of a batch share these steps, and its COMMIT.
    """

    def __init__(self, work_queue: WorkQueue, jobs: Jobs, clock: Clock) -> None:
        self._work_queue = work_queue
        self._jobs = jobs
        self._clock = clock
        self._queues: dict[ProjectId, _ProjectQueue] = {}

    async def close(self, claim: Claim) -> None:
        """Returns once the target is closed, by this call or another. Raises Unavailable."""
        project, ours = claim.run.project_id, _Closing(claim)
        queue = self._queues.setdefault(project, _ProjectQueue())
        queue.waiting.append(ours)
        queue.calls += 1
        try:
            async with queue.lock:
                if not ours.is_over:
                    await self._close_waiting(queue)
        finally:
            # A cancelled call takes its target back, and the lease of it expires.
            queue.waiting = [one for one in queue.waiting if one is not ours]
            queue.calls -= 1
            if not queue.calls:
                del self._queues[project]
        if ours.error is not None:
            raise ours.error

    async def _close_waiting(self, queue: _ProjectQueue) -> None:
        batch, queue.waiting = queue.waiting, []
        try:
            await self._close_all(batch)
        finally:
            # Left over if this call was cancelled: the next one closes them.
            queue.waiting[:0] = [one for one in batch if not one.is_over]

    async def _close_all(self, batch: list[_Closing]) -> None:
        """One that can't be closed affects no other, unless the database is unavailable."""
        error: Exception | None = None
        try:
            claims = [one.claim for one in batch]
            await self._jobs.send(*await self._work_queue.close(claims, self._clock()))
        except Exception as failure:  # noqa: BLE001 - the calls that wait raise it
            if len(batch) > 1 and not isinstance(failure, Unavailable):
                for one in batch:
                    await self._close_all([one])
                return
            error = failure
        for one in batch:
            one.is_over, one.error = True, error
