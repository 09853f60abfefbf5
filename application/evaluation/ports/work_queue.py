"""The port of the workers' half: rows of work, who has which, and the scores they end in.

    unplanned ──plan──▶ waiting ──dispatch──▶ queued ──claim──▶ running ──close──▶ done
                                                ▲                  ├──postpone──▶ queued, later
                                                └──lease ran out───┘──bury──▶ dead

Cancelling, or deleting, closes every row at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from application.jobs import EvaluateTargetJob, Job
from domain.evaluation.runs.run import EvalRun, Target
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import TraceScore
from domain.ids import ProjectId, RunId, TraceId

LEASE: Final = timedelta(minutes=2)  # renewed with every metric that is finished
RENEW_DEBOUNCE: Final = timedelta(
    seconds=5
)  # but not one that was given so lately, which costs a lock
ANNOUNCE_TIMEOUT: Final = timedelta(seconds=60)  # after that a message counts as lost
IN_FLIGHT_TARGETS_MAX: Final = 32  # targets of one project, queued or running: a default
ATTEMPTS_MAX: Final = 5  # of one target, killed workers included
PLANNED_TARGETS_BATCH: Final = 1_000  # targets of one transaction
OVERDUE_JOBS_MAX: Final = 1_000  # jobs that are found at once


@dataclass(frozen=True, slots=True)
class Claim:
    """A target that a worker has until its lease runs out, for the `attempt`th time, from 1.

    `metrics` are those whose scores are PENDING still, in their order; of a target whose scores
    are all there none.
    """

    run: EvalRun
    target: Target
    metrics: tuple[str, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class SignalKey:
    """What a signal has to agree in to be used again: who judges how, and what is judged."""

    fingerprint: str
    evidence_hash: str


class WorkQueue(Protocol):
    """What runs have to do, row by row, and by whom it is being done.

    Postgres holds the truth: a message only says where to look. Every method but `overdue` is one
    transaction. Of a removed project nothing is found or done. Whose lease ran out can close or
    postpone nothing that somebody else was given. Whoever closes the last row of a run settles
    the run with it, so that nobody ever sees a final run with a PENDING score. Contract of
    Assignments: tests/contracts/evaluation/work_queue/test_work_queue.py. All raise
    Unavailable.
    """

    async def plan(self, project: ProjectId, run: RunId, now: datetime) -> bool:
        """Writes the PENDING scores of the next PLANNED_TARGETS_BATCH targets of a PENDING run.

        With the last of them the run is RUNNING. Whether there is more to plan; False where the
        run isn't there, or isn't PENDING. Goes on with cancelling one, where that was interrupted.
        """
        ...

    async def dispatch(self, project: ProjectId, now: datetime) -> Sequence[EvaluateTargetJob]:
        """Takes targets of the project's RUNNING runs that are to be announced now.

        So many that no more than the window of the adapter are queued or running for one
        project. The next one is always of the run that has the fewest in flight, of equals the
        one that was made first, and of each in its order. So a large run never stands before a
        small one, of another project or of the same.
        """
        ...

    async def claim(
        self, project: ProjectId, run: RunId, target: Target, now: datetime
    ) -> Claim | None:
        """The target, for LEASE from now; None where somebody else has it or nothing is to be done.

        What is queued for later, and what waits to be announced, isn't given. One that was
        claimed ATTEMPTS_MAX times is buried instead: its open scores FAIL with the code that it
        was last postponed for, else `internal`.
        """
        ...

    async def record(self, claim: Claim, metric: str, outcome: Outcome, now: datetime) -> bool:
        """Writes what a metric came to, and renews the lease. Whether it was written.

        Only a PENDING score is: one that a person wrote meanwhile stays, as does one of a run
        that was cancelled, or that another worker wrote. A False is no reason to stop. Raises
        Invalid for what can't be stored.
        """
        ...

    async def record_all(self, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime) -> int:
        """As `record`, of several metrics, all or none; how many of them were written."""
        ...

    async def record_signal(self, claim: Claim, score: TraceScore, now: datetime) -> None:
        """Adds a signal of a session run, unless one of its id is there; renews the lease.

        Of a trace that is gone, or a run that is over, nothing is added. Raises Invalid for what
        can't be stored.
        """
        ...

    async def renew(self, claim: Claim, now: datetime) -> None:
        """LEASE from now for who has the target still, and has nothing to write."""
        ...

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        """Of each name of `wanted` the newest score of the trace that a run wrote and has its key.

        SCORED, NUMERIC and AUTOMATED ones only; whatever run it was, also one that has been
        deleted since. In no order.
        """
        ...

    async def is_live(self, claim: Claim, trace: TraceId | None = None) -> bool:
        """Whether the run is RUNNING still: asked before each metric.

        With the trace that a judge is about to be asked about: whether that is there too.
        """
        ...

    async def close(self, claim: Claim, now: datetime) -> Sequence[EvaluateTargetJob]:
        """The target is done. What is to be announced in its place, as `dispatch`.

        A score of it that is PENDING in spite of that becomes FAILED `internal`.
        """
        ...

    async def postpone(self, claim: Claim, until: datetime, code: FailCode, now: datetime) -> None:
        """Puts the target back, to be claimed at `until` or later; `overdue` finds it then.

        It keeps its place among those in flight: the window has no room for another. Buries it
        where this was the last attempt: its open scores FAIL with `code` then.
        """
        ...

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        """What has to be announced again, across all projects: at most OVERDUE_JOBS_MAX jobs.

        Runs that nobody has planned for UNHEARD; targets whose lease has run out, that nobody
        has claimed for UNHEARD since they were announced, or that were postponed until now. Each
        counts as announced now. Targets of projects that have waiting ones and room in their
        window are dispatched.
        """
        ...

    async def oldest_wait(self, now: datetime) -> timedelta | None:
        """For how long the oldest thing that could be done has waited, across all projects.

        Runs to be planned, targets that are queued and due, or whose lease has run out; those
        whose turn hasn't come don't count. None where nothing waits.
        """
        ...

    async def count_dead(self) -> int:
        """How many targets were buried, of runs that are still there; at most OVERDUE_JOBS_MAX."""
        ...
