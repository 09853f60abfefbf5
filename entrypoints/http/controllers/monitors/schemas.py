"""Wire schemas of monitors: creation, changes and responses.

The `target_type` of a monitor decides which filters and metrics are valid. A change doesn't
contain it, so its fields are checked once the monitor was read.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from application.evaluation.monitors.monitors import MonitorRequest
from application.evaluation.runs.run_rules import RunRequest
from domain.errors import FieldError, Invalid
from domain.evaluation.custom_metrics.custom_metric import LISTED_METRICS_MAX, check_metric_name
from domain.evaluation.metrics.metric import Category
from domain.evaluation.monitors.monitor import (
    NAME_MAX,
    Monitor,
    MonitorChange,
    MonitorStatus,
    Selection,
)
from domain.evaluation.monitors.schedule import CADENCE_MAX, parse_schedule
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SAMPLING_RATE_DEFAULT, filters_as_given
from domain.ids import MonitorId, ProjectId
from domain.tracing.change import UNCHANGED
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.costs.schemas import RunBudget, Votes, optional_usd
from entrypoints.http.controllers.monitors.examples import MONITOR_ID
from entrypoints.http.controllers.runs.schemas import (
    EvalRunFilters,
    Model,
    Rate,
    SessionEvalRunFilters,
    SettledOnly,
    Weights,
)
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.errors import FieldErrors, PostponedError
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.scalar_types import PLAIN_TEXT, domain_check
from entrypoints.http.requests.wire_types import (
    NULL,
    JsonObject,
    OptionalObject,
    ResponseInstant,
    Usd,
    empty_object,
    raw_json,
)
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source

SLOTS_SHOWN_MAX: Final = 20  # of a cadence
SLOTS_SHOWN_DEFAULT: Final = 5

_CATEGORIES: Final = {TargetType.TRACE: Category.TRACE, TargetType.SESSION: Category.SESSION}
_FILTERS: Final[Mapping[TargetType, Body[Selection]]] = {
    TargetType.TRACE: Body(EvalRunFilters, lambda wire, _: wire.to_domain()),
    TargetType.SESSION: Body(SessionEvalRunFilters, lambda wire, _: wire.to_domain()),
}
_CONFIG: Final = HttpConfig(version="", environment="")  # filters depend on no setting
_SESSIONS_ONLY: Final = "are supported by monitors over sessions only"


type MonitorName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, extra=PLAIN_TEXT)]
type Metrics = Annotated[
    list[str],
    Meta(
        min_length=1,
        max_length=LISTED_METRICS_MAX,
        description="Metrics of traces or of sessions, by `target_type`",
    ),
]
type Schedule = Annotated[
    str,
    Meta(
        max_length=CADENCE_MAX,
        extra={"check": domain_check(parse_schedule)},
        description=(
            "`every_6h`, `daily`, `weekly`, or `cron:` and five fields in UTC, with at least five "
            "minutes between runs"
        ),
        examples=["cron:0 6 * * 1"],
    ),
]


class MonitorPath(msgspec.Struct, frozen=True):
    monitor_id: Annotated[MonitorId, Meta(description="The monitor's id", examples=[MONITOR_ID])]


class MonitorQuery(PageQuery, frozen=True, kw_only=True):
    status: Annotated[MonitorStatus, Meta(description="Exactly this status")] | None = None


class CadenceQuery(msgspec.Struct, frozen=True, kw_only=True):
    cadence: Schedule
    count: Annotated[
        int, Meta(ge=1, le=SLOTS_SHOWN_MAX, description="How many instants to return")
    ] = SLOTS_SHOWN_DEFAULT


class CadenceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A valid cadence, and when a monitor that is created now would run next."""

    cadence: str
    runs_at: list[ResponseInstant]


class CreateMonitorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scheduled run. `filters` are those of a run over traces, or of one over sessions."""

    name: MonitorName
    target_type: TargetType
    metrics: Metrics
    filters: OptionalObject = msgspec.field(default_factory=empty_object)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT
    model: Model | None = None
    cadence: Schedule
    only_if_changed: bool = True
    settled_only: SettledOnly = True
    signal_weights: Weights | None = None
    votes: Votes = 1
    max_cost_usd: RunBudget | None = None

    @classmethod
    def field_errors(cls, fields: Mapping[str, Any]) -> Iterator[FieldError]:
        """Metrics, filters and weights have to be valid for the target type."""
        if isinstance(target_type := fields.get("target_type"), TargetType):
            dependent = {name: fields.get(name) for name in _DEPENDENT_FIELDS}
            yield from target_errors(target_type, **dependent)

    def to_domain(self, _: HttpConfig) -> MonitorRequest:
        return MonitorRequest(
            name=self.name,
            target_type=self.target_type,
            run=RunRequest(
                metrics=self.metrics,
                model=self.model,
                sampling_rate=self.sampling_rate,
                signal_weights=self.signal_weights or {},
                votes=self.votes,
                max_cost_usd=optional_usd(self.max_cost_usd),
                settled_only=self.settled_only,
            ),
            selection=_selection(self.target_type, self.filters, FieldErrors()),
            cadence=self.cadence,
            only_if_changed=self.only_if_changed,
        )


class UpdateMonitorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New values of a monitor. `filters` replace the old ones; null removes all conditions."""

    name: MonitorName | UnsetType = UNSET
    metrics: Metrics | UnsetType | None = UNSET
    filters: OptionalObject | UnsetType = UNSET
    sampling_rate: Rate | UnsetType = UNSET
    model: Model | UnsetType | None = UNSET
    cadence: Schedule | UnsetType = UNSET
    only_if_changed: bool | UnsetType = UNSET
    settled_only: SettledOnly | UnsetType = UNSET
    signal_weights: Weights | UnsetType | None = UNSET
    votes: Votes | UnsetType = UNSET
    max_cost_usd: RunBudget | UnsetType | None = UNSET

    def to_domain(self, target_type: TargetType) -> MonitorChange:
        """The change of a monitor of `target_type`. Raises Invalid, with all errors."""
        dependent = {name: getattr(self, name) for name in _DEPENDENT_FIELDS}
        errors = list(target_errors(target_type, **dependent))
        if not all(isinstance(error, PostponedError) for error in errors):
            raise Invalid.fields(errors)
        filters, weights, budget = self.filters, self.signal_weights, self.max_cost_usd
        return MonitorChange(
            name=UNCHANGED if self.name is UNSET else self.name,
            metrics=tuple(self.metrics) if isinstance(self.metrics, list) else UNCHANGED,
            selection=UNCHANGED
            if filters is UNSET
            else _selection(target_type, filters, FieldErrors()),
            sampling_rate=UNCHANGED if self.sampling_rate is UNSET else self.sampling_rate,
            model=UNCHANGED if self.model is UNSET else self.model,
            cadence=UNCHANGED if self.cadence is UNSET else self.cadence,
            only_if_changed=UNCHANGED if self.only_if_changed is UNSET else self.only_if_changed,
            settled_only=UNCHANGED if self.settled_only is UNSET else self.settled_only,
            signal_weights=UNCHANGED if weights is UNSET else weights or {},
            votes=UNCHANGED if self.votes is UNSET else self.votes,
            max_cost_usd=UNCHANGED if budget is UNSET else optional_usd(budget),
        )


