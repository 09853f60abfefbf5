"""Wire schemas of runs: filters, requests and responses."""

from enum import StrEnum
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from application.evaluation.runs.run_rules import MetricResults, RunRequest, RunSummary
from domain.evaluation.custom_metrics.custom_metric import LISTED_METRICS_MAX, check_metric_name
from domain.evaluation.metrics.metric import Category
from domain.evaluation.runs.run import (
    MODEL_MAX,
    NAME_MAX,
    EvalRun,
    RunProgress,
    RunStatus,
    RunWait,
    TargetType,
)
from domain.evaluation.runs.selection import (
    BATCH_MAX,
    SAMPLING_RATE_DEFAULT,
    Eligibility,
    GivenInstant,
    SessionSelection,
    TargetCount,
    TraceSelection,
)
from domain.evaluation.runs.summary import CODES_MAX
from domain.identity.caller import Caller
from domain.ids import RunId
from domain.page import LIMIT_DEFAULT, LIMIT_MAX
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.costs.schemas import JudgeUsage, RunBudget, Votes, optional_usd
from entrypoints.http.controllers.runs.examples import RUN_ID
from entrypoints.http.controllers.traces.schemas import (
    INCLUDED,
    Excluded,
    Label,
    Tags,
    TraceFilters,
    some_of,
)
from entrypoints.http.requests.cursors import Cursor, PageQuery
from entrypoints.http.requests.scalar_types import PLAIN_TEXT, domain_check, parse_instant
from entrypoints.http.requests.wire_types import (
    FilterDate,
    JsonObject,
    ResponseInstant,
    Usd,
    empty_object,
    shared_fields,
)
from entrypoints.http.response_structs import OPTIONAL, ResponseStruct, Source

WEIGHTS_MAX: Final = 100  # there are seven signals; unknown ones have no effect


# A metric that isn't built in may be one of the project, which the run looks up: it names all
# unknown ones together.
check_trace_metric: Final = domain_check(
    lambda name: check_metric_name(name, Category.TRACE), is_postponed=True
)
check_session_metric: Final = domain_check(lambda name: check_metric_name(name, Category.SESSION))


type TraceMetric = Annotated[str, Meta(extra={"check": check_trace_metric})]
type TraceMetrics = Annotated[list[TraceMetric], Meta(min_length=1, max_length=LISTED_METRICS_MAX)]
type SessionMetrics = Annotated[
    list[Annotated[str, Meta(extra={"check": check_session_metric})]],
    Meta(min_length=1, max_length=LISTED_METRICS_MAX),
]
type RunName = Annotated[str, Meta(max_length=NAME_MAX, extra=PLAIN_TEXT)]
type Model = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MODEL_MAX,
        description="`<provider>/<model>`; the provider of well-known models may be omitted",
    ),
]
type Rate = Annotated[
    float, Meta(ge=0, le=1, description="The share of the matching items that is evaluated")
]
type Weights = Annotated[
    dict[str, Annotated[float, Meta(ge=0)]],
    Meta(
        max_length=WEIGHTS_MAX, description="Weights by signal, which replace the default weights"
    ),
]
type TraceIds = Annotated[list[UUID], Meta(min_length=1, max_length=BATCH_MAX)]
type SessionIds = Annotated[list[Label], Meta(min_length=1, max_length=BATCH_MAX)]


class EvalRunFilters(TraceFilters, frozen=True, kw_only=True):
    """Which traces: the filters of `GET /traces`, all of which have to match.

    `metadata` and `not_metadata` map each key to its values. `date_from` and `date_to` are other
    names of `started_after` and `started_before`.
    """

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None

    def to_domain(self) -> TraceSelection:
        """Raises ValueError for an invalid date."""
        return TraceSelection(**_selection(self, TraceSelection))


class SessionEvalRunFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions: the filters of `GET /sessions`, and the number of traces.

    Dates, users and tags select traces; `has_error`, `has_failed_span` and `min_trace_count` apply
    to the selected traces of a session. `date_from` and `date_to` are other names of
    `started_after` and `started_before`.
    """

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None
    user_id: str | None = None
    has_error: bool | None = None
    tags: Tags | None = None
    min_trace_count: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    started_after: FilterDate | None = None
    started_before: FilterDate | None = None
    query: str | None = None
    has_failed_span: bool | None = None
    not_user_id: Excluded | None = None
    not_tags: Excluded | None = None

    def to_domain(self) -> SessionSelection:
        """Raises ValueError for an invalid date."""
        return SessionSelection(**_selection(self, SessionSelection))


def _selection(filters: EvalRunFilters | SessionEvalRunFilters, selection: type) -> dict[str, Any]:
    fields = {name: _frozen(one) for name, one in shared_fields(filters, selection).items()}
    for name in ("date_from", "date_to", "started_after", "started_before"):
        fields[name] = _given_instant(getattr(filters, name))
    return fields


def _frozen(value: Any) -> Any:
    match value:
        case list():
            return tuple(value)
        case dict():
            return tuple((key, tuple(texts)) for key, texts in value.items())
        case _:
            return value


def _given_instant(text: str | float | None) -> GivenInstant | None:
    return None if text is None else GivenInstant(text, parse_instant(text))


type SettledOnly = Annotated[
    bool,
    Meta(
        description=(
            "Whether OpenTelemetry traces wait until they are over: the root has ended and no span "
            "came for some seconds. Other traces never wait"
        )
    ),
]


class RunPath(msgspec.Struct, frozen=True):
    run_id: Annotated[RunId, Meta(description="The run's id", examples=[RUN_ID])]


class RunIncluded(StrEnum):
    """What a list of runs shows beyond their progress."""

    USAGE = "usage"


class RunQuery(PageQuery, frozen=True, kw_only=True):
    status: Annotated[RunStatus, Meta(description="Exactly this status")] | None = None
    include: (
        Annotated[
            str,
            some_of(
                RunIncluded,
                "usage",
                "What else each run shows. `usage`: the requests to judges so far, and their cost",
            ),
        ]
        | None
    ) = None


class RunScoresQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the scores. Without a limit it is all of them, as published clients expect."""

    limit: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=LIMIT_MAX,
                description="How many scores to return; all of them if it is left out",
            ),
        ]
        | None
    ) = None
    cursor: Cursor | None = None

    @property
    def page(self) -> PageQuery | None:
        """None: all scores are requested."""
        if self.limit is None and self.cursor is None:
            return None
        return PageQuery(limit=self.limit or LIMIT_DEFAULT, cursor=self.cursor)


class DeleteRunQuery(msgspec.Struct, frozen=True, kw_only=True):
    delete_scores: Annotated[
        bool, Meta(description="Whether to delete its scores too; else they stay, without a run")
    ] = False


class RunCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields that all requests for runs have in common."""

    name: RunName | None = None
    model: Model | None = None
    votes: Votes = 1
    max_cost_usd: RunBudget | None = None

    def to_request(self, **fields: Any) -> RunRequest:
        """`fields` replace fields of the domain's request."""
        fields = {"max_cost_usd": optional_usd(self.max_cost_usd), **fields}
        return RunRequest(**shared_fields(self, RunRequest) | fields)


class TraceRunCreate(RunCreate, frozen=True, kw_only=True):
    metrics: TraceMetrics


class SessionRunCreate(RunCreate, frozen=True, kw_only=True):
    metrics: SessionMetrics
    signal_weights: Weights | None = None


class CreateEvalRunRequest(TraceRunCreate, frozen=True, kw_only=True):
    """A run over the matching traces, or a share of them."""

    filters: EvalRunFilters = msgspec.field(default_factory=EvalRunFilters)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT
    settled_only: SettledOnly = True

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, TraceSelection]:
        """Raises ValueError for an invalid date."""
        return self.to_request(), self.filters.to_domain()


class CreateBatchEvalRunRequest(TraceRunCreate, frozen=True, kw_only=True):
    """A run over the given traces. An unknown trace counts as failed."""

    trace_ids: TraceIds

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, list[str]]:
        return self.to_request(), [str(id_) for id_ in self.trace_ids]


