"""Background jobs, and the port that announces them to workers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from domain.evaluation.runs.run import Target
from domain.ids import ProjectId, RunId


@dataclass(frozen=True, slots=True)
class PlanRunJob:
    """Plan a stored run."""

    project: ProjectId
    run: RunId


@dataclass(frozen=True, slots=True)
class EvaluateTargetJob:
    """Evaluate one target of a run. `asks_judge`: whether some of it may wait for a model."""

    project: ProjectId
    run: RunId
    target: Target
    asks_judge: bool = False


type Job = PlanRunJob | EvaluateTargetJob


class JobQueue(StrEnum):
    """The queues. Each has its own workers, so a slow model delays only the `judge` queue."""

    PLAN = "plan"
    MEASURE = "measure"
    JUDGE = "judge"


def queue_of(job: Job) -> JobQueue:
    if isinstance(job, PlanRunJob):
        return JobQueue.PLAN
    return JobQueue.JUDGE if job.asks_judge else JobQueue.MEASURE


class Jobs(Protocol):
    """Announces jobs to workers. Contract of Jobs: tests/contracts/test_jobs.py.

    A message is only a hint: the rows of runs and of the work queue say what is due. If a message
    is lost, `WorkQueue.requeue_overdue` finds the job in the rows.
    """

    async def send(self, *jobs: Job) -> None:
        """Never raises, and waits two seconds at most. A job may arrive twice, or never."""
        ...
