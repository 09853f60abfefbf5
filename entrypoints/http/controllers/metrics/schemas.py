"""A project's own metrics on the wire."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from application.evaluation.custom_metrics.custom_metrics import MetricRequest
from application.evaluation.execution.dry_run import DryRun
from domain.evaluation.custom_metrics.custom_metric import DESCRIPTION_MAX, CustomMetric, Revision
from domain.evaluation.metrics.definition import DefinitionKind
from domain.evaluation.metrics.metric import THRESHOLD
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
    ShownInstant,
    instant,
    optional_instant,
    raw,
)

NAME_SHOWN_MAX: Final = 255

type Threshold = Annotated[
    float, Meta(ge=0, le=1, description="From where on a score is a success, itself included")
]
type Description = Annotated[str, Meta(min_length=1, max_length=DESCRIPTION_MAX)]
type Body = Annotated[
    PlainObject,
    Meta(
        description=(
            "By kind. `judge`: `criterion`, `anchors` (six texts, for the labels 0 to 5; of a "
            "checklist two), and if need be `form` (`scale` or `checklist`), `model`, `template`, "
            "`sees_reasoning`. `rule`: `path`, `op`, `value`, or `all` or `any` of several. "
            "`measured`: `type` and `parameters`. docs/custom-metrics.md has all of them."
        )
    ),
]


class MetricPath(msgspec.Struct, frozen=True):
    metric_name: Annotated[str, Meta(description="The metric's name", examples=[NAME])]


class ArchivedQuery(msgspec.Struct, frozen=True, kw_only=True):
    archived: Annotated[
        bool, Meta(description="Those that are archived, else those that aren't")
    ] = False


class ReviseCustomMetricRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric is from now on."""

    description: Description
    threshold: Threshold = THRESHOLD
    definition: Body

    def order(self) -> MetricRequest:
        return MetricRequest(
            description=self.description, threshold=self.threshold, body=bytes(self.definition)
        )


class CreateCustomMetricRequest(ReviseCustomMetricRequest, frozen=True, kw_only=True):
    """A metric of the project's own. Its name and its kind never change."""

    name: Annotated[
        str,
        Meta(
            max_length=NAME_SHOWN_MAX,
            description=(
                "2 to 63 small letters, digits and underscores, a letter first; no built-in "
                "metric's"
            ),
            examples=[NAME],
        ),
    ]
    kind: DefinitionKind


class CustomMetricResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A metric, as its newest revision defines it since `updated_at`."""

    id: UUID
    project_id: UUID
    name: str
    kind: DefinitionKind
    revision: int
    description: str
    threshold: float
    definition: JsonObject
    archived_at: ShownInstant | None
    created_at: ShownInstant
    updated_at: ShownInstant

    @classmethod
    def of(cls, metric: CustomMetric) -> Self:
        newest = metric.newest
        return cls(
            id=metric.id,
            project_id=metric.project_id,
            name=newest.name,
            kind=newest.kind,
            revision=newest.revision,
            description=newest.description,
            threshold=newest.threshold,
            definition=raw(newest.body),
            archived_at=optional_instant(metric.archived_at),
            created_at=instant(metric.created_at),
            updated_at=instant(metric.updated_at),
        )


class MetricRevisionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """How a metric was defined from `created_at` on. It never changes."""

    revision: int
    description: str
    threshold: float
    definition: JsonObject
    created_at: ShownInstant

    @classmethod
    def of(cls, revision: Revision) -> Self:
        known = revision.definition
        return cls(
            revision=known.revision,
            description=known.description,
            threshold=known.threshold,
            definition=raw(known.body),
            created_at=instant(revision.created_at),
        )


class DryRunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A trace to try a metric on. `ask` has a judge really asked, by a run of this one trace."""

    trace_id: Annotated[UUID, Meta(examples=[TRACE_ID])]
    model: Model | None = None
    ask: bool = False


class DryRunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a score would say."""

    outcome: ScoreOutcome
    value: str | None
    reason: str
    metadata: JsonObject

    @classmethod
    def of(cls, found: Outcome) -> Self:
        is_scored = isinstance(found, Scored)
        return cls(
            outcome=ScoreOutcome.SCORED if is_scored else ScoreOutcome.SKIPPED,
            value=found.text if isinstance(found, Scored) else None,
            reason=found.reason,
            metadata=msgspec.Raw(msgspec.json.encode(found.metadata)),
        )


class DryRunResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric comes to on a trace, by its newest revision.

    Where only a judge can tell, `outcome` is null, `prompt` is what it reads, `model` who it is
    and `estimated_cost_usd` what one request costs at most; null where that is unknown. `run_id` is
    the run that asks it.
    """

    name: str
    revision: int
    kind: DefinitionKind
    trace_id: UUID
    evidence_hash: str | None
    prompt: list[PromptPreview]
    outcome: DryRunOutcome | None
    run_id: UUID | None
    model: str | None
    estimated_cost_usd: float | None

    @classmethod
    def of(cls, tried: DryRun, trace: TraceId) -> Self:
        known = tried.definition
        return cls(
            name=known.name,
            revision=known.revision,
            kind=known.kind,
            trace_id=trace,
            evidence_hash=tried.evidence_hash,
            prompt=[PromptPreview(stage=one.stage, prompt=one.prompt) for one in tried.prompt],
            outcome=None if tried.outcome is None else DryRunOutcome.of(tried.outcome),
            run_id=None if tried.run is None else tried.run.run.id,
            model=tried.model,
            estimated_cost_usd=None if tried.usd is None else float(tried.usd),
        )