class CreateSessionEvalRunRequest(SessionRunCreate, frozen=True, kw_only=True):
    """A run over the matching sessions, or a share of them. Each is evaluated as a whole."""

    filters: SessionEvalRunFilters = msgspec.field(default_factory=SessionEvalRunFilters)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT
    settled_only: SettledOnly = True

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, SessionSelection]:
        """Raises ValueError for an invalid date."""
        request = self.to_request(signal_weights=self.signal_weights or {})
        return request, self.filters.to_domain()


class CreateBatchSessionEvalRunRequest(SessionRunCreate, frozen=True, kw_only=True):
    """A run over the given sessions. An unknown session counts as failed."""

    session_ids: SessionIds

    def to_domain(self, _: HttpConfig) -> tuple[RunRequest, list[str]]:
        request = self.to_request(signal_weights=self.signal_weights or {})
        return request, self.session_ids


class RunWaitResponse(ResponseStruct[RunWait], frozen=True, kw_only=True):
    """What targets that were put back wait for, because a provider limits or fails.

    `until` is when the next one is tried again.
    """

    code: Annotated[str, Source("code", str)]
    reason: Annotated[str, Source("code.reason")]
    until: ResponseInstant
    targets: int


class EvalRunResponse(ResponseStruct[RunProgress], frozen=True, kw_only=True):
    """A run and its progress.

    `evaluated_count` counts targets; `failed_count` and `skipped_count` count single scores, one
    for each target and each of `metric_names`. `waiting_for` is null unless targets were put back.
    """

    id: Annotated[UUID, Source("run.id")]
    name: Annotated[str | None, Source("run.name")]
    status: Annotated[RunStatus, Source("run.status")]
    metric_names: Annotated[list[str], Source("run.metrics")]
    total_targets: Annotated[int, Source("run.targets")]
    evaluated_count: Annotated[int, Source("tally.evaluated")]
    failed_count: Annotated[int, Source("tally.failed")]
    skipped_count: Annotated[int, Source("tally.skipped")]
    created_at: Annotated[ResponseInstant, Source("run.created_at")]
    completed_at: Annotated[ResponseInstant | None, Source("run.completed_at")]
    project_id: Annotated[UUID, Source("run.project_id")]
    target_type: Annotated[TargetType, Source("run.target_type")]
    filters: Annotated[JsonObject, Source("run.filters")]
    sampling_rate: Annotated[float, Source("run.sampling_rate")]
    settled_only: Annotated[
        bool,
        Source("run.settled_only"),
        Meta(description="As in the request; false if the request named the targets"),
    ]
    model: Annotated[str | None, Source("run.model")]
    votes: Annotated[int, Source("run.votes")]
    max_cost_usd: Annotated[Usd | None, Source("run.max_cost_usd")]
    monitor_id: Annotated[UUID | None, Source("run.monitor_id")]
    error_message: Annotated[str | None, Source("run.error_message")]
    waiting_for: RunWaitResponse | None


class ListedRunResponse(EvalRunResponse, frozen=True, kw_only=True):
    """A run in a list."""

    usage: Annotated[JudgeUsage | UnsetType, OPTIONAL, INCLUDED] = UNSET


class ChangedRunResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was started or cancelled, for a caller that may not read: its ids and its status.

    The other fields are null or empty, whatever is stored.
    """

    id: UUID
    name: str | None = None
    status: RunStatus
    metric_names: list[str] = []
    total_targets: int | None = None
    evaluated_count: int | None = None
    failed_count: int | None = None
    skipped_count: int | None = None
    created_at: ResponseInstant | None = None
    completed_at: ResponseInstant | None = None
    project_id: UUID
    target_type: TargetType | None = None
    filters: JsonObject = msgspec.field(default_factory=empty_object)
    sampling_rate: float | None = None
    settled_only: bool | None = None
    model: str | None = None
    votes: int | None = None
    max_cost_usd: Usd | None = None
    monitor_id: UUID | None
    error_message: str | None = None
    waiting_for: RunWaitResponse | None = None

    @classmethod
    def from_run(cls, run: EvalRun) -> Self:
        return cls(
            id=run.id, status=run.status, project_id=run.project_id, monitor_id=run.monitor_id
        )


def respond_run(caller: Caller, progress: RunProgress) -> EvalRunResponse | ChangedRunResponse:
    """The run; to a caller that may not read only its ids, since others may have written it."""
    if not caller.may_read:
        return ChangedRunResponse.from_run(progress.run)
    return EvalRunResponse.from_domain(progress)


class TargetCountRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which targets to count, by the fields that a run or a monitor has for them."""

    sampling_rate: Rate = SAMPLING_RATE_DEFAULT
    settled_only: SettledOnly = True
    includes_setup: Annotated[
        bool,
        Meta(
            description=(
                "Whether OpenTelemetry traces that only create agents count: for a run they do, "
                "for a monitor they don't"
            )
        ),
    ] = True

    @property
    def eligibility(self) -> Eligibility:
        return Eligibility(settled_only=self.settled_only, includes_setup=self.includes_setup)