_DEPENDENT_FIELDS: Final = ("metrics", "filters", "signal_weights")


def target_errors(
    target_type: TargetType, metrics: object, filters: object, signal_weights: object
) -> Iterator[FieldError]:
    """Fields that are invalid for the target type. Fields that were left out are not checked."""
    for index, name in enumerate(metrics if isinstance(metrics, list) else ()):
        try:
            check_metric_name(name, _CATEGORIES[target_type])
        except Invalid as invalid:
            # A metric of traces may be one of the project, which is looked up.
            kind = PostponedError if target_type is TargetType.TRACE else FieldError
            message = invalid.errors[0].message
            yield kind(f"metrics.{index}", message, is_semantic=True)
    if isinstance(filters, Raw):
        errors = FieldErrors()
        with suppress(Invalid):  # as many errors as one response contains
            _selection(target_type, filters, errors)
        for error in errors.found:
            yield replace(error, field=f"filters.{error.field}".rstrip("."))
    if isinstance(signal_weights, dict) and signal_weights and target_type is TargetType.TRACE:
        yield FieldError("signal_weights", _SESSIONS_ONLY, is_semantic=True)


def _selection(target_type: TargetType, filters: Raw, errors: FieldErrors) -> Selection:
    """The selection by `filters`; one without conditions after `errors` were added."""
    text = bytes(filters)
    body = _FILTERS[target_type]
    selection = body.parse_part(b"{}" if text == NULL else text, _CONFIG, errors)
    return body.parse_fast(b"{}", _CONFIG) if selection is None else selection


def _filters_as_given(monitor: Monitor) -> Raw:
    return raw_json(filters_as_given(monitor.selection, monitor.signal_weights))


class MonitorResponse(ResponseStruct[Monitor], frozen=True, kw_only=True):
    """A monitor, with the times of its last and next run. `model` is as it was given.

    `empty_slots` is the number of slots in a row that found no targets. It is 0 again after a run,
    and when the filters change.
    """

    id: UUID
    project_id: UUID
    name: str
    target_type: TargetType
    metric_names: Annotated[list[str], Source("metrics")]
    filters: Annotated[JsonObject, Source(WHOLE, _filters_as_given)]
    sampling_rate: float
    model: str | None
    votes: int
    max_cost_usd: Usd | None
    cadence: str
    only_if_changed: bool
    settled_only: bool
    status: MonitorStatus
    last_run_at: ResponseInstant | None
    last_run_id: UUID | None
    next_run_at: ResponseInstant | None
    empty_slots: int
    created_at: ResponseInstant
    updated_at: ResponseInstant


class ChangedMonitorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A changed monitor, for a caller that may not read: its ids, and what the caller wrote.

    The other fields are null or empty, whatever is stored.
    """

    id: UUID
    project_id: UUID
    name: str | None = None
    target_type: TargetType | None = None
    metric_names: list[str] = []
    filters: JsonObject = msgspec.field(default_factory=empty_object)
    sampling_rate: float | None = None
    model: str | None = None
    votes: int | None = None
    max_cost_usd: Usd | None = None
    cadence: str | None = None
    only_if_changed: bool | None = None
    settled_only: bool | None = None
    status: MonitorStatus | None = None
    last_run_at: ResponseInstant | None = None
    last_run_id: UUID | None = None
    next_run_at: ResponseInstant | None = None
    empty_slots: int | None = None
    created_at: ResponseInstant | None = None
    updated_at: ResponseInstant | None = None

    @classmethod
    def from_request(
        cls, project: ProjectId, monitor: MonitorId, content: UpdateMonitorRequest
    ) -> Self:
        sent = {
            field: value
            for field, value in msgspec.structs.asdict(content).items()
            if value is not UNSET
        }
        sent.pop("signal_weights", None)  # no field of a response
        filters = sent.pop("filters", NULL)
        return cls(
            id=monitor,
            project_id=project,
            metric_names=sent.pop("metrics", None) or [],
            filters=empty_object() if bytes(filters) == NULL else filters,
            **sent,
        )
