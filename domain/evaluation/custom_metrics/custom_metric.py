"""Custom metrics of a project: names, revisions, and their selection for runs."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from domain.errors import Conflict, FieldError, Invalid
from domain.evaluation.custom_metrics.parser import build_metric
from domain.evaluation.custom_metrics.regex import NewRegexSearch
from domain.evaluation.judging.models import JudgeModels, provider_of, resolve_model
from domain.evaluation.metrics.metric import (
    Category,
    Definition,
    DefinitionKind,
    EvaluationMethod,
    JudgeKind,
    Metric,
)
from domain.evaluation.metrics.registry import (
    ERRORS_MAX,
    METRIC_REGISTRY,
    listed_metrics,
    unknown_metric_message,
)
from domain.evaluation.sessions.metrics import required_signals
from domain.ids import ProjectId

NAME_MAX: Final = 63  # characters
METRICS_MAX: Final = 100  # of one project, including archived ones
TOO_MANY_METRICS: Final = (
    f"A project has {METRICS_MAX} metrics of its own at most, archived ones included: revise one"
)
LISTED_METRICS_MAX: Final = 1_000  # names in one request, repeated ones included: each is checked
REVISIONS_MAX: Final = 100  # of one metric
DESCRIPTION_MAX: Final = 500  # characters
CUSTOM_METRICS_PER_RUN_MAX: Final = 20  # a run stores their definitions
DEFINITION_BYTES_PER_RUN_MAX: Final = 32_768  # of all their definitions together

_NAME: Final = re.compile(rf"[a-z][a-z0-9_]{{1,{NAME_MAX - 1}}}")


def check_metric_name(name: str, category: Category) -> None:
    """Raises Invalid if no project can have a metric of this name. Doesn't look up projects."""
    known = METRIC_REGISTRY.get(name)
    if known is not None and known.is_listed and known.category is category:
        return
    if category is not Category.TRACE or known is not None or _NAME.fullmatch(name) is None:
        raise Invalid.semantic("metric", unknown_metric_message(name, category))


def validate_name(name: str) -> str:
    """Raises Invalid for a malformed name, or the name of a built-in metric."""
    if name in METRIC_REGISTRY:
        raise Invalid.field("name", "is the name of a built-in metric")
    if _NAME.fullmatch(name) is None:
        raise Invalid.field(
            "name",
            f"must have 2 to {NAME_MAX} characters: lower-case letters, digits and underscores, "
            "beginning with a letter",
        )
    return name


@dataclass(frozen=True, slots=True)
class Revision:
    """A definition with its creation time."""

    definition: Definition
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomMetric:
    """A metric of one project, identified by its name and defined by its newest revision.

    Revisions count from 1. New runs can't use an archived metric; it keeps its name, its revisions
    and its scores.
    """

    id: UUID
    project_id: ProjectId
    newest: Definition
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None

    @property
    def name(self) -> str:
        return self.newest.name

    @property
    def revision(self) -> Revision:
        """The newest revision."""
        return Revision(self.newest, self.updated_at)

    def revised(self, definition: Definition, now: datetime) -> Self:
        """The metric with one more revision; unchanged if the newest has the same content.

        Revision number and kind are taken from this metric, not from `definition`. Raises Conflict
        if the metric is archived, or has the maximum number of revisions.
        """
        own = replace(
            definition, name=self.name, kind=self.newest.kind, revision=self.newest.revision
        )
        if own.has_same_content(self.newest):
            return self
        if self.archived_at is not None:
            raise Conflict("This metric is archived; restore it before changing it")
        if self.newest.revision >= REVISIONS_MAX:
            raise Conflict(f"A metric has at most {REVISIONS_MAX} revisions; create another metric")
        newest = replace(own, revision=self.newest.revision + 1)
        return replace(self, newest=newest, updated_at=now)

    def archived(self, now: datetime) -> Self:
        """Archived; unchanged if it is already."""
        return self if self.archived_at is not None else replace(self, archived_at=now)

    def restored(self) -> Self:
        return replace(self, archived_at=None)


@dataclass(frozen=True, slots=True)
class SelectedMetrics:
    """The metrics of a run: their names, each once, and the definitions of the custom ones."""

    names: tuple[str, ...]
    definitions: tuple[Definition, ...] = field(default=())

    def judges(self, model: str) -> tuple[str, ...]:
        """The judge models: `model`, which is the run's, and those that custom metrics name."""
        named = [resolve_model(one.model) for one in self.definitions if one.model is not None]
        return tuple(dict.fromkeys([model, *named]))


