"""Wire schemas of experiments."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self
from uuid import UUID

import msgspec
from msgspec import Meta, Raw

from application.evaluation.experiments.experiments import ExperimentProgress, ExperimentRequest
from domain.evaluation.datasets.dataset import ITEM_ID_MAX, SPLIT_MAX, DatasetItem
from domain.evaluation.datasets.dataset import NAME_MAX as DATASET_NAME_MAX
from domain.evaluation.experiments.experiment import (
    LABEL_MAX,
    METRICS_MAX,
    NAME_MAX,
    REPETITIONS_MAX,
    RESULTS_PER_REQUEST_MAX,
    Case,
    CaseResult,
    CaseScore,
    Coverage,
    Experiment,
    ExperimentStatus,
    GitRevision,
    NoiseFloor,
    Result,
    ResultsWritten,
)
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import TraceId
from entrypoints.http.controllers.datasets.examples import ITEM_ID, NAME, VERSION
from entrypoints.http.controllers.datasets.schemas import VERSION_EXPECTED
from entrypoints.http.controllers.experiments.examples import EXPERIMENT_ID
from entrypoints.http.controllers.runs.schemas import RunCreate, TraceMetric
from entrypoints.http.controllers.traces.batches import BatchRejected
from entrypoints.http.controllers.traces.examples import TRACE_ID
from entrypoints.http.requests import wire_types as wire
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.scalar_types import PLAIN_TEXT
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source

type Label = Annotated[str, Meta(max_length=LABEL_MAX, extra=PLAIN_TEXT)]
type ExperimentName = Annotated[str, Meta(max_length=NAME_MAX, extra=PLAIN_TEXT)]


class ExperimentPath(msgspec.Struct, frozen=True):
    experiment_id: Annotated[
        UUID, Meta(description="The experiment's id", examples=[EXPERIMENT_ID])
    ]


class ExperimentQuery(PageQuery, frozen=True, kw_only=True):
    dataset: (
        Annotated[str, Meta(description="Exactly this dataset", max_length=DATASET_NAME_MAX)] | None
    ) = None


class GitFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was tested."""

    sha: Label | None = None
    branch: Label | None = None
    pull_request: Label | None = None

    @classmethod
    def from_domain(cls, git: GitRevision) -> Self:
        return cls(sha=git.sha, branch=git.branch, pull_request=git.pull_request)

    def to_domain(self) -> GitRevision:
        return GitRevision(sha=self.sha, branch=self.branch, pull_request=self.pull_request)


class CreateExperimentRequest(RunCreate, frozen=True, kw_only=True):
    """An experiment over a version of a dataset, and the options of its run."""

    name: ExperimentName | None = None
    dataset: Annotated[
        str, Meta(max_length=DATASET_NAME_MAX, description="Its name", examples=[NAME])
    ]
    version: (
        Annotated[
            str,
            Meta(
                pattern="^[0-9a-f]{64}$",
                extra={"expected": VERSION_EXPECTED},
                description="The hash of a version; the newest version if it is left out",
                examples=[VERSION],
            ),
        ]
        | None
    ) = None
    split: Annotated[str, Meta(min_length=1, max_length=SPLIT_MAX, extra=PLAIN_TEXT)] | None = None
    repetitions: Annotated[int, Meta(ge=1, le=REPETITIONS_MAX)] = 1
    release: Label | None = None
    git: GitFields = GitFields()
    metrics: Annotated[list[TraceMetric], Meta(min_length=1, max_length=METRICS_MAX)]

    def to_domain(self) -> ExperimentRequest:
        return ExperimentRequest(
            name=self.name,
            dataset=self.dataset,
            version=None if self.version is None else bytes.fromhex(self.version),
            split=self.split,
            repetitions=self.repetitions,
            release=self.release,
            git=self.git.to_domain(),
            run=self.to_request(),
        )


def _hex(digest: bytes) -> str:
    return digest.hex()


def _drops(floors: Mapping[str, NoiseFloor] | None) -> dict[str, float] | None:
    return None if floors is None else {metric: floor.drop for metric, floor in floors.items()}


class ExperimentResponse(ResponseStruct[Experiment], frozen=True, kw_only=True):
    """An experiment. `items` is the number of items of its split in its version.

    `noise_floor` is the drop by metric that it showed when it was compared with itself.
    """

    id: UUID
    project_id: UUID
    name: str | None
    dataset: str
    version: Annotated[str, Source("version.digest", _hex)]
    version_number: Annotated[int, Source("version.number")]
    split: str | None
    items: int
    repetitions: int
    metrics: list[str]
    release: str | None
    git: GitFields
    model: str | None
    votes: int
    max_cost_usd: wire.Usd | None
    run_id: UUID | None
    created_at: wire.ResponseInstant
    closed_at: wire.ResponseInstant | None
    noise_floor: Annotated[dict[str, float] | None, Source("noise_floor", _drops)]


