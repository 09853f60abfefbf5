"""Monitors: scheduled runs."""

from typing import Annotated, Final

from litestar import Controller

from application.evaluation.monitors.monitors import MonitorRequest
from application.use_cases import UseCases
from domain.evaluation.monitors.monitor import Monitor
from domain.evaluation.monitors.schedule import normalize_cadence
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.ids import MonitorId, RunId
from domain.page import SortOrder
from domain.tracing.change import given_fields
from entrypoints.http.authentication import CAN_EVALUATE, CAN_READ
from entrypoints.http.controllers.monitors import examples
from entrypoints.http.controllers.monitors.schemas import (
    CadenceQuery,
    CadenceResponse,
    ChangedMonitorResponse,
    CreateMonitorRequest,
    MonitorPath,
    MonitorQuery,
    MonitorResponse,
    UpdateMonitorRequest,
)
from entrypoints.http.controllers.runs.schemas import (
    ChangedRunResponse,
    EvalRunResponse,
    respond_run,
)
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, patch, post
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse, format_instant

MONITORS: Final = PagedList("monitors", {None: INSTANT}, ID)
RUNS: Final = PagedList("runs of a monitor", {None: INSTANT}, ID)
PAUSED: Final = examples.MONITOR | {"status": "PAUSED", "next_run_at": None}

NewMonitor = Annotated[MonitorRequest, Body(CreateMonitorRequest, CreateMonitorRequest.to_domain)]


