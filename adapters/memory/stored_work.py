"""Runs and their rows of work as the memory store keeps them, and how a run ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.evaluation.runs.run import EvalRun, Tally, WorkItem


class WorkState(StrEnum):
    UNPLANNED = "unplanned"
    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"

    @property
    def is_in_flight(self) -> bool:
        return self in {WorkState.QUEUED, WorkState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """`final` is what it came to, from when it is over; until then it is counted."""

    run: EvalRun
    announced_at: datetime
    final: Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One row of work.

    `due_at`, in flight only, is when somebody has to be told of it again. `came_to` is there once
    it is finished.
    """

    assignment: WorkItem
    place: int
    state: WorkState = WorkState.UNPLANNED
    attempts: int = 0
    run_after: datetime
    due_at: datetime | None = None
    last_code: str | None = None
    came_to: Tally | None = None