class CountTracesRequest(TargetCountRequest, frozen=True, kw_only=True):
    """The traces that match, and the share of them that a run would evaluate."""

    filters: EvalRunFilters = msgspec.field(default_factory=EvalRunFilters)

    def to_domain(self, _: HttpConfig) -> tuple[TraceSelection, float, Eligibility]:
        """Raises ValueError for an invalid date."""
        return self.filters.to_domain(), self.sampling_rate, self.eligibility


class CountSessionsRequest(TargetCountRequest, frozen=True, kw_only=True):
    """The sessions that match, and the share of them that a run would evaluate."""

    filters: SessionEvalRunFilters = msgspec.field(default_factory=SessionEvalRunFilters)

    def to_domain(self, _: HttpConfig) -> tuple[SessionSelection, float, Eligibility]:
        """Raises ValueError for an invalid date."""
        return self.filters.to_domain(), self.sampling_rate, self.eligibility


class TargetCountResponse(ResponseStruct[TargetCount], frozen=True, kw_only=True):
    """How many targets match, and how many of them a run with this sampling rate evaluates.

    With `total_is_at_least` there are more than `matches`: a run with these filters and this
    sampling rate is refused.
    """

    matches: int
    targets: int
    total_is_at_least: Annotated[bool, Source("is_at_least")]


class MetricSummaryResponse(ResponseStruct[MetricResults], frozen=True, kw_only=True):
    """The results of a run in one metric, or in a signal that a session run computed.

    `scored`, `skipped`, `failed` and `pending` count the scores that exist now. `mean` is of the
    `counted` numbers that the run gave, and null without any; values that people changed are
    scored, but not counted. `passed` of the counted numbers reach `threshold`; both are null for a
    metric without a threshold. `codes` count failed and skipped scores by `metadata.code`.
    `judge_kind` is `model` or `heuristic`, and null if neither gave a number. `cost_usd` doesn't
    include the `unpriced_calls` of all `calls`; `cache_hits` are scores whose verdicts were cached.
    """

    metric: Annotated[str, Source("summary.metric")]
    is_signal: Annotated[bool, Source("summary.is_signal")]
    scored: Annotated[int, Source("summary.scored")]
    skipped: Annotated[int, Source("summary.skipped")]
    failed: Annotated[int, Source("summary.failed")]
    pending: Annotated[int, Source("summary.pending")]
    mean: Annotated[float | None, Source("summary.mean")]
    counted: Annotated[int, Source("summary.counted")]
    threshold: Annotated[float | None, Source("summary.threshold")]
    passed: Annotated[int | None, Source("summary.passed")]
    codes: Annotated[dict[str, int], Source("summary.codes"), Meta(max_length=CODES_MAX)]
    judge_kind: Annotated[str | None, Source("summary.judge_kind")]
    calls: Annotated[int, Source("spending.calls")]
    unpriced_calls: Annotated[int, Source("spending.unpriced")]
    cost_usd: Annotated[Usd, Source("spending.usd")]
    cache_hits: Annotated[int, Source("summary.cache_hits")]


class RunSummaryResponse(ResponseStruct[RunSummary], frozen=True, kw_only=True):
    """A run by metric: its metrics in their order, then signals that it computed, by name."""

    run_id: UUID
    metrics: list[MetricSummaryResponse]