class MonitorController(Controller):
    path = "/evaluations/monitors"

    @post(
        "/",
        CAN_EVALUATE,
        example=examples.MONITOR,
        body_example=examples.REQUEST,
        request_id_is_key=True,
    )
    async def create_monitor(
        self, caller: Caller, content: NewMonitor, new_id: MonitorId, use_cases: UseCases
    ) -> MonitorResponse:
        """Create a monitor.

        Starts a run over all matching traces or sessions on the schedule of its `cadence`; the
        first run starts at the first scheduled time, not immediately. With `only_if_changed` a run
        evaluates what is new or has changed since the last one, and is omitted if nothing has. A
        score doesn't change its trace. Only monitors over sessions take `signal_weights`.
        """
        audit = use_cases.audit.entry(
            caller, AuditAction.MONITOR_CREATED, new_id, name=content.name
        )
        monitor = await use_cases.evaluation.create_monitor(
            caller.project_id, new_id, content, audit=audit
        )
        return MonitorResponse.from_domain(monitor)

    @get("/", CAN_READ, example=page_of(examples.MONITOR))
    async def list_monitors(
        self, caller: Caller, params: MonitorQuery, use_cases: UseCases
    ) -> PaginatedResponse[MonitorResponse]:
        """List monitors.

        A page of the project's monitors, the newest first.
        """
        project, status = caller.project_id, params.status
        requested = MONITORS.parse_page(params, project, status, None, SortOrder.DESC)
        page = await use_cases.evaluation.monitors.page(project, status, requested.page)
        return requested.respond(page, MonitorResponse.from_domain)

    @get("/cadence", CAN_READ, example=examples.CADENCE)
    async def preview_cadence(
        self, caller: Caller, params: CadenceQuery, use_cases: UseCases
    ) -> CadenceResponse:
        """Preview a cadence.

        The next instants at which a monitor with this cadence runs, if it is created now. 422 says
        what is wrong with the cadence.
        """
        slots = use_cases.evaluation.preview_cadence(params.cadence, params.count)
        runs_at = [format_instant(one) for one in slots]
        return CadenceResponse(cadence=normalize_cadence(params.cadence), runs_at=runs_at)

    @get("/{monitor_id:str}", CAN_READ, example=examples.MONITOR)
    async def read_monitor(
        self, caller: Caller, path: MonitorPath, use_cases: UseCases
    ) -> MonitorResponse:
        """Read a monitor.

        A monitor, with the times of its last and its next run.
        """
        monitor = await use_cases.evaluation.monitors.get(caller.project_id, path.monitor_id)
        return MonitorResponse.from_domain(monitor)

    @patch(
        "/{monitor_id:str}",
        CAN_EVALUATE,
        example=examples.MONITOR | {"cadence": "daily"},
        body_example=examples.CHANGE,
    )
    async def change_monitor(
        self, caller: Caller, content: UpdateMonitorRequest, path: MonitorPath, use_cases: UseCases
    ) -> MonitorResponse | ChangedMonitorResponse:
        """Change a monitor.

        Keys that are left out stay as they are. Null clears `filters`, `model` and
        `signal_weights`, is ignored in `metrics`, and is refused elsewhere. `filters` replace the
        old ones, but not the weights. After a change of `cadence` the next run is scheduled from
        now on. `target_type` can't change. A key without the scope `read` gets what it sent, with
        null or empty values in the other fields.
        """
        project, monitor = caller.project_id, path.monitor_id
        current = await use_cases.evaluation.monitors.get(project, monitor)
        change = content.to_domain(current.target_type)  # a monitor never changes its target type
        audit = use_cases.audit.entry(
            caller, AuditAction.MONITOR_CHANGED, monitor, fields=" ".join(given_fields(change))
        )
        changed = await use_cases.evaluation.change_monitor(project, monitor, change, audit=audit)
        if not caller.may_read:
            return ChangedMonitorResponse.from_request(project, monitor, content)
        return MonitorResponse.from_domain(changed)

    @delete("/{monitor_id:str}", CAN_EVALUATE)
    async def delete_monitor(self, caller: Caller, path: MonitorPath, use_cases: UseCases) -> None:
        """Delete a monitor.

        Deletes the monitor. Its runs and scores stay; the runs have a null `monitor_id`.
        """
        audit = use_cases.audit.entry(caller, AuditAction.MONITOR_DELETED, path.monitor_id)
        await use_cases.evaluation.delete_monitor(caller.project_id, path.monitor_id, audit=audit)

    @post("/{monitor_id:str}/pause", CAN_EVALUATE, status_code=200, example=PAUSED)
    async def pause_monitor(
        self, caller: Caller, path: MonitorPath, use_cases: UseCases
    ) -> MonitorResponse | ChangedMonitorResponse:
        """Pause a monitor.

        No run starts until it is resumed. A paused monitor stays as it is. A key without the scope
        `read` gets its ids and its status.
        """
        audit = use_cases.audit.entry(caller, AuditAction.MONITOR_PAUSED, path.monitor_id)
        monitor = await use_cases.evaluation.pause_monitor(
            caller.project_id, path.monitor_id, audit=audit
        )
        return _respond_status(caller, monitor)

    @post("/{monitor_id:str}/resume", CAN_EVALUATE, status_code=200, example=examples.MONITOR)
    async def resume_monitor(
        self, caller: Caller, path: MonitorPath, use_cases: UseCases
    ) -> MonitorResponse | ChangedMonitorResponse:
        """Resume a monitor.

        Its next run is scheduled from now on. A monitor in use stays as it is. A key without the
        scope `read` gets its ids and its status.
        """
        audit = use_cases.audit.entry(caller, AuditAction.MONITOR_RESUMED, path.monitor_id)
        monitor = await use_cases.evaluation.resume_monitor(
            caller.project_id, path.monitor_id, audit=audit
        )
        return _respond_status(caller, monitor)

    @post(
        "/{monitor_id:str}/trigger",
        CAN_EVALUATE,
        status_code=202,
        example=examples.RUN,
        error_types={409: ErrorResponse},
        route_class=RouteClass.MONITOR_TRIGGER,
        request_id_is_key=True,
    )
    async def trigger_monitor(
        self, caller: Caller, path: MonitorPath, new_id: RunId, use_cases: UseCases
    ) -> EvalRunResponse | ChangedRunResponse:
        """Trigger a monitor.

        Starts a run now over everything that matches, changed or not, even if the monitor is
        paused; its next run is scheduled from now on. 422 if nothing matches. 409 if another
        request changes the monitor at the same time. A key without the scope `read` gets the ids
        and the status of the run.
        """
        run = await use_cases.evaluation.trigger_monitor(caller.project_id, path.monitor_id, new_id)
        return respond_run(caller, run)

    @get("/{monitor_id:str}/runs", CAN_READ, example=page_of(examples.RUN))
    async def runs_of_monitor(
        self, caller: Caller, path: MonitorPath, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[EvalRunResponse]:
        """List the runs of a monitor.

        A page of its runs, triggered ones included, the newest first.
        """
        project, monitor = caller.project_id, path.monitor_id
        requested = RUNS.parse_page(params, project, monitor, None, SortOrder.DESC)
        page = await use_cases.evaluation.monitors.runs(project, monitor, requested.page)
        return requested.respond(page, EvalRunResponse.from_domain)


def _respond_status(caller: Caller, monitor: Monitor) -> MonitorResponse | ChangedMonitorResponse:
    if not caller.may_read:
        return ChangedMonitorResponse(
            id=monitor.id, project_id=monitor.project_id, status=monitor.status
        )
    return MonitorResponse.from_domain(monitor)
