"""Converts between a job and a Dramatiq message, whose arguments are ids of rows in PostgreSQL."""

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from application.jobs import EvaluateTargetJob, Job, JobQueue, PlanRunJob, queue_of
from domain.ids import ProjectId, RunId

if TYPE_CHECKING:
    from dramatiq.message import Message

NAMESPACE: Final = "pandaprobe"  # the prefix of every key in Redis
# A queue has the name of its lane.
ACTORS: Final[Mapping[str, str]] = {
    JobQueue.PLAN: "plan_run",
    JobQueue.MEASURE: "evaluate_target",
    JobQueue.JUDGE: "evaluate_target",
}


def build_message(job: Job) -> "Message[None]":
    """A new message for a job. Redis keeps it under its `message_id`, which is new each time."""
    # Loads Dramatiq only when a process sends its first job.
    from dramatiq.message import Message  # noqa: PLC0415 - see above

    queue = queue_of(job).value
    target = (job.target,) if isinstance(job, EvaluateTargetJob) else ()
    key = str(uuid.uuid4())
    return Message(
        queue_name=queue,
        actor_name=ACTORS[queue],
        args=(str(job.project), str(job.run), *target),
        kwargs={},
        options={"redis_message_id": key},
        message_id=key,
    )


def parse_job(queue: str, args: Sequence[object]) -> Job:
    """The job of a message in this queue. Raises ValueError if the arguments name none."""
    match queue, args:
        case JobQueue.PLAN, [str() as project, str() as run]:
            return PlanRunJob(ProjectId(UUID(project)), RunId(UUID(run)))
        case (
            (JobQueue.MEASURE | JobQueue.JUDGE),
            [str() as project, str() as run, str() as target],
        ):
            ids = ProjectId(UUID(project)), RunId(UUID(run))
            return EvaluateTargetJob(*ids, target, asks_judge=queue == JobQueue.JUDGE)
    raise ValueError(f"not a job of {queue}")
