"""Experiments, their results, and what of them was measured."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import Conflict, Invalid
from domain.evaluation.datasets.dataset import Version
from domain.evaluation.runs.run import TARGETS_MAX, RunStatus, Tally
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import ProjectId, RunId, TraceId
from domain.tracing.payloads.payload import JsonText, scalar_members

NAME_MAX: Final = 200  # characters
LABEL_MAX: Final = 200  # characters of release, commit, branch and pull request
REPETITIONS_MAX: Final = 10
METRICS_MAX: Final = 20
RESULTS_MAX: Final = TARGETS_MAX  # items times repetitions: each is a target of the run
RESULTS_PER_REQUEST_MAX: Final = 10_000
EXPERIMENTS_MAX: Final = 10_000  # of one project

# With these members in its metadata, a trace names its case itself.
EXPERIMENT_KEY: Final = "experiment.id"
ITEM_KEY: Final = "experiment.item"
REPETITION_KEY: Final = "experiment.repetition"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRevision:
    """The git revision under test."""

    sha: str | None = None
    branch: str | None = None
    pull_request: str | None = None


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """The drop of a metric that a baseline showed when it was compared with itself.

    `fingerprints` are those of the compared scores, sorted, without those of prechecks. Scores of
    another judge have another floor.
    """

    drop: float
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A version of a dataset, answered `repetitions` times.

        open ──closed──▶ its run, with the metrics and the budget, over all results

    `items` is the number of items of `split` in the version when it was created. `run_id` is set
    once it is closed; from then on its results don't change. `noise_floor` has the latest one of
    each metric, of this run or of another one whose scores were compared.
    """

    id: UUID
    project_id: ProjectId
    name: str | None = None
    dataset: str
    version: Version
    split: str | None = None
    items: int
    repetitions: int = 1
    release: str | None = None
    git: GitRevision = GitRevision()
    metrics: tuple[str, ...]
    model: str | None = None
    votes: int = 1
    max_cost_usd: Decimal | None = None
    run_id: RunId | None = None
    created_at: datetime
    closed_at: datetime | None = None
    noise_floor: Mapping[str, NoiseFloor] | None = None

    @property
    def cases(self) -> int:
        return self.items * self.repetitions

    @property
    def executions(self) -> int:
        """How many scores it has if nothing is missing."""
        return self.cases * len(self.metrics)

    def check_open(self) -> None:
        """Raises Conflict if it is closed."""
        if self.run_id is not None:
            raise Conflict("This experiment is closed: start another one")

    def closed(self, run: RunId, now: datetime) -> Self:
        """Closed with this run; unchanged if it is closed already."""
        return self if self.run_id is not None else replace(self, run_id=run, closed_at=now)


def validate_experiment(experiment: Experiment) -> Experiment:
    """Raises Invalid for one without items, or with too many results or metrics."""
    if not experiment.items and experiment.split is None:
        raise Invalid.semantic("dataset", "this version has no items: write some first")
    if not experiment.items:
        raise Invalid.semantic("split", "this version of the dataset has no such items")
    if experiment.cases > RESULTS_MAX:
        raise Invalid.semantic(
            "repetitions",
            f"{experiment.items:,} items {experiment.repetitions} times are more than "
            f"{RESULTS_MAX:,} results",
        )
    if len(experiment.metrics) > METRICS_MAX:
        raise Invalid.field("metrics", f"must hold at most {METRICS_MAX} names")
    return experiment


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """An item and one of its repetitions, which count from 1."""

    item: str
    repetition: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """The trace of a case."""

    case: Case
    trace: TraceId


@dataclass(slots=True)
class ResultPlan:
    """Which results are new or replace another trace; the errors by index in the request."""

    stored: list[Result] = field(default_factory=list)
    unchanged: int = 0
    refused: dict[int, Invalid] = field(default_factory=dict)


