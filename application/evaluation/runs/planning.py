"""Plans runs, and announces overdue work again."""

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
    """Writes the PENDING scores of a run in batches, and enqueues its first targets."""

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId) -> None:
        """Idempotent; resumes after an interruption. Raises Unavailable."""
        for _ in range(BATCHES_MAX):
            if not await self.work_queue.plan(project, run, self.clock()):
                break
        await self.jobs.send(*await self.work_queue.dispatch(project, self.clock()))


@dataclass(frozen=True, slots=True)
class RequeueOverdue:
    """Announces again the work that no worker has claimed, or that a dead worker held."""

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self) -> int:
        """The number of jobs. Raises Unavailable."""
        jobs = await self.work_queue.requeue_overdue(self.clock())
        await self.jobs.send(*jobs)
        return len(jobs)