def select_metrics(
    names: Sequence[str], category: Category, own: Mapping[str, CustomMetric]
) -> SelectedMetrics:
    """Resolves names to custom metrics (`own`, including archived ones) or built-in metrics.

    Raises Invalid, naming `metrics.<i>` for each unknown or archived one.
    """
    if category is not Category.TRACE:
        own = {}
    built_in = {one.name for one in listed_metrics(category)}
    errors = []
    for place, name in enumerate(names):
        known = own.get(name)
        if known is not None and known.archived_at is not None:
            errors.append(FieldError(f"metrics.{place}", f"{name} is archived", is_semantic=True))
        elif known is None and name not in built_in:
            message = unknown_metric_message(name, category)
            errors.append(FieldError(f"metrics.{place}", message, is_semantic=True))
    if errors:
        raise Invalid.fields(errors[:ERRORS_MAX])
    distinct = tuple(dict.fromkeys(names))
    if not distinct:
        raise Invalid.field("metrics", "must name at least one metric")
    definitions = tuple(own[name].newest for name in distinct if name in own)
    if (
        len(definitions) > CUSTOM_METRICS_PER_RUN_MAX
        or sum(len(one.body) for one in definitions) > DEFINITION_BYTES_PER_RUN_MAX
    ):
        raise Invalid.field(
            "metrics",
            f"may name at most {CUSTOM_METRICS_PER_RUN_MAX} custom metrics, with at most "
            f"{DEFINITION_BYTES_PER_RUN_MAX} bytes of definitions in total",
        )
    return SelectedMetrics(distinct, definitions)


def check_judge_models(picked: SelectedMetrics, model: str, models: JudgeModels) -> None:
    """Raises Invalid if a custom judged metric has no model: heuristics can't judge a criterion.

    `model` is the run's. A model named by a metric must be allowed, and its provider available.
    """
    errors = []
    for definition in picked.definitions:
        if definition.kind is not DefinitionKind.JUDGE:
            continue
        at = f"metrics.{picked.names.index(definition.name)}"
        try:
            asked = models.select(definition.model) if definition.model else model
            models.check_available(asked)
        except Invalid as invalid:
            message = f"{definition.name}: {invalid.errors[0].message}"
            errors.append(FieldError(at, message, is_semantic=True))
            continue
        if provider_of(asked) == JudgeKind.HEURISTIC:
            message = (
                f"{definition.name} needs a model, because the built-in heuristics know only "
                "built-in metrics: name one in the run, or in the metric's definition"
            )
            errors.append(FieldError(at, message, is_semantic=True))
    if errors:
        raise Invalid.fields(errors)


# --- in a run --------------------------------------------------------------------------------


def get_run_metric(
    definitions: Iterable[Definition], name: str, new_search: NewRegexSearch
) -> Metric:
    """The metric of a name in a run with these definitions; custom metrics take precedence.

    Raises KeyError for an unknown name.
    """
    own = next((one for one in definitions if one.name == name), None)
    return METRIC_REGISTRY[name] if own is None else build_metric(own, new_search)


def evaluation_method(
    definitions: Iterable[Definition], name: str
) -> tuple[EvaluationMethod | None, str | None]:
    """The evaluation method of a run's metric, and the model it names; None if unknown."""
    for one in definitions:
        if one.name == name:
            return one.method, None if one.model is None else resolve_model(one.model)
    known = METRIC_REGISTRY.get(name)
    return (None, None) if known is None else (known.method, known.model)


def needs_model(
    metrics: Collection[str],
    model: str,
    definitions: Sequence[Definition] = (),
    signal_weights: Mapping[str, float] | None = None,
) -> bool:
    """Whether evaluating some metrics of a run may call a service; `model` is the run's judge.

    A session metric depends on its signals, which depend on the run's `signal_weights`.
    """
    for name in (*metrics, *required_signals(metrics, signal_weights or {})):
        way, own = evaluation_method(definitions, name)
        asked = own or model
        is_local = way in {EvaluationMethod.COMPUTED, EvaluationMethod.AGGREGATED} or (
            way is EvaluationMethod.JUDGED and provider_of(asked) == JudgeKind.HEURISTIC
        )
        if not is_local:
            return True
    return False
