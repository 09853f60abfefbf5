"""Jobs that go nowhere, or are done at once: for tests, and for whoever embeds the use cases."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from application.jobs import Job


@dataclass(slots=True)
class RecordedJobs:
    """Every job that was sent, in order; `waiting` gives them away."""

    sent: list[Job] = field(default_factory=list)

    async def send(self, *jobs: Job) -> None:
        self.sent += jobs

    def waiting(self) -> list[Job]:
        """What was sent since this was last asked."""
        waiting, self.sent = self.sent, []
        return waiting

    async def done(self, do: Callable[[Job], Awaitable[object]]) -> int:
        """Has every job done, one after the other, also those that come of them; how many."""
        count = 0
        while jobs := self.waiting():
            for job in jobs:
                await do(job)
            count += len(jobs)
        return count