class CoverageResponse(ResponseStruct[Coverage], frozen=True, kw_only=True):
    """The scores of all cases and metrics, `items` times `repetitions` times metrics.

    The others sum up to `total`. `missing` are those of cases without a result.
    """

    total: int
    scored: int
    failed: int
    skipped: int
    pending: int
    missing: int


class ExperimentProgressResponse(ResponseStruct[ExperimentProgress], frozen=True, kw_only=True):
    """An experiment with what was measured of it.

    `results` counts the cases with a trace. `judge_cost_usd` is what the judges of its run cost,
    without `unpriced_calls`.
    """

    id: Annotated[UUID, Source("experiment.id")]
    project_id: Annotated[UUID, Source("experiment.project_id")]
    name: Annotated[str | None, Source("experiment.name")]
    dataset: Annotated[str, Source("experiment.dataset")]
    version: Annotated[str, Source("experiment.version.digest", _hex)]
    version_number: Annotated[int, Source("experiment.version.number")]
    split: Annotated[str | None, Source("experiment.split")]
    items: Annotated[int, Source("experiment.items")]
    repetitions: Annotated[int, Source("experiment.repetitions")]
    metrics: Annotated[list[str], Source("experiment.metrics")]
    release: Annotated[str | None, Source("experiment.release")]
    git: Annotated[GitFields, Source("experiment.git")]
    model: Annotated[str | None, Source("experiment.model")]
    votes: Annotated[int, Source("experiment.votes")]
    max_cost_usd: Annotated[wire.Usd | None, Source("experiment.max_cost_usd")]
    run_id: Annotated[UUID | None, Source("experiment.run_id")]
    created_at: Annotated[wire.ResponseInstant, Source("experiment.created_at")]
    closed_at: Annotated[wire.ResponseInstant | None, Source("experiment.closed_at")]
    noise_floor: Annotated[dict[str, float] | None, Source("experiment.noise_floor", _drops)]
    status: ExperimentStatus
    results: int
    coverage: CoverageResponse
    judge_cost_usd: Annotated[wire.Usd, Source("spending.usd")]
    unpriced_calls: Annotated[int, Source("spending.unpriced")]


class ExperimentResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The trace that is the result of an item. It may be stored later."""

    item: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=ITEM_ID_MAX,
            extra=PLAIN_TEXT,
            description="The id of the item",
            examples=[ITEM_ID],
        ),
    ]
    repetition: Annotated[int, Meta(ge=1, le=REPETITIONS_MAX)] = 1
    trace_id: Annotated[UUID, Meta(examples=[TRACE_ID])]


class ExperimentResultBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Results, each of which is stored or rejected by itself."""

    results: Annotated[
        list[ExperimentResult], Meta(min_length=1, max_length=RESULTS_PER_REQUEST_MAX)
    ]

    def to_domain(self) -> Sequence[Result]:
        return [
            Result(Case(one.item, one.repetition), TraceId(one.trace_id)) for one in self.results
        ]


def _rejected_results(written: ResultsWritten) -> list[BatchRejected]:
    return [
        BatchRejected.from_failure(index, invalid) for index, invalid in written.refused.items()
    ]


class ResultsWrittenResponse(ResponseStruct[ResultsWritten], frozen=True, kw_only=True):
    """What was stored. `results` counts all results of the experiment."""

    stored: int
    unchanged: int
    results: int
    rejected: Annotated[list[BatchRejected], Source(WHOLE, _rejected_results)]


class ClosedExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """A closed experiment, and its run."""

    id: UUID
    run_id: UUID
    status: ExperimentStatus


class CaseScoreResponse(ResponseStruct[CaseScore], frozen=True, kw_only=True):
    """The score of a metric; `code` and `reason` say why there is no value."""

    metric: str
    outcome: ScoreOutcome
    value: str | None
    code: str | None
    reason: str | None


class CaseResultResponse(ResponseStruct[CaseResult], frozen=True, kw_only=True):
    """A result. The figures are null if the trace isn't stored, and `scores` are those of the run.

    `cost_usd` is the cost of the trace, null if a step has no price. Without a step, or if a model
    doesn't say its tokens, `tokens` is null too.
    """

    repetition: Annotated[int, Source("case.repetition")]
    trace_id: Annotated[UUID, Source("trace")]
    latency_ms: float | None
    tokens: int | None
    cost_usd: wire.Usd | None
    scores: list[CaseScoreResponse]


class ExperimentItemResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An item with its results by repetition; `missing` repetitions have none."""

    item: str
    input: Raw
    expected: Raw
    missing: int
    results: list[CaseResultResponse]

    @classmethod
    def from_domain(
        cls, item: DatasetItem, results: Sequence[CaseResult], repetitions: int
    ) -> Self:
        return cls(
            item=item.id,
            input=wire.raw_json(item.input),
            expected=wire.raw_json(item.expected),
            missing=repetitions - len(results),
            results=[CaseResultResponse.from_domain(one) for one in results],
        )
