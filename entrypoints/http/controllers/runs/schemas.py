"""Runs on the wire: as they are asked for, and as they are shown."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.evaluation.runs.requests import RunRequest
from domain.errors import Invalid
from domain.evaluation.custom_metrics.custom_metric import check_metric_name
from domain.evaluation.metrics.metric import Category
from domain.evaluation.runs.run import MODEL_MAX, NAME_MAX, RunProgress, RunStatus, TargetType
from domain.evaluation.runs.selection import (
    BATCH_MAX,
    SAMPLING_RATE_DEFAULT,
    SessionSelection,
    TraceSelection,
)
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.costs.money import (
    RunBudget,
    Votes,
    check_usd,
    check_vote_count,
    optional_usd,
    shown_usd,
)
from entrypoints.http.controllers.runs.filters import EvalRunFilters, SessionEvalRunFilters
from entrypoints.http.controllers.traces.schemas import Word
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.scalar_types import Refused
from entrypoints.http.requests.wire_types import (
    JsonObject,
    ShownInstant,
    instant,
    optional_instant,
    raw,
)

RUN_ID: Final = "1d0a6c1e-2f4b-4f0d-9c55-0a6d1e7b8f21"
WEIGHTS_MAX: Final = 100  # there are seven signals; unknown ones do nothing


def _known(category: Category) -> Callable[[str], None]:
    """A check of the wire: whether a name can be that of a metric of the category."""

    def check(name: str) -> None:
        try:
            check_metric_name(name, category)
        except Invalid as invalid:
            raise Refused(invalid.errors[0].message) from invalid

    return check


check_trace_metric: Final = _known(Category.TRACE)
check_session_metric: Final = _known(Category.SESSION)


type TraceMetrics = Annotated[
    list[Annotated[str, Meta(extra={"check": check_trace_metric})]], Meta(min_length=1)
]
type SessionMetrics = Annotated[
    list[Annotated[str, Meta(extra={"check": check_session_metric})]], Meta(min_length=1)
]
type RunName = Annotated[str, Meta(max_length=NAME_MAX)]
type Model = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MODEL_MAX,
        description="`<provider>/<model>`; well known names may leave the provider out",
    ),
]
type Rate = Annotated[
    float, Meta(ge=0, le=1, description="The share of the matches that is evaluated")
]
type Weights = Annotated[
    dict[str, Annotated[float, Meta(ge=0)]],
    Meta(max_length=WEIGHTS_MAX, description="By signal, in place of the usual weight"),
]
type TraceIds = Annotated[list[UUID], Meta(min_length=1, max_length=BATCH_MAX)]
type SessionIds = Annotated[list[Word], Meta(min_length=1, max_length=BATCH_MAX)]


class RunPath(msgspec.Struct, frozen=True):
    run_id: Annotated[UUID, Meta(description="The run's id", examples=[RUN_ID])]


class RunQuery(PageQuery, frozen=True, kw_only=True):
    status: Annotated[RunStatus, Meta(description="Exactly this status")] | None = None


class DeleteRunQuery(msgspec.Struct, frozen=True, kw_only=True):
    delete_scores: Annotated[
        bool, Meta(description="Whether its scores go too; else they stay, of no run")
    ] = False


class RunCreate(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of every run."""

    name: RunName | None = None
    model: Model | None = None
    votes: Votes = 1
    max_cost_usd: RunBudget | None = None

    def __post_init__(self) -> None:
        check_vote_count(self.votes)
        check_usd(self.max_cost_usd)

    def order(self, metrics: Sequence[str], **said: Any) -> RunRequest:
        """What is asked of the run; `said` as in Order."""
        return RunRequest(
            metrics=metrics,
            name=self.name,
            model=self.model,
            votes=self.votes,
            max_cost_usd=optional_usd(self.max_cost_usd),
            **said,
        )


class OfTraces(RunCreate, frozen=True, kw_only=True):
    metrics: TraceMetrics

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.metrics:
            check_trace_metric(name)


class OfSessions(RunCreate, frozen=True, kw_only=True):
    metrics: SessionMetrics
    signal_weights: Weights | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.metrics:
            check_session_metric(name)


class CreateEvalRunRequest(OfTraces, frozen=True, kw_only=True):
    """A run over the traces that match, or a share of them."""

    filters: EvalRunFilters = msgspec.field(default_factory=EvalRunFilters)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, TraceSelection]:
        """Raises ValueError for what is no date."""
        order = self.order(self.metrics, sampling_rate=self.sampling_rate)
        return order, self.filters.to_domain()


class CreateBatchEvalRunRequest(OfTraces, frozen=True, kw_only=True):
    """A run over the traces that are named. One that isn't there counts as failed."""

    trace_ids: TraceIds

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, list[str]]:
        return self.order(self.metrics), [str(one) for one in self.trace_ids]


class CreateSessionEvalRunRequest(OfSessions, frozen=True, kw_only=True):
    """A run over the sessions that match, or a share of them; each is evaluated as a whole."""

    filters: SessionEvalRunFilters = msgspec.field(default_factory=SessionEvalRunFilters)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, SessionSelection]:
        """Raises ValueError for what is no date."""
        weights = self.signal_weights or {}
        order = self.order(self.metrics, sampling_rate=self.sampling_rate, signal_weights=weights)
        return order, self.filters.to_domain()


class CreateBatchSessionEvalRunRequest(OfSessions, frozen=True, kw_only=True):
    """A run over the sessions that are named. One that isn't there counts as failed."""

    session_ids: SessionIds

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, list[str]]:
        return self.order(self.metrics, signal_weights=self.signal_weights or {}), self.session_ids


class EvalRunResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and how far it has got.

    `evaluated_count` counts targets; the other two count single measurements of `metric_names`.
    """

    id: UUID
    name: str | None
    status: RunStatus
    metric_names: list[str]
    total_targets: int
    evaluated_count: int
    failed_count: int
    skipped_count: int
    created_at: ShownInstant
    completed_at: ShownInstant | None
    project_id: UUID
    target_type: TargetType
    filters: JsonObject
    sampling_rate: float
    model: str | None
    votes: int
    max_cost_usd: float | None
    monitor_id: UUID | None
    error_message: str | None

    @classmethod
    def of(cls, progress: RunProgress) -> Self:
        run, tally = progress.run, progress.tally
        return cls(
            id=run.id,
            name=run.name,
            status=run.status,
            metric_names=list(run.metrics),
            total_targets=run.targets,
            evaluated_count=tally.evaluated,
            failed_count=tally.failed,
            skipped_count=tally.skipped,
            created_at=instant(run.created_at),
            completed_at=optional_instant(run.completed_at),
            project_id=run.project_id,
            target_type=run.target_type,
            filters=raw(run.filters),
            sampling_rate=run.sampling_rate,
            model=run.model,
            votes=run.votes,
            max_cost_usd=shown_usd(run.max_cost_usd),
            monitor_id=run.monitor_id,
            error_message=run.error_message,
        )