def plan_results(
    experiment: Experiment,
    known: Mapping[Case, TraceId],
    sent: Sequence[Result],
    items: Collection[str],
    taken: Mapping[TraceId, tuple[UUID, Case]],
) -> ResultPlan:
    """The effect of a write of results. A later trace of a case replaces the earlier one.

    `items` are those of the experiment among the sent ones, `taken` the experiment and case of
    traces that are results already. A trace is the result of one case.
    """
    plan, seen = ResultPlan(), dict[Case, int]()
    traces = dict[TraceId, Case]()
    for index, one in enumerate(sent):
        case, owner = one.case, taken.get(one.trace)
        if case.item not in items:
            plan.refused[index] = Invalid.field("item", "isn't an item of this experiment")
        elif not 1 <= case.repetition <= experiment.repetitions:
            message = f"must be from 1 to {experiment.repetitions}"
            plan.refused[index] = Invalid.field("repetition", message)
        elif case in seen:
            plan.refused[index] = Invalid.field("item", "this case is in the request twice")
        elif (owner is not None and owner != (experiment.id, case)) or one.trace in traces:
            plan.refused[index] = Invalid.field("trace_id", "is the result of another case")
        else:
            seen[case], traces[one.trace] = index, case
            if known.get(case) == one.trace:
                plan.unchanged += 1
            else:
                plan.stored.append(one)
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsWritten:
    """The outcome of a write of results. `results` are all of the experiment after it."""

    stored: int
    unchanged: int
    results: int
    refused: Mapping[int, Invalid]


def named_case(metadata: JsonText, experiment: UUID) -> Case | None:
    """The case that a trace names by its metadata; None if it is of another experiment.

    Without a repetition it is the first. Anything but a whole number counts as none.
    """
    members = scalar_members(metadata)
    item, repetition = members.get(ITEM_KEY), members.get(REPETITION_KEY, "1")
    if members.get(EXPERIMENT_KEY) != str(experiment) or not item:
        return None
    if not (repetition.isascii() and repetition.isdigit() and len(repetition) <= len("10")):
        return None
    return Case(item, int(repetition))


def first_of_cases(named: Iterable[Result]) -> list[Result]:
    """The first trace of each case, by case and then by trace; at most RESULTS_MAX."""
    first: dict[Case, TraceId] = {}
    for one in sorted(named, key=lambda one: (one.case, one.trace)):
        first.setdefault(one.case, one.trace)
    return [Result(case, trace) for case, trace in first.items()][:RESULTS_MAX]


class ExperimentStatus(StrEnum):
    OPEN = "OPEN"  # it takes results
    CLOSED = "CLOSED"  # its run was deleted, or isn't stored yet: closing it again starts it
    PENDING = "PENDING"  # this and the others are the status of its run
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of the metrics of all cases were scored; the parts sum up to `total`.

    `missing` have no result, and are never taken for passed or failed.
    """

    total: int
    scored: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int = 0
    missing: int = 0

    @classmethod
    def from_tally(cls, experiment: Experiment, tally: Tally | None) -> Self:
        """`tally` is that of its run; None if it has none yet."""
        counted = Tally() if tally is None else tally
        known = counted.scored + counted.failed + counted.skipped + counted.pending
        return cls(
            total=experiment.executions,
            scored=counted.scored,
            failed=counted.failed,
            skipped=counted.skipped,
            pending=counted.pending,
            missing=max(0, experiment.executions - known),
        )


def status_of(experiment: Experiment, run: RunStatus | None) -> ExperimentStatus:
    """The status of an experiment by that of its run; None if there is no run."""
    if run is not None:
        return ExperimentStatus(run.value)
    return ExperimentStatus.OPEN if experiment.run_id is None else ExperimentStatus.CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseScore:
    """The score of a metric. `code` says why there is no value."""

    metric: str
    outcome: ScoreOutcome
    value: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """A case with its result.

    The figures are None if the trace isn't stored, tokens and cost also as `measured_usage` says.
    """

    case: Case
    trace: TraceId
    latency_ms: float | None = None
    tokens: int | None = None
    cost_usd: Decimal | None = None
    scores: Sequence[CaseScore] = ()
