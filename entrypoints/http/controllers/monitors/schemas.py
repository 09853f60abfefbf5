"""Monitors on the wire: as they are asked for, changed, and shown.

What their filters and metrics may be is told by what they are about: `target_type`, which a
change doesn't repeat.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from application.evaluation.monitors.monitors import MonitorRequest
from application.evaluation.runs.requests import RunRequest
from domain.errors import FieldError, Invalid
from domain.evaluation.custom_metrics.custom_metric import check_metric_name
from domain.evaluation.metrics.metric import Category
from domain.evaluation.monitors.monitor import (
    NAME_MAX,
    UNCHANGED,
    Monitor,
    MonitorChange,
    MonitorStatus,
    Selection,
)
from domain.evaluation.monitors.schedule import CADENCE_MAX, parse_schedule
from domain.evaluation.runs.run import TargetType
from domain.evaluation.runs.selection import SAMPLING_RATE_DEFAULT, filters_as_given
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.costs.money import (
    RunBudget,
    Votes,
    check_usd,
    check_vote_count,
    optional_usd,
    shown_usd,
)
from entrypoints.http.controllers.monitors.examples import MONITOR_ID
from entrypoints.http.controllers.runs.filters import EvalRunFilters, SessionEvalRunFilters
from entrypoints.http.controllers.runs.schemas import Model, Rate, Weights
from entrypoints.http.problems import Mistakes
from entrypoints.http.requests.cursors import PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.scalar_types import Refused
from entrypoints.http.requests.wire_types import (
    NULL,
    JsonObject,
    OptionalObject,
    ShownInstant,
    empty_object,
    instant,
    optional_instant,
    raw,
)

_CATEGORIES: Final = {TargetType.TRACE: Category.TRACE, TargetType.SESSION: Category.SESSION}
_FILTERS: Final[Mapping[TargetType, Body[Selection]]] = {
    TargetType.TRACE: Body(EvalRunFilters, lambda wire, _: wire.to_domain()),
    TargetType.SESSION: Body(SessionEvalRunFilters, lambda wire, _: wire.to_domain()),
}
_CONFIG: Final = HttpConfig(version="", environment="")  # filters hold nothing that is configured
_OF_TRACES: Final = "are of monitors over sessions only"


def check_cadence(text: str) -> None:
    """Raises Refused."""
    try:
        parse_schedule(text)
    except Invalid as invalid:
        raise Refused(invalid.errors[0].message) from invalid


type MonitorName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
type Metrics = Annotated[
    list[str], Meta(min_length=1, description="Of traces or of sessions, as `target_type` says")
]
type Schedule = Annotated[
    str,
    Meta(
        max_length=CADENCE_MAX,
        extra={"check": check_cadence},
        description=(
            "`every_6h`, `daily`, `weekly`, or `cron:` and five fields in UTC, at least five "
            "minutes apart"
        ),
        examples=["cron:0 6 * * 1"],
    ),
]


class MonitorPath(msgspec.Struct, frozen=True):
    monitor_id: Annotated[UUID, Meta(description="The monitor's id", examples=[MONITOR_ID])]


class MonitorQuery(PageQuery, frozen=True, kw_only=True):
    status: Annotated[MonitorStatus, Meta(description="Exactly this status")] | None = None


class CreateMonitorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A run that begins by itself. `filters` are those of a run over traces, or over sessions."""

    name: MonitorName
    target_type: TargetType
    metrics: Metrics
    filters: OptionalObject = msgspec.field(default_factory=empty_object)
    sampling_rate: Rate = SAMPLING_RATE_DEFAULT
    model: Model | None = None
    cadence: Schedule
    only_if_changed: bool = True
    signal_weights: Weights | None = None
    votes: Votes = 1
    max_cost_usd: RunBudget | None = None

    def __post_init__(self) -> None:
        check_cadence(self.cadence)
        check_vote_count(self.votes)
        check_usd(self.max_cost_usd)
        for _, message in self.across(msgspec.structs.asdict(self)):
            raise ValueError(message)

    @classmethod
    def across(cls, read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Whether metrics, filters and weights are of what the monitor is about."""
        if isinstance(of := read.get("target_type"), TargetType):
            for one in mistakes_of(of, **{name: read.get(name) for name in _ACROSS}):
                yield one.field, one.message

    def to_domain(self, _: HttpConfig) -> MonitorRequest:
        return MonitorRequest(
            name=self.name,
            of=self.target_type,
            run=RunRequest(
                metrics=self.metrics,
                model=self.model,
                sampling_rate=self.sampling_rate,
                signal_weights=self.signal_weights or {},
                votes=self.votes,
                max_cost_usd=optional_usd(self.max_cost_usd),
            ),
            selection=_selection(self.target_type, self.filters, Mistakes()),
            cadence=self.cadence,
            only_if_changed=self.only_if_changed,
        )


class UpdateMonitorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """New values of a monitor. `filters` replace the old ones, and null is no condition."""

    name: MonitorName | UnsetType = UNSET
    metrics: Metrics | UnsetType | None = UNSET
    filters: OptionalObject | UnsetType = UNSET
    sampling_rate: Rate | UnsetType = UNSET
    model: Model | UnsetType | None = UNSET
    cadence: Schedule | UnsetType = UNSET
    only_if_changed: bool | UnsetType = UNSET
    signal_weights: Weights | UnsetType | None = UNSET
    votes: Votes | UnsetType = UNSET
    max_cost_usd: RunBudget | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.cadence is not UNSET:
            check_cadence(self.cadence)
        if self.votes is not UNSET:
            check_vote_count(self.votes)
        if self.max_cost_usd is not UNSET:
            check_usd(self.max_cost_usd)

    def change_of(self, of: TargetType) -> MonitorChange:
        """What it says of a monitor about these. Raises Invalid, with every mistake at once."""
        read = {name: getattr(self, name) for name in _ACROSS}
        if found := list(mistakes_of(of, **read)):
            raise Invalid.fields(found)
        filters, weights, most = self.filters, self.signal_weights, self.max_cost_usd
        return MonitorChange(
            name=UNCHANGED if self.name is UNSET else self.name,
            metrics=tuple(self.metrics) if isinstance(self.metrics, list) else UNCHANGED,
            selection=UNCHANGED if filters is UNSET else _selection(of, filters, Mistakes()),
            sampling_rate=UNCHANGED if self.sampling_rate is UNSET else self.sampling_rate,
            model=UNCHANGED if self.model is UNSET else self.model,
            cadence=UNCHANGED if self.cadence is UNSET else self.cadence,
            only_if_changed=UNCHANGED if self.only_if_changed is UNSET else self.only_if_changed,
            signal_weights=UNCHANGED if weights is UNSET else weights or {},
            votes=UNCHANGED if self.votes is UNSET else self.votes,
            max_cost_usd=UNCHANGED if most is UNSET else optional_usd(most),
        )


_ACROSS: Final = ("metrics", "filters", "signal_weights")


def mistakes_of(
    of: TargetType, metrics: object, filters: object, signal_weights: object
) -> Iterator[FieldError]:
    """What isn't of the kind that a monitor is about; what was left out is no mistake."""
    for place, name in enumerate(metrics if isinstance(metrics, list) else ()):
        try:
            check_metric_name(name, _CATEGORIES[of])
        except Invalid as invalid:
            yield FieldError(f"metrics.{place}", invalid.errors[0].message)
    if isinstance(filters, Raw):
        mistakes = Mistakes()
        with suppress(Invalid):  # as many as one answer holds
            _selection(of, filters, mistakes)
        for one in mistakes.found:
            yield FieldError(f"filters.{one.field}".rstrip("."), one.message)
    if isinstance(signal_weights, dict) and signal_weights and of is TargetType.TRACE:
        yield FieldError("signal_weights", _OF_TRACES)


def _selection(of: TargetType, filters: Raw, mistakes: Mistakes) -> Selection:
    """Of no conditions where `mistakes` were found."""
    text = bytes(filters)
    body = _FILTERS[of]
    found = body.part(b"{}" if text == NULL else text, _CONFIG, mistakes)
    return body.at_once(b"{}", _CONFIG) if found is None else found


class MonitorResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor, when it ran last, and when it runs next. `model` is as it was given."""

    id: UUID
    project_id: UUID
    name: str
    target_type: TargetType
    metric_names: list[str]
    filters: JsonObject
    sampling_rate: float
    model: str | None
    votes: int
    max_cost_usd: float | None
    cadence: str
    only_if_changed: bool
    status: MonitorStatus
    last_run_at: ShownInstant | None
    last_run_id: UUID | None
    next_run_at: ShownInstant | None
    created_at: ShownInstant
    updated_at: ShownInstant

    @classmethod
    def of(cls, monitor: Monitor) -> Self:
        return cls(
            id=monitor.id,
            project_id=monitor.project_id,
            name=monitor.name,
            target_type=monitor.target_type,
            metric_names=list(monitor.metrics),
            filters=raw(filters_as_given(monitor.selection, monitor.signal_weights)),
            sampling_rate=monitor.sampling_rate,
            model=monitor.model,
            votes=monitor.votes,
            max_cost_usd=shown_usd(monitor.max_cost_usd),
            cadence=monitor.cadence,
            only_if_changed=monitor.only_if_changed,
            status=monitor.status,
            last_run_at=optional_instant(monitor.last_run_at),
            last_run_id=monitor.last_run_id,
            next_run_at=optional_instant(monitor.next_run_at),
            created_at=instant(monitor.created_at),
            updated_at=instant(monitor.updated_at),
        )
