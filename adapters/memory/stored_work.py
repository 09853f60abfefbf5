"""Runs and their targets as the memory store holds them."""

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
    """`final` is the tally of a finished run; of a running one it is counted."""

    run: EvalRun
    announced_at: datetime
    final: Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTarget:
    """One target of a run.

    `due_at`, set in flight only, is when the target has to be announced again. `came_to` is the
    tally of a finished target.
    """

    assignment: WorkItem
    place: int
    state: WorkState = WorkState.UNPLANNED
    attempts: int = 0
    run_after: datetime
    due_at: datetime | None = None
    last_code: str | None = None
    came_to: Tally | None = None
