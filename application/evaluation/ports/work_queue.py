"""The port of the work queue: rows of work, their leases, and the scores they end in.

    unplanned ──plan──▶ waiting ──dispatch──▶ queued ──claim──▶ running ──close──▶ done
                                                ▲                  ├──postpone──▶ queued, later
                                                ├────release───────┤
                                                └──lease expired───┘──too many attempts──▶ dead

Cancelling or deleting a run closes all its rows at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, Self

from application.jobs import EvaluateTargetJob, Job
from domain.errors import Unavailable
from domain.evaluation.runs.run import EvalRun, Target
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import TraceScore
from domain.ids import ProjectId, RunId, TraceId

LEASE: Final = timedelta(minutes=2)  # renewed with every metric that is finished
RENEW_DEBOUNCE: Final = timedelta(seconds=5)  # a younger lease isn't renewed: that costs a lock
ANNOUNCE_TIMEOUT: Final = timedelta(seconds=60)  # then an unclaimed message counts as lost
IN_FLIGHT_TARGETS_MAX: Final = 32  # of a project, and of a run, queued or running: a default
ATTEMPTS_MAX: Final = 5  # of a target, those of killed workers included
PLANNED_TARGETS_BATCH: Final = 1_000  # in one transaction
OVERDUE_JOBS_MAX: Final = 1_000  # of one read


@dataclass(frozen=True, slots=True)
class Claim:
    """A target that a worker holds until its lease expires, for the `attempt`th time, from 1.

    `run` is without its `filters`, which may be large. `metrics` are those whose scores are still
    PENDING, in order; empty if all have scores.
    """

    run: EvalRun
    target: Target
    metrics: tuple[str, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class SignalKey:
    """The conditions for the reuse of a stored signal: how it is judged, and the evidence."""

    fingerprint: str
    evidence_hash: str


class PartlyRequeued(Unavailable):
    """A part of the overdue work failed. `jobs` are those that were marked all the same."""

    def __init__(self, message: str, jobs: Sequence[Job]) -> None:
        super().__init__(message)
        self.jobs = tuple(jobs)


class WorkQueue(Protocol):
    """The work of runs, one row for each target, and which worker holds it.

    The database is the truth: a message only says where to look. Every method but
    `requeue_overdue` is one transaction. A removed project has no work. A worker whose lease
    expired can't close or postpone a target that another worker has claimed. Closing the last row
    of a run settles the run in the same transaction, so a final run never has a PENDING score.
    Contract of WorkQueue: tests/contracts/evaluation/work_queue/test_work_queue.py. All raise
    Unavailable.
    """

    async def plan(self, project: ProjectId, run: RunId, now: datetime) -> bool:
        """Writes the PENDING scores of the next PLANNED_TARGETS_BATCH targets of a PENDING run.

        The last batch makes the run RUNNING. Whether there is more to plan; False if the run
        doesn't exist or isn't PENDING. Resumes an interrupted cancellation; False if others have
        locked all scores that it has left to skip. A run that is stored again after its delete
        replaces the scores that stayed without it, except for those that a person changed: these
        are its own again.
        """
        ...

    async def dispatch(self, project: ProjectId, now: datetime) -> Sequence[EvaluateTargetJob]:
        """Takes targets of the project's RUNNING runs, to be announced now.

        As many as the limit of the adapter on targets in flight allows, in a project without
        postponed ones, and in a run. The next target is always of the run with the fewest in
        flight, then of the oldest run, in the run's order. So a large run never blocks a small one,
        in the same or another project, nor does one whose judge doesn't answer.
        """
        ...

    async def claim(
        self, project: ProjectId, run: RunId, target: Target, now: datetime
    ) -> Claim | None:
        """The target, leased for LEASE; None if another worker has it or there is nothing to do.

        Targets postponed to later, or not dispatched yet, can't be claimed. One that was claimed
        ATTEMPTS_MAX times becomes dead instead: its open scores FAIL with the code of its last
        postponement, else `internal`.
        """
        ...

    async def record(self, claim: Claim, metric: str, outcome: Outcome, now: datetime) -> bool:
        """Writes the outcome of a metric, and renews the lease. Whether it was written.

        Only a PENDING score is overwritten: not one that a person or another worker wrote
        meanwhile, nor one of a cancelled run. After False the worker may go on. Raises Invalid if
        it can't be stored.
        """
        ...

    async def record_all(self, claim: Claim, outcomes: Mapping[str, Outcome], now: datetime) -> int:
        """As `record` for several metrics, atomically; how many were written."""
        ...

    async def record_signal(self, claim: Claim, score: TraceScore, now: datetime) -> None:
        """Adds a signal of a session run, unless its id exists; renews the lease.

        Does nothing if the trace is gone or the run is over. Raises Invalid if it can't be stored.
        """
        ...

    async def renew(self, claim: Claim, now: datetime) -> None:
        """Renews the lease for LEASE, if the worker still has it."""
        ...

    async def find_signals(
        self, project: ProjectId, trace: TraceId, wanted: Mapping[str, SignalKey]
    ) -> Sequence[TraceScore]:
        """For each name of `wanted` the newest score of the trace by a run, with this key.

        Only SCORED, NUMERIC and AUTOMATED ones, of any run, also a deleted one. In no order.
        """
        ...

    async def is_live(self, claim: Claim, trace: TraceId | None = None) -> bool:
        """Whether the run is still RUNNING; called before each metric.

        With a trace, before a judge is asked about it: whether the trace exists, too.
        """
        ...

    async def close(self, claims: Sequence[Claim], now: datetime) -> Sequence[EvaluateTargetJob]:
        """Marks targets of a project done. The jobs to be announced in their place, as `dispatch`.

        A score of theirs that is still PENDING becomes FAILED `internal`.
        """
        ...

    async def postpone(self, claim: Claim, until: datetime, code: FailCode, now: datetime) -> None:
        """Releases the target, to be claimed at `until` or later; `requeue_overdue` finds it.

        Until then it counts as in flight in its run, and not in its project. If this was the last
        attempt, it becomes dead: its open scores FAIL with `code`.
        """
        ...

    async def release(self, claim: Claim, now: datetime) -> None:
        """Gives the target back, to be claimed at once; the attempt doesn't count.

        For a worker that stops: the claim must not be used any more, since the next one has the
        same `attempt`.
        """
        ...

    async def requeue_overdue(self, now: datetime) -> Sequence[Job]:
        """The jobs to announce again, across all projects, marked as announced now.

        At most OVERDUE_JOBS_MAX: runs not planned within ANNOUNCE_TIMEOUT; targets whose lease has
        expired, that weren't claimed within ANNOUNCE_TIMEOUT, or whose postponement has ended.
        Also dispatches targets of projects with waiting ones and free capacity. A project that
        fails delays no other: each failure is logged, and after the others PartlyRequeued is
        raised, with the jobs that are marked. They must be announced all the same.
        """
        ...

    async def oldest_wait(self, now: datetime) -> timedelta | None:
        """How long the oldest ready work has waited, across all projects; None without any.

        Ready are runs to be planned, targets that are queued and due, and those whose lease has
        expired; not targets that wait for capacity.
        """
        ...

    async def count_dead(self) -> int:
        """The number of dead targets of existing runs; at most OVERDUE_JOBS_MAX."""
        ...


# --- how much work there is, for monitoring ---

COUNTED_ROWS_MAX: Final = 10_000  # of each kind; a larger number would say nothing more
# A target counts in the first band whose limit is above its age, else in the last one.
AGE_LIMITS: Final = {
    "10s": timedelta(seconds=10),
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
}
OLDEST_BAND: Final = "more"
AGE_BANDS: Final = (*AGE_LIMITS, OLDEST_BAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Counts, each at most COUNTED_ROWS_MAX.

    `queued` are targets that a worker could claim, by age band, with all AGE_BANDS. `running` are
    those that workers have. Targets that wait for capacity aren't counted.
    """

    pending_runs: int
    running_runs: int
    queued: Mapping[str, int]
    running: int

    @classmethod
    def total(cls, loads: Sequence[Self]) -> Self:
        return cls(
            pending_runs=sum(one.pending_runs for one in loads),
            running_runs=sum(one.running_runs for one in loads),
            queued={band: sum(one.queued[band] for one in loads) for band in AGE_BANDS},
            running=sum(one.running for one in loads),
        )


def age_band(age: timedelta) -> str:
    """The band of AGE_BANDS that an age belongs to."""
    return next((name for name, limit in AGE_LIMITS.items() if age < limit), OLDEST_BAND)


class Workloads(Protocol):
    """The workload of all projects, without removed ones.

    Contract of Workloads: tests/contracts/evaluation/work_queue/test_workloads.py.
    """

    async def workload(self, now: datetime) -> Workload:
        """The workload at `now`. Raises Unavailable."""
        ...
