"""Plans runs, and announces overdue work again."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from application.evaluation.ports.work_queue import PLANNED_TARGETS_BATCH, PartlyRequeued, WorkQueue
from application.jobs import Jobs, PlanRunJob
from application.ports import Clock
from domain.evaluation.runs.run import TARGETS_MAX
from domain.ids import ProjectId, RunId

BATCHES_MAX: Final = -(-TARGETS_MAX // PLANNED_TARGETS_BATCH)  # of one run
PLANNING_TURN: Final = timedelta(seconds=2)  # the largest runs take minutes


@dataclass(frozen=True, slots=True)
class PlanRun:
    """Writes the PENDING scores of a run in batches, and enqueues its first targets.

    A worker plans one run at a time. After PLANNING_TURN a run enqueues itself again, so that it
    delays others no longer than that.
    """

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self, project: ProjectId, run: RunId) -> None:
        """Idempotent; resumes after an interruption. Raises Unavailable."""
        began = self.clock()
        for _ in range(BATCHES_MAX):
            if not await self.work_queue.plan(project, run, self.clock()):
                break
            if self.clock() - began >= PLANNING_TURN:
                await self.jobs.send(PlanRunJob(project, run))
                return
        await self.jobs.send(*await self.work_queue.dispatch(project, self.clock()))


@dataclass(frozen=True, slots=True)
class RequeueOverdue:
    """Announces again the work that no worker has claimed, or that a dead worker held."""

    work_queue: WorkQueue
    jobs: Jobs
    clock: Clock

    async def __call__(self) -> int:
        """The number of jobs. Raises Unavailable, after the jobs that are due have been sent."""
        try:
            jobs = await self.work_queue.requeue_overdue(self.clock())
        except PartlyRequeued as failure:
            await self.jobs.send(*failure.jobs)
            raise
        await self.jobs.send(*jobs)
        return len(jobs)
