"""Jobs that leave this process for nowhere: written down, or done by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from application.jobs import Job, JobQueue, queue_of

WAITING_MAX: Final = 1_000  # of each lane; what goes beyond is found again in the database


@dataclass(slots=True)
class RecordedJobs:
    """Every job that was sent, in order; `done` has them done."""

    sent: list[Job] = field(default_factory=list)

    async def send(self, *jobs: Job) -> None:
        self.sent += jobs

    async def done(self, do: Callable[[Job], Awaitable[object]]) -> int:
        """Has every job done, one after the other, also those that come of them; how many."""
        count = 0
        while self.sent:
            jobs, self.sent = self.sent, []
            for job in jobs:
                await do(job)
            count += len(jobs)
        return count


class OwnJobs:
    """Jobs that this process does itself, for while nobody else can be told.

    `dropped` counts those that found WAITING_MAX in their lane before them.
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
        """What was sent and not begun, in the order of each lane; it is taken away."""
        return [lane.get_nowait() for lane in self._lanes.values() for _ in range(lane.qsize())]

    async def work(
        self, hands: Mapping[JobQueue, int], do: Callable[[Job], Awaitable[None]]
    ) -> None:
        """Has jobs done, so many of a lane at once, until it is cancelled. `do` doesn't raise."""
        async with asyncio.TaskGroup() as group:
            for lane, count in hands.items():
                for _ in range(count):
                    group.create_task(self._drain(self._lanes[lane], do))

    @staticmethod
    async def _drain(lane: asyncio.Queue[Job], do: Callable[[Job], Awaitable[None]]) -> None:
        while True:
            await do(await lane.get())
