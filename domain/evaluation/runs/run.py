"""Evaluation runs: their targets and metrics, their progress, and their states."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self
from uuid import UUID, uuid5

from domain.errors import Conflict, Invalid
from domain.evaluation.metrics.metric import Definition
from domain.evaluation.runs.voting import VOTE_COUNTS
from domain.evaluation.scores.outcome import FailCode, Outcome
from domain.evaluation.scores.score import (
    Score,
    ScoreOutcome,
    ScoreSource,
    SessionScore,
    TraceScore,
)
from domain.ids import MonitorId, ProjectId, RunId, ScoreId, TraceId
from domain.tracing.payloads.payload import EMPTY_OBJECT, JsonText

NAME_MAX: Final = 255
MODEL_MAX: Final = 255
RETRY_PREFIX: Final = "Retry: "
OPENING_CODES: Final = frozenset(one.value for one in FailCode if one.opens_circuit)
TARGETS_MAX: Final = 100_000  # of one run: each is a work item, and one score per metric


class RunStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self not in {RunStatus.PENDING, RunStatus.RUNNING}


class TargetType(StrEnum):
    TRACE = "TRACE"
    SESSION = "SESSION"

    @property
    def ids_key(self) -> str:
        """The key that names the targets in the filters of a run."""
        return "trace_ids" if self is TargetType.TRACE else "session_ids"


type Target = str
"""The scored target: a trace id in lower case with hyphens, or a session id."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """The metrics to evaluate on one target: one row of work, and one score per metric."""

    target: Target
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Execution:
    """One metric on one target, as recorded in its score. `code` is the failure code."""

    target: Target
    metric: str
    outcome: ScoreOutcome
    code: str | None = None

    @classmethod
    def from_score(cls, target: Target, score: Score) -> Self:
        return cls(target, score.name, score.outcome, score.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of a run, or of some of its targets.

    `evaluated` counts finished targets, including deleted ones. The other fields count executions
    of the run's own metrics; the signals that a session run computes aren't included. For a
    finished target they stay as they were when it finished, even if its scores change later.
    """

    evaluated: int = 0
    pending: int = 0
    scored: int = 0
    failed: int = 0
    skipped: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_executions(
        cls, metrics: Sequence[str], finished: int, executions: Iterable[Execution]
    ) -> Self:
        """Counts executions, given the number of finished work items."""
        own = [one for one in executions if one.metric in metrics]
        outcomes = Counter(one.outcome for one in own)
        codes = Counter(
            one.code or FailCode.INTERNAL.value for one in own if one.outcome is ScoreOutcome.FAILED
        )
        return cls(
            evaluated=finished,
            pending=outcomes[ScoreOutcome.PENDING],
            scored=outcomes[ScoreOutcome.SCORED],
            failed=outcomes[ScoreOutcome.FAILED],
            skipped=outcomes[ScoreOutcome.SKIPPED],
            codes=dict(codes),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            evaluated=self.evaluated + other.evaluated,
            pending=self.pending + other.pending,
            scored=self.scored + other.scored,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
            codes=dict(Counter(self.codes) + Counter(other.codes)),
        )

    @property
    def has_only_failures(self) -> bool:
        """Whether there was something to evaluate, and everything failed."""
        return self.failed > 0 and self.scored == self.skipped == self.pending == 0

    @property
    def failure_summary(self) -> str:
        """The most frequent failure code and its count; ties by name. There must be a failure.

        Questions that an open circuit held back count as the failure that opened it.
        """
        counts = dict(self.codes)
        opened = {code: count for code, count in counts.items() if code in OPENING_CODES}
        if opened:
            counts[_most_frequent(opened)[0]] += counts.pop(FailCode.CIRCUIT_OPEN.value, 0)
        code, count = _most_frequent(counts)
        return f"{code}: {count} of {self.failed} failed executions"


