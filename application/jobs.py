"""What is due later, and how workers are told of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from domain.evaluation.runs.run import Target
from domain.ids import ProjectId, RunId


@dataclass(frozen=True, slots=True)
class PlanRunJob:
    """A run that is stored and not planned yet."""

    project: ProjectId
    run: RunId


@dataclass(frozen=True, slots=True)
class EvaluateTargetJob:
    """One target of a run. `asks_judge` where some of it may wait for a model."""

    project: ProjectId
    run: RunId
    target: Target
    asks_judge: bool = False


type Job = PlanRunJob | EvaluateTargetJob


class JobQueue(StrEnum):
    """Jobs that wait for each other and for no others: a slow model holds up its own lane only."""

    PLAN = "plan"
    MEASURE = "measure"
    JUDGE = "judge"


def queue_of(job: Job) -> JobQueue:
    if isinstance(job, PlanRunJob):
        return JobQueue.PLAN
    return JobQueue.JUDGE if job.asks_judge else JobQueue.MEASURE


class Jobs(Protocol):
    """Telling workers what is due. Contract of Jobs: tests/contracts/test_jobs.py.

    Telling is all it does: what is due stands in the rows of runs and assignments, and whatever
    was told in vain is found there by `Assignments.overdue`.
    """

    async def send(self, *jobs: Job) -> None:
        """Never raises, and waits two seconds at most; a job may arrive twice, or not at all."""
        ...
