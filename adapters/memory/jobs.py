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

    `dropped` counts jobs that found WAITING_MAX others in their queue.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._lanes: dict[JobQueue, asyncio.Queue[Job]] = {
            lane: asyncio.Queue(WAITING_MAX) for lane in JobQueue
        }

    async def send(self, *jobs: Job) -> None:
        for job in jobs:
            try:
                self._lanes[queue_of(job)].put_nowait(job)
            except asyncio.QueueFull:
                self.dropped += 1

    def waiting(self) -> list[Job]:
        """Removes and returns the jobs that have not started, in the order of each queue."""
        return [lane.get_nowait() for lane in self._lanes.values() for _ in range(lane.qsize())]

    async def work(
        self, hands: Mapping[JobQueue, int], do: Callable[[Job], Awaitable[None]]
    ) -> None:
        """Runs jobs until it is cancelled, a fixed number of each queue at a time.

        `do` must not raise.
        """
        async with asyncio.TaskGroup() as group:
            for lane, count in hands.items():
                for _ in range(count):
                    group.create_task(self._drain(self._lanes[lane], do))

    @staticmethod
    async def _drain(lane: asyncio.Queue[Job], do: Callable[[Job], Awaitable[None]]) -> None:
        while True:
            await do(await lane.get())
