"""Alerts of monitors and of projects, the changes of their state, and previews."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import UNSET, Meta, UnsetType

from application.evaluation.ports.alerts import PREVIEW_RUNS
from application.use_cases import UseCases
from domain.errors import Invalid
from domain.evaluation.alerts.alert import (
    IN_A_ROW_MAX,
    SAMPLES_MIN,
    SAMPLES_MIN_MAX,
    Alert,
    AlertChange,
    AlertFigure,
    AlertRule,
    AlertRuleChange,
    AlertState,
    PreviewedRun,
)
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.page import SortOrder
from domain.tracing.change import UNCHANGED, given_fields
from entrypoints.http.authentication import CAN_EVALUATE, CAN_EVALUATE_AND_READ, CAN_READ
from entrypoints.http.controllers.alerts import examples
from entrypoints.http.controllers.monitors.schemas import MonitorPath
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, patch, post
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.wire_types import PaginatedResponse, ResponseInstant
from entrypoints.http.response_structs import ResponseStruct, Source

METRIC_CHARS_MAX: Final = 255

type Threshold = Annotated[float, Meta(ge=0, le=1)]
type RunsInARow = Annotated[int, Meta(ge=1, le=IN_A_ROW_MAX)]


class AlertPath(MonitorPath, frozen=True):
    alert_id: Annotated[UUID, Meta(description="The alert's id", examples=[examples.ALERT_ID])]


class CreateAlertRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule for the runs of a monitor. `clear_at` defaults to `threshold`."""

    metric: Annotated[
        str,
        Meta(min_length=1, max_length=METRIC_CHARS_MAX, description="One of the monitor's metrics"),
    ]
    figure: AlertFigure
    threshold: Threshold | None = None
    clear_at: Threshold | None = None
    samples_min: Annotated[int, Meta(ge=1, le=SAMPLES_MIN_MAX)] = SAMPLES_MIN
    breaches: RunsInARow = 1
    recoveries: RunsInARow = 1

    def to_domain(self) -> AlertRule:
        """Raises Invalid."""
        if self.threshold is None and self.figure is not AlertFigure.NO_DATA:
            raise Invalid.field("threshold", "must be a number from 0 to 1")
        threshold = self.threshold or 0.0
        clear_at = threshold if self.clear_at is None else self.clear_at
        fields = msgspec.structs.asdict(self) | {"threshold": threshold, "clear_at": clear_at}
        return AlertRule(**fields)


class UpdateAlertRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New numbers of an alert; null in `clear_at` makes it equal to the threshold.

    A `clear_at` that equals the threshold follows a new one, unless it is given.
    """

    threshold: Threshold | UnsetType = UNSET
    clear_at: Threshold | UnsetType | None = UNSET
    samples_min: Annotated[int, Meta(ge=1, le=SAMPLES_MIN_MAX)] | UnsetType = UNSET
    breaches: RunsInARow | UnsetType = UNSET
    recoveries: RunsInARow | UnsetType = UNSET

    def to_domain(self) -> AlertRuleChange:
        given = msgspec.structs.asdict(self).items()
        return AlertRuleChange(
            **{name: UNCHANGED if value is UNSET else value for name, value in given}
        )


class AlertResponse(ResponseStruct[Alert], frozen=True, kw_only=True):
    """An alert and its state. `value` is the figure of the last evaluated run."""

    id: UUID
    project_id: UUID
    monitor_id: UUID
    metric: Annotated[str, Source("rule.metric")]
    figure: Annotated[AlertFigure, Source("rule.figure")]
    threshold: Annotated[float, Source("rule.threshold")]
    clear_at: Annotated[float, Source("rule.clear_at")]
    samples_min: Annotated[int, Source("rule.samples_min")]
    breaches: Annotated[int, Source("rule.breaches")]
    recoveries: Annotated[int, Source("rule.recoveries")]
    state: Annotated[AlertState, Source("watch.state")]
    since: Annotated[ResponseInstant, Source("watch.since")]
    value: Annotated[float | None, Source("watch.value")]
    created_at: ResponseInstant


class AlertChangeResponse(ResponseStruct[AlertChange], frozen=True, kw_only=True):
    """A change of an alert's state, and the run that caused it; `value` is the run's figure.

    `scored`, `failed` and `skipped` count the evaluations of the metric in the run; null without
    a run.
    """

    id: UUID
    monitor_id: UUID
    alert_id: UUID
    run_id: UUID | None
    before: AlertState
    state: Annotated[AlertState, Source("after")]
    value: float | None
    scored: int | None
    failed: int | None
    skipped: int | None
    at: ResponseInstant


class PreviewedRunItem(ResponseStruct[PreviewedRun], frozen=True, kw_only=True):
    """A run of a monitor, and the state that the alert would have had after it.

    `value` is null if the run has fewer scores than `samples_min`; `mean` is null without scores.
    """

    run_id: Annotated[UUID, Source("run.run")]
    completed_at: Annotated[ResponseInstant, Source("run.completed_at")]
    scored: Annotated[int, Source("run.stats.scored")]
    passed: Annotated[int, Source("run.stats.passed")]
    failed: Annotated[int, Source("run.stats.failed")]
    skipped: Annotated[int, Source("run.stats.skipped")]
    mean: Annotated[float | None, Source("run.stats", lambda one: one.mean if one.scored else None)]
    value: float | None
    before: AlertState
    state: Annotated[AlertState, Source("after")]


class AlertsQuery(PageQuery, frozen=True, kw_only=True):
    state: Annotated[AlertState, Meta(description="Only alerts in this state")] | None = None


class AlertChangesQuery(PageQuery, frozen=True, kw_only=True):
    state: Annotated[AlertState, Meta(description="Only changes to this state")] | None = None


ALERTS: Final = PagedList("alerts", {None: INSTANT}, ID)
PROJECT_CHANGES: Final = PagedList("changes of alerts of a project", {None: INSTANT}, ID)
CHANGES: Final = PagedList("changes of alerts", {None: INSTANT}, ID)


class AlertController(Controller):
    path = "/evaluations/monitors/{monitor_id:str}"

    @post("/alerts", CAN_EVALUATE, example=examples.ALERT, body_example=examples.ALERT_REQUEST)
    async def create_alert(
        self,
        caller: Caller,
        content: CreateAlertRequest,
        path: MonitorPath,
        new_id: UUID,
        use_cases: UseCases,
    ) -> AlertResponse:
        """Create an alert.

        Evaluates one figure of one metric for each run of a monitor that ends from now on. The
        alert is ALERTING after `breaches` runs in a row beyond `threshold`, and OK again after
        `recoveries` runs in a row at `clear_at` or better. It is NO_DATA after a run with fewer
        than `samples_min` scores, until a run with enough scores isn't bad, or `breaches` runs in a
        row are. Every webhook of the project is notified of each change. The figure `no_data` takes
        no threshold: it alerts if a run has fewer than `samples_min` scores.
        """
        project, monitor = caller.project_id, path.monitor_id
        rule, create = content.to_domain(), use_cases.evaluation.alerting.create_alert
        audit = use_cases.audit.entry(
            caller, AuditAction.ALERT_CREATED, new_id, monitor_id=monitor, metric=rule.metric
        )
        return AlertResponse.from_domain(await create(project, monitor, new_id, rule, audit=audit))

    @get("/alerts", CAN_READ, example=[examples.ALERT])
    async def list_alerts(
        self, caller: Caller, path: MonitorPath, use_cases: UseCases
    ) -> list[AlertResponse]:
        """List the alerts of a monitor.

        All alerts of the monitor with their states, the oldest first.
        """
        project, monitor = caller.project_id, path.monitor_id
        alerts = await use_cases.evaluation.alerting.alerts.by_monitor(project, monitor)
        return [AlertResponse.from_domain(alert) for alert in alerts]

    @patch(
        "/alerts/{alert_id:str}",
        CAN_EVALUATE_AND_READ,
        example=examples.ALERT | {"threshold": 0.6},
        body_example={"threshold": 0.6},
    )
    async def change_alert(
        self, caller: Caller, content: UpdateAlertRequest, path: AlertPath, use_cases: UseCases
    ) -> AlertResponse:
        """Change an alert.

        Keys that are left out stay as they are. The alert keeps its state until the next run, and
        counts runs in a row from 0 again. `metric` and `figure` can't change,
        because the history of the alert is about them: create another alert instead.
        """
        project, monitor, change = caller.project_id, path.monitor_id, content.to_domain()
        audit = use_cases.audit.entry(
            caller,
            AuditAction.ALERT_CHANGED,
            path.alert_id,
            monitor_id=monitor,
            fields=" ".join(given_fields(change)),
        )
        alert = await use_cases.evaluation.alerting.change_alert(
            project, monitor, path.alert_id, change, audit=audit
        )
        return AlertResponse.from_domain(alert)

    @post(
        "/alerts/preview",
        CAN_READ,
        status_code=200,
        description=(
            "What an alert with these settings would have said over the last "
            f"{PREVIEW_RUNS} finished runs of the monitor, the earliest first. It starts with the "
            "state OK, and is evaluated as alerts are; scheduled times without a run are left out. "
            "Nothing is stored, and no webhook is notified."
        ),
        example=[examples.PREVIEWED_RUN],
        body_example=examples.ALERT_REQUEST,
    )
    async def preview_alert(
        self, caller: Caller, content: CreateAlertRequest, path: MonitorPath, use_cases: UseCases
    ) -> list[PreviewedRunItem]:
        """Preview an alert."""
        rule, preview = content.to_domain(), use_cases.evaluation.alerting.preview_alert
        runs = await preview(caller.project_id, path.monitor_id, rule)
        return [PreviewedRunItem.from_domain(one) for one in runs]

    @delete("/alerts/{alert_id:str}", CAN_EVALUATE)
    async def delete_alert(self, caller: Caller, path: AlertPath, use_cases: UseCases) -> None:
        """Delete an alert.

        Deletes the alert with its changes. Pending webhook deliveries are still sent.
        """
        project, monitor = caller.project_id, path.monitor_id
        audit = use_cases.audit.entry(
            caller, AuditAction.ALERT_DELETED, path.alert_id, monitor_id=monitor
        )
        await use_cases.evaluation.alerting.delete_alert(
            project, monitor, path.alert_id, audit=audit
        )

    @get("/alert-changes", CAN_READ, example=page_of(examples.ALERT_CHANGE))
    async def list_changes(
        self, caller: Caller, path: MonitorPath, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[AlertChangeResponse]:
        """List the changes of a monitor's alerts.

        A page of the state changes of all its alerts, the newest first.
        """
        project, monitor = caller.project_id, path.monitor_id
        requested = CHANGES.parse_page(params, project, monitor, None, SortOrder.DESC)
        page = await use_cases.evaluation.alerting.alerts.changes(project, monitor, requested.page)
        return requested.respond(page, AlertChangeResponse.from_domain)


class ProjectAlertController(Controller):
    path = "/evaluations"

    @get("/alerts", CAN_READ, example=page_of(examples.ALERT))
    async def list_project_alerts(
        self, caller: Caller, params: AlertsQuery, use_cases: UseCases
    ) -> PaginatedResponse[AlertResponse]:
        """List the alerts of a project.

        A page of the alerts of all monitors, the newest first.
        """
        project, state = caller.project_id, params.state
        requested = ALERTS.parse_page(params, project, state, None, SortOrder.DESC)
        page = await use_cases.evaluation.alerting.alerts.page(project, state, requested.page)
        return requested.respond(page, AlertResponse.from_domain)

    @get("/alert-changes", CAN_READ, example=page_of(examples.ALERT_CHANGE))
    async def list_project_changes(
        self, caller: Caller, params: AlertChangesQuery, use_cases: UseCases
    ) -> PaginatedResponse[AlertChangeResponse]:
        """List the changes of a project's alerts.

        A page of the state changes of all alerts of all monitors, the newest first.
        """
        project, state = caller.project_id, params.state
        requested = PROJECT_CHANGES.parse_page(params, project, state, None, SortOrder.DESC)
        alerts = use_cases.evaluation.alerting.alerts
        page = await alerts.changes_of_project(project, state, requested.page)
        return requested.respond(page, AlertChangeResponse.from_domain)
