"""Getting work to the workers: planning a run, and finding what was told in vain."""

from dataclasses import dataclass
from typing import Final

from application.evaluation.ports.work_queue import PLANNED_TARGETS_BATCH, WorkQueue
from application.jobs import Jobs
from application.ports import Clock
from domain.evaluation.runs.run import TARGETS_MAX
from domain.ids import ProjectId, RunId

BATCHES_MAX: Final = -(-TARGETS_MAX // PLANNED_TARGETS_BATCH)  # of one run


@dataclass(frozen=True, slots=True)
class PlanRun:
    """Writes the PENDING scores of a run batch by batch, and tells of its first targets."""

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId) -> None:
        """Safe to repeat, and to stop halfway. Raises Unavailable."""
        for _ in range(BATCHES_MAX):
            if not await self.work_queue.plan(project, run, self.clock()):
                break
        await self.jobs.send(*await self.work_queue.dispatch(project, self.clock()))


@dataclass(frozen=True, slots=True)
class RequeueOverdue:
    """Tells once more of what nobody has taken up, or was left by somebody who went away."""

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self) -> int:
        """How many jobs that were. Raises Unavailable."""
        jobs = await self.work_queue.requeue_overdue(self.clock())
        await self.jobs.send(*jobs)
        return len(jobs)
