"""Job queues in memory: recorded for tests, or run by this process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from application.jobs import Job, JobQueue, queue_of

WAITING_MAX: Final = 1_000  # of each queue; the database re-announces further jobs later


@dataclass(slots=True)
class RecordedJobs:
    """All jobs that were sent, in order; `done` runs them."""

    sent: list[Job] = field(default_factory=list)

    async def send(self, *jobs: Job) -> None:
        self.sent += jobs

    async def done(self, do: Callable[[Job], Awaitable[object]]) -> int:
        """Runs every job, one after the other, and the jobs that they send; returns how many."""
        count = 0
        while self.sent:
            jobs, self.sent = self.sent, []
            for job in jobs:
                await do(job)
            count += len(jobs)
        return count


class OwnJobs:
    """Jobs that this process runs itself while no broker is available.

    `dropped` counts jobs that found WAITING_MAX others in their queue, or came after the stop.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._is_stopping = False
        self._hands: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()
        self._lanes: dict[JobQueue, asyncio.Queue[Job]] = {
            lane: asyncio.Queue(WAITING_MAX) for lane in JobQueue
        }

    async def send(self, *jobs: Job) -> None:
        for job in jobs:
            lane = self._lanes[queue_of(job)]
            if self._is_stopping or lane.full():
                self.dropped += 1
            else:
                lane.put_nowait(job)

    def waiting(self) -> list[Job]:
        """Removes and returns the jobs that have not started, in the order of each queue."""
        return [lane.get_nowait() for lane in self._lanes.values() for _ in range(lane.qsize())]

    async def work(
        self, hands: Mapping[JobQueue, int], do: Callable[[Job], Awaitable[None]]
    ) -> None:
        """Runs jobs until `stop`, a fixed number of each queue at a time. `do` must not raise."""
        if self._is_stopping:
            return
        async with asyncio.TaskGroup() as group:
            self._hands = {
                group.create_task(self._drain(self._lanes[lane], do))
                for lane, count in hands.items()
                for _ in range(count)
            }

    async def stop(self, within_s: float) -> None:
        """Starts no more jobs, and cancels those that aren't done `within_s`."""
        self._is_stopping = True
        self.waiting()  # the database announces them to another process
        for hand in self._idle:
            hand.cancel()
        if self._hands:
            _, running = await asyncio.wait(self._hands, timeout=within_s)
            for hand in running:
                hand.cancel()

    async def _drain(self, lane: asyncio.Queue[Job], do: Callable[[Job], Awaitable[None]]) -> None:
        this = asyncio.current_task()
        assert this is not None
        while not self._is_stopping:
            self._idle.add(this)
            job = await lane.get()
            self._idle.discard(this)
            await do(job)