def _most_frequent(counts: Mapping[str, int]) -> tuple[str, int]:
    return min(counts.items(), key=lambda one: (-one[1], one[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRun:
    """Scores `targets` targets, each with every metric or with its assigned ones.

        PENDING ──started──▶ RUNNING ──settled──▶ COMPLETED, or FAILED if every execution failed
           └──────────────────┴──cancelled──▶ CANCELLED
           └──────────────────┴──failed──▶ FAILED

    A final status never changes. Counts are stored separately: see Tally. `filters` is the JSON of
    the caller's selection, as it was given. `settled_only` is that of `Eligibility`; it is false if
    the targets were named, since these need not be over. `signal_weights` are the given overrides,
    for session runs only. `model` is resolved. `definitions` are those of custom metrics at the
    time of creation. `votes` is the maximum number of votes per question (see voting.py),
    `max_cost_usd` the budget for its judges. A run without targets is completed when it is created.
    """

    id: RunId
    project_id: ProjectId
    target_type: TargetType
    name: str | None = None
    metrics: tuple[str, ...]
    targets: int
    filters: JsonText = EMPTY_OBJECT
    sampling_rate: float = 1.0
    settled_only: bool = False
    model: str
    signal_weights: Mapping[str, float] = field(default_factory=dict)
    definitions: tuple[Definition, ...] = ()
    votes: int = 1
    max_cost_usd: Decimal | None = None
    monitor_id: MonitorId | None = None
    status: RunStatus = RunStatus.PENDING
    error_message: str | None = None
    created_at: datetime
    completed_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError("a run needs metrics, each once")
        if self.targets < 0 or not 0 <= self.sampling_rate <= 1:
            raise ValueError("targets or sampling_rate of a run is out of range")
        if self.votes not in VOTE_COUNTS:
            raise ValueError(f"a run with {self.votes} votes")
        if (self.completed_at is not None) is not self.status.is_final:
            raise ValueError(f"a run that is {self.status}, completed at {self.completed_at}")
        if (self.error_message is not None) is not (self.status is RunStatus.FAILED):
            raise ValueError(f"a run that is {self.status} says: {self.error_message}")

    def score_id(self, target: Target, metric: str) -> ScoreId:
        """The id of a pair's score. Derived: a repeated evaluation writes the same row."""
        return ScoreId(uuid5(self.id, f"{target}\n{metric}"))

    def completed_if_empty(self) -> Self:
        """COMPLETED if the run has no targets, so that no worker is needed; otherwise unchanged."""
        if self.targets or self.status.is_final:
            return self
        return replace(self, status=RunStatus.COMPLETED, completed_at=self.created_at)

    def started(self) -> Self:
        """RUNNING, once all its scores exist; unchanged if it isn't PENDING."""
        is_pending = self.status is RunStatus.PENDING
        return replace(self, status=RunStatus.RUNNING) if is_pending else self

    def settled(self, tally: Tally, now: datetime) -> Self:
        """Final, if `tally` has every target finished and no score PENDING; otherwise unchanged."""
        done = tally.evaluated >= self.targets and not tally.pending
        if self.status is not RunStatus.RUNNING or not done:
            return self
        if tally.has_only_failures:
            return self.failed(tally.failure_summary, now)
        return replace(self, status=RunStatus.COMPLETED, completed_at=now)

    def failed(self, why: str, now: datetime) -> Self:
        """FAILED with a message for callers; unchanged if it is final already."""
        if self.status.is_final:
            return self
        return replace(self, status=RunStatus.FAILED, error_message=why, completed_at=now)

    def cancelled(self, now: datetime) -> Self:
        """CANCELLED, also if it was already. Raises Conflict if the run ended otherwise."""
        if self.status is RunStatus.CANCELLED:
            return self
        if self.status.is_final:
            raise Conflict(f"This run is {self.status} already")
        return replace(self, status=RunStatus.CANCELLED, completed_at=now)

    def progress(self, tally: Tally) -> float:
        """The share of finished targets, in [0, 1]; 1.0 without targets."""
        return min(tally.evaluated / self.targets, 1.0) if self.targets else 1.0


@dataclass(frozen=True, slots=True)
class RunWait:
    """Why targets of a run were put back: `code` is that of the one that is due next, `until` when.

    `targets` is how many there are.
    """

    code: FailCode
    until: datetime
    targets: int

    @classmethod
    def from_targets(cls, put_back: Iterable[tuple[datetime, str]]) -> Self | None:
        """From the times when the targets are due, and the codes; None without any."""
        known = sorted(put_back)
        return cls(FailCode(known[0][1]), known[0][0], len(known)) if known else None


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run with its counts at one moment, and what its targets wait for, if they do."""

    run: EvalRun
    tally: Tally
    waiting_for: RunWait | None = None


def pending_scores(
    run: EvalRun, work: WorkItem, now: datetime, environment: str | None = None
) -> list[TraceScore] | list[SessionScore]:
    """The PENDING scores of a target, in the order of its metrics, created before evaluation.

    `environment` is that of the trace; None for a session.
    """
    rows = [_waiting(run, work, metric, now) for metric in work.metrics]
    if run.target_type is TargetType.SESSION:
        return [SessionScore(**row, session_id=work.target) for row in rows]
    trace = TraceId(UUID(work.target))
    return [TraceScore(**row, trace_id=trace, environment=environment) for row in rows]


def signal_score(
    run: EvalRun,
    trace: TraceId,
    signal: str,
    outcome: Outcome,
    now: datetime,
    *,
    environment: str | None,
) -> TraceScore:
    """The score of a signal that a session run computed. It has no PENDING state before."""
    work = WorkItem(str(trace), (signal,))
    row = _waiting(run, work, signal, now)
    return TraceScore(**row, trace_id=trace, environment=environment).with_outcome(outcome, now)


def _waiting(run: EvalRun, work: WorkItem, metric: str, now: datetime) -> dict[str, Any]:
    return {
        "id": run.score_id(work.target, metric),
        "project_id": run.project_id,
        "name": metric,
        "outcome": ScoreOutcome.PENDING,
        "source": ScoreSource.AUTOMATED,
        "run_id": run.id,
        "created_at": now,
        "updated_at": now,
    }


def build_retry(
    run: EvalRun, executions: Iterable[Execution], new: RunId, now: datetime
) -> tuple[EvalRun, list[WorkItem]]:
    """A new run and its work: exactly the failures of `run`, whatever the run's state.

    Skipped pairs aren't retried. Neither are the signals of a session run, which a new run computes
    if they are missing. Raises Invalid if nothing failed.
    """
    failed: dict[Target, set[str]] = {}
    for one in executions:
        if one.outcome is ScoreOutcome.FAILED and one.metric in run.metrics:
            failed.setdefault(one.target, set()).add(one.metric)
    if not failed:
        raise Invalid("Nothing to retry: no score of this run has failed")
    work = [WorkItem(target, tuple(sorted(failed[target]))) for target in sorted(failed)]
    tried = {metric for one in work for metric in one.metrics}
    echo = {"retry_of": str(run.id), run.target_type.ids_key: [one.target for one in work]}
    return (
        EvalRun(
            id=new,
            project_id=run.project_id,
            target_type=run.target_type,
            name=f"{RETRY_PREFIX}{run.name or run.id}"[:NAME_MAX],
            metrics=tuple(sorted(tried)),
            targets=len(work),
            filters=json.dumps(echo, ensure_ascii=False, separators=(",", ":")).encode(),
            model=run.model,
            signal_weights=run.signal_weights,
            definitions=tuple(one for one in run.definitions if one.name in tried),
            votes=run.votes,
            max_cost_usd=run.max_cost_usd,
            created_at=now,
        ),
        work,
    )
