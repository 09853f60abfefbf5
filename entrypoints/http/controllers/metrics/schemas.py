"""Wire schemas of custom metrics."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.evaluation.custom_metrics.custom_metrics import MetricRequest
from application.evaluation.execution.dry_run import DryRun
from domain.evaluation.custom_metrics.custom_metric import DESCRIPTION_MAX, CustomMetric, Revision
from domain.evaluation.metrics.metric import THRESHOLD, DefinitionKind
from domain.evaluation.scores.outcome import Outcome, Scored
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import TraceId
from entrypoints.http.controllers.metrics.catalogue import PromptPreview
from entrypoints.http.controllers.metrics.examples import NAME
from entrypoints.http.controllers.runs.schemas import Model
from entrypoints.http.controllers.traces.examples import TRACE_ID
from entrypoints.http.requests.wire_types import (
    JsonObject,
    PlainObject,
    ResponseInstant,
    Usd,
    empty_object,
    format_optional_instant,
)
from entrypoints.http.response_structs import GIVEN, ResponseStruct, Source

NAME_CHARS_MAX: Final = 255

type Threshold = Annotated[
    float, Meta(ge=0, le=1, description="Scores from this value on are successes")
]
type Description = Annotated[str, Meta(min_length=1, max_length=DESCRIPTION_MAX)]
type Definition = Annotated[
    PlainObject,
    Meta(
        description=(
            "The members depend on the kind. `judge`: `criterion`, `anchors` (six texts for the "
            "labels 0 to 5; two for a checklist), and optionally `form` (`scale` or `checklist`), "
            "`model`, `template`, `sees_reasoning`. `rule`: `path`, `op`, `value`, or several "
            "rules in `all` or `any`. `measured`: `type` and `parameters`. See "
            "docs/evaluation/custom-metrics.md."
        )
    ),
]


class MetricPath(msgspec.Struct, frozen=True):
    metric_name: Annotated[str, Meta(description="The metric's name", examples=[NAME])]


class ArchivedQuery(msgspec.Struct, frozen=True, kw_only=True):
    archived: Annotated[
        bool, Meta(description="Whether to list archived metrics, or those in use")
    ] = False


class ReviseCustomMetricRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The new definition of a metric."""

    description: Description
    threshold: Threshold = THRESHOLD
    definition: Definition

    def to_domain(self) -> MetricRequest:
        return MetricRequest(
            description=self.description, threshold=self.threshold, body=bytes(self.definition)
        )


class CreateCustomMetricRequest(
    ReviseCustomMetricRequest, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A custom metric. Its name and its kind never change."""

    name: Annotated[
        str,
        Meta(
            max_length=NAME_CHARS_MAX,
            description=(
                "2 to 63 lower-case letters, digits and underscores, starting with a letter; not "
                "the name of a built-in metric"
            ),
            examples=[NAME],
        ),
    ]
    kind: DefinitionKind


class CustomMetricResponse(ResponseStruct[CustomMetric], frozen=True, kw_only=True):
    """A metric with its newest revision, which was created at `updated_at`."""

    id: UUID
    project_id: UUID
    name: str
    kind: Annotated[DefinitionKind, Source("newest.kind")]
    revision: Annotated[int, Source("newest.revision")]
    description: Annotated[str, Source("newest.description")]
    threshold: Annotated[float, Source("newest.threshold")]
    definition: Annotated[JsonObject, Source("newest.body")]
    archived_at: ResponseInstant | None
    created_at: ResponseInstant
    updated_at: ResponseInstant


class ChangedMetricResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An archived or restored metric, for a caller that may not read.

    The other fields are null or empty, whatever is stored.
    """

    id: UUID
    project_id: UUID
    name: str
    kind: DefinitionKind | None = None
    revision: int | None = None
    description: str | None = None
    threshold: float | None = None
    definition: JsonObject = msgspec.field(default_factory=empty_object)
    archived_at: ResponseInstant | None
    created_at: ResponseInstant | None = None
    updated_at: ResponseInstant | None = None

    @classmethod
    def from_metric(cls, metric: CustomMetric) -> Self:
        return cls(
            id=metric.id,
            project_id=metric.project_id,
            name=metric.name,
            archived_at=format_optional_instant(metric.archived_at),
        )


class MetricRevisionResponse(ResponseStruct[Revision], frozen=True, kw_only=True):
    """A revision of a metric, in effect since `created_at`. It never changes."""

    revision: Annotated[int, Source("definition.revision")]
    description: Annotated[str, Source("definition.description")]
    threshold: Annotated[float, Source("definition.threshold")]
    definition: Annotated[JsonObject, Source("definition.body")]
    created_at: ResponseInstant


class DryRunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trace to try a metric on. With `ask`, a run over this trace calls the judge."""

    trace_id: Annotated[TraceId, Meta(examples=[TRACE_ID])]
    model: Model | None = None
    ask: bool = False


class DryRunDraftRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A definition that isn't stored, and a trace to try it on."""

    kind: DefinitionKind
    threshold: Threshold = THRESHOLD
    definition: Definition
    trace_id: Annotated[TraceId, Meta(examples=[TRACE_ID])]
    model: Model | None = None

    def to_domain(self) -> MetricRequest:
        return MetricRequest(description="", threshold=self.threshold, body=bytes(self.definition))


class DryRunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the score that a run would create."""

    outcome: ScoreOutcome
    value: str | None
    reason: str
    metadata: JsonObject

    @classmethod
    def from_domain(cls, outcome: Outcome) -> Self:
        scored = outcome if isinstance(outcome, Scored) else None
        return cls(
            outcome=ScoreOutcome.SKIPPED if scored is None else ScoreOutcome.SCORED,
            value=None if scored is None else scored.text,
            reason=outcome.reason,
            metadata=msgspec.Raw(msgspec.json.encode(outcome.metadata)),
        )


class DryRunResponse(ResponseStruct[DryRun], frozen=True, kw_only=True):
    """The result of a metric for one trace, by the newest revision of the metric.

    If it needs a judge, `outcome` is null, `prompt` is the judge's prompt, `model` its model, and
    `estimated_cost_usd` the maximum cost of one request, null if it is unknown. `run_id` is the
    run that calls the judge.
    """

    name: Annotated[str, Source("definition.name")]
    revision: Annotated[int, Source("definition.revision")]
    kind: Annotated[DefinitionKind, Source("definition.kind")]
    trace_id: Annotated[UUID, GIVEN]
    evidence_hash: str | None
    prompt: list[PromptPreview]
    outcome: DryRunOutcome | None
    run_id: Annotated[UUID | None, Source("run", lambda progress: progress.run.id)]
    model: str | None
    estimated_cost_usd: Annotated[Usd | None, Source("usd")]
