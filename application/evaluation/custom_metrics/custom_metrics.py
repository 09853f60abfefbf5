"""Custom metrics: creating, revising and archiving them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from application.concurrency import compute
from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.ports import Clock
from domain.errors import FieldError, Invalid
from domain.evaluation.custom_metrics.custom_metric import CustomMetric, validate_name
from domain.evaluation.custom_metrics.parser import DEFINITION, parse_definition
from domain.evaluation.judging.models import JudgeModels, validate_model
from domain.evaluation.metrics.metric import Definition, DefinitionKind, encode_definition
from domain.evaluation.trace_content.messages import decode_json
from domain.ids import ProjectId
from domain.tracing.payloads.payload import JsonText


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRequest:
    """A request for a custom metric. `body` is JSON, as `custom_metrics.parser` parses it."""

    description: str
    threshold: float
    body: JsonText


@dataclass(frozen=True, slots=True)
class MetricRules:
    """Validates definitions of metrics. A service that creating and revising share."""

    models: JudgeModels
    regex: RegexEngine

    async def validate(self, name: str, kind: DefinitionKind, request: MetricRequest) -> Definition:
        """The definition as revision 1. Raises Invalid with all errors, each with its path.

        In a thread: compiling patterns may take a second.
        """
        return await compute(self._validate, name, kind, request, is_long=True)

    def _validate(self, name: str, kind: DefinitionKind, request: MetricRequest) -> Definition:
        body = encode_definition(decode_json(request.body))
        spec = parse_definition(name, kind, body)
        errors = []
        for path, pattern in spec.patterns:
            try:
                self.regex.check(pattern)
            except Invalid as invalid:
                errors.append(FieldError(path, invalid.message))
        if spec.model is not None:
            try:
                self.models.select(validate_model(spec.model))
            except Invalid as invalid:
                errors += [replace(one, field=f"{DEFINITION}.model") for one in invalid.errors]
        if errors:
            raise Invalid.fields(errors)
        return Definition(
            name=name,
            revision=1,
            kind=kind,
            description=request.description,
            threshold=request.threshold,
            body=body,
        )


@dataclass(frozen=True, slots=True)
class CreateCustomMetric:
    metrics: CustomMetrics
    rules: MetricRules
    clock: Clock

    async def __call__(
        self, project: ProjectId, new: UUID, name: str, kind: DefinitionKind, request: MetricRequest
    ) -> CustomMetric:
        """The metric with its first revision, or the one that has the id `new` already.

        Raises Invalid for a wrong name or definition, Conflict if the name is taken or the project
        has too many.
        """
        definition = await self.rules.validate(validate_name(name), kind, request)
        now = self.clock()
        return await self.metrics.create(
            CustomMetric(
                id=new, project_id=project, newest=definition, created_at=now, updated_at=now
            )
        )


@dataclass(frozen=True, slots=True)
class ReviseCustomMetric:
    metrics: CustomMetrics
    rules: MetricRules
    clock: Clock

    async def __call__(self, project: ProjectId, name: str, request: MetricRequest) -> CustomMetric:
        """The metric, with a new revision unless the definition is unchanged.

        Raises NotFound, Invalid for a wrong definition, Conflict if it is archived or has too many
        revisions.
        """
        known = await self.metrics.get(project, name)
        definition = await self.rules.validate(name, known.newest.kind, request)
        now = self.clock()
        return await self.metrics.edit(
            project, name, lambda metric: metric.revised(definition, now)
        )


@dataclass(frozen=True, slots=True)
class ArchiveCustomMetric:
    metrics: CustomMetrics
    clock: Clock

    async def __call__(self, project: ProjectId, name: str) -> CustomMetric:
        """Excludes the metric from new runs; its scores stay. Raises NotFound."""
        now = self.clock()
        return await self.metrics.edit(project, name, lambda metric: metric.archived(now))


@dataclass(frozen=True, slots=True)
class RestoreCustomMetric:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, name: str) -> CustomMetric:
        """Raises NotFound."""
        return await self.metrics.edit(project, name, lambda metric: metric.restored())


@dataclass(frozen=True, slots=True)
class ListCustomMetrics:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, *, archived: bool) -> Sequence[CustomMetric]:
        """The archived metrics, or the others, by name."""
        metrics = await self.metrics.all(project)
        return [one for one in metrics if (one.archived_at is not None) is archived]
