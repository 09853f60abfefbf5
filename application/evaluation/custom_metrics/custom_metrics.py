"""A project's own metrics: making them, revising them, archiving them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from application.evaluation.ports.custom_metrics import CustomMetrics, RegexEngine
from application.ports import Clock
from domain.errors import FieldError, Invalid
from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision, validate_name
from domain.evaluation.custom_metrics.parser import DEFINITION, parse_definition
from domain.evaluation.judging.models import JudgeModels, validate_model
from domain.evaluation.metrics.definition import Definition, DefinitionKind, encode_definition
from domain.evaluation.trace_content.messages import decode_json
from domain.ids import ProjectId
from domain.tracing.payload import JsonText


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRequest:
    """What is asked of a metric, in JSON of its kind as `domain.evaluation.defining` reads it."""

    description: str
    threshold: float
    body: JsonText


@dataclass(frozen=True, slots=True)
class MetricRules:
    """What metrics may be."""

    models: JudgeModels
    regex: RegexEngine

    def checked(self, name: str, kind: DefinitionKind, order: MetricRequest) -> Definition:
        """The first revision. Raises Invalid with every mistake, each at its place."""
        body = encode_definition(decode_json(order.body))
        spec = parse_definition(name, kind, body)
        errors = []
        for at, pattern in spec.patterns:
            try:
                self.regex.check(pattern)
            except Invalid as invalid:
                errors.append(FieldError(at, invalid.message))
        if spec.model is not None:
            try:
                self.models.select(validate_model(spec.model))
            except Invalid as invalid:
                errors += [FieldError(f"{DEFINITION}.model", one.message) for one in invalid.errors]
        if errors:
            raise Invalid.fields(errors)
        return Definition(
            name=name,
            revision=1,
            kind=kind,
            description=order.description,
            threshold=order.threshold,
            body=body,
        )


@dataclass(frozen=True, slots=True)
class CreateCustomMetric:
    metrics: CustomMetrics
    rules: MetricRules
    clock: Clock

    async def __call__(
        self, project: ProjectId, new: UUID, name: str, kind: DefinitionKind, order: MetricRequest
    ) -> CustomMetric:
        """The metric with its first revision, or the one that has the id `new` already.

        Raises Invalid for a name that is none, or a definition that isn't one of its kind, and
        Conflict where the name is taken or there are too many.
        """
        definition = self.rules.checked(validate_name(name), kind, order)
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

    async def __call__(self, project: ProjectId, name: str, order: MetricRequest) -> CustomMetric:
        """The metric, with one more revision unless it says the same already.

        Raises NotFound, Invalid for a definition that isn't one of its kind, and Conflict where
        it is archived or has too many.
        """
        known = await self.metrics.get(project, name)
        definition = self.rules.checked(name, known.newest.kind, order)
        now = self.clock()
        return await self.metrics.edit(project, name, lambda it: it.revised(definition, now))


@dataclass(frozen=True, slots=True)
class ArchiveCustomMetric:
    metrics: CustomMetrics
    clock: Clock

    async def __call__(self, project: ProjectId, name: str) -> CustomMetric:
        """No new run has it; what it has scored stays. Raises NotFound."""
        now = self.clock()
        return await self.metrics.edit(project, name, lambda it: it.archived(now))


@dataclass(frozen=True, slots=True)
class RestoreCustomMetric:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, name: str) -> CustomMetric:
        """Raises NotFound."""
        return await self.metrics.edit(project, name, lambda it: it.restored())


@dataclass(frozen=True, slots=True)
class ListCustomMetrics:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, *, archived: bool) -> Sequence[CustomMetric]:
        """By name; those that are `archived`, or those that aren't."""
        found = await self.metrics.all(project)
        return [one for one in found if (one.archived_at is not None) is archived]


@dataclass(frozen=True, slots=True)
class ReadCustomMetric:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, name: str) -> CustomMetric:
        """Raises NotFound."""
        return await self.metrics.get(project, name)


@dataclass(frozen=True, slots=True)
class ListRevisions:
    metrics: CustomMetrics

    async def __call__(self, project: ProjectId, name: str) -> Sequence[Revision]:
        """The newest first. Raises NotFound."""
        return await self.metrics.revisions(project, name)
