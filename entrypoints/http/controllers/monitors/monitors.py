"""Monitors: scheduled runs."""

from typing import Annotated, Final
from uuid import UUID

from litestar import Controller, delete, get, patch, post

from application.evaluation.monitors.monitors import MonitorRequest
from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
from domain.ids import MonitorId, RunId
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.monitors import examples
from entrypoints.http.controllers.monitors.schemas import (
    CreateMonitorRequest,
    MonitorPath,
    MonitorQuery,
    MonitorResponse,
    UpdateMonitorRequest,
)
from entrypoints.http.controllers.runs.schemas import EvalRunResponse
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_idempotently

MONITORS: Final = PagedList("monitors", {None: INSTANT}, ID)
RUNS: Final = PagedList("runs of a monitor", {None: INSTANT}, ID)
PAUSED: Final = examples.MONITOR | {"status": "PAUSED", "next_run_at": None}

NewMonitor = Annotated[MonitorRequest, Body(CreateMonitorRequest, CreateMonitorRequest.to_domain)]

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a monitor",
    description=(
        "Starts a run over all matching traces or sessions on the schedule of its `cadence`; the "
        "first run starts at the first scheduled time, not immediately. With `only_if_changed` a "
        "run evaluates what is new or has changed since the last one, and is omitted if nothing "
        "has. Only monitors over sessions take `signal_weights`."
    ),
    example=examples.MONITOR,
    body_example=examples.REQUEST,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List monitors",
    description="A page of the project's monitors, the newest first.",
    example=page_of(examples.MONITOR),
)

READ: Final = endpoint(
    data_plane(Scope.READ),
    summary="Read a monitor",
    description="A monitor, with the times of its last and its next run.",
    example=examples.MONITOR,
)

CHANGE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Change a monitor",
    description=(
        "Keys that are left out stay as they are. Null clears `filters`, `model` and "
        "`signal_weights`, is ignored in `metrics`, and is refused elsewhere. `filters` "
        "replace the old ones, but not the weights. After a change of `cadence` the next run is "
        "scheduled from now on. `target_type` can't change."
    ),
    example=examples.MONITOR | {"cadence": "daily"},
    body_example=examples.CHANGE,
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a monitor",
    description="Deletes the monitor. Its runs and scores stay; the runs have a null `monitor_id`.",
)

PAUSE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Pause a monitor",
    description="No run starts until it is resumed. A paused monitor stays as it is.",
    example=PAUSED,
)

RESUME: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Resume a monitor",
    description="Its next run is scheduled from now on. A monitor in use stays as it is.",
    example=examples.MONITOR,
)

TRIGGER: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Trigger a monitor",
    description=(
        "Starts a run now over everything that matches, changed or not, even if the monitor is "
        "paused; its next run is scheduled from now on. 422 if nothing matches. 409 if another "
        "request changes the monitor at the same time."
    ),
    example=examples.RUN,
    error_types={409: ErrorResponse},
    route_class=RouteClass.MONITOR_TRIGGER,
)

LIST_RUNS: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the runs of a monitor",
    description="A page of its runs, triggered ones included, the newest first.",
    example=page_of(examples.RUN),
)


class MonitorController(Controller):
    path = "/evaluations/monitors"

    @post("/", status_code=201, **CREATE)
    async def create_monitor(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[NewMonitor],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[MonitorResponse]:
        project, create = caller.project_id, use_cases.evaluation.create_monitor

        async def write(id_: UUID) -> MonitorResponse:
            return MonitorResponse.from_domain(await create(project, MonitorId(id_), content))

        return await respond_idempotently(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_monitors(
        self,
        caller: Injected[Caller],
        params: Injected[MonitorQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[MonitorResponse]:
        project, status = caller.project_id, params.status
        requested = MONITORS.parse_page(params, project, status, None, SortOrder.DESC)
        page = await use_cases.evaluation.monitors.page(project, status, requested.page)
        monitors = [MonitorResponse.from_domain(monitor) for monitor in page.items]
        return requested.respond(page, monitors)

    @get("/{monitor_id:str}", **READ)
    async def read_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        read = await use_cases.evaluation.monitors.get(project, monitor)
        return MonitorResponse.from_domain(read)

    @patch("/{monitor_id:str}", **CHANGE)
    async def change_monitor(
        self,
        caller: Injected[Caller],
        content: Injected[UpdateMonitorRequest],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        current = await use_cases.evaluation.monitors.get(project, monitor)
        change = content.to_domain(current.target_type)  # a monitor never changes its target type
        changed = await use_cases.evaluation.change_monitor(project, monitor, change)
        return MonitorResponse.from_domain(changed)

    @delete("/{monitor_id:str}", status_code=204, **DELETE)
    async def delete_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> None:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        await use_cases.evaluation.delete_monitor(project, monitor)

    @post("/{monitor_id:str}/pause", status_code=200, **PAUSE)
    async def pause_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        paused = await use_cases.evaluation.pause_monitor(project, monitor)
        return MonitorResponse.from_domain(paused)

    @post("/{monitor_id:str}/resume", status_code=200, **RESUME)
    async def resume_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        resumed = await use_cases.evaluation.resume_monitor(project, monitor)
        return MonitorResponse.from_domain(resumed)

    @post("/{monitor_id:str}/trigger", status_code=202, **TRIGGER)
    async def trigger_monitor(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[EvalRunResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        trigger = use_cases.evaluation.trigger_monitor

        async def write(id_: UUID) -> EvalRunResponse:
            return EvalRunResponse.from_domain(await trigger(project, monitor, RunId(id_)))

        return await respond_idempotently(request, caller, key, 202, write)

    @get("/{monitor_id:str}/runs", **LIST_RUNS)
    async def runs_of_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        params: Injected[PageQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[EvalRunResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        requested = RUNS.parse_page(params, project, monitor, None, SortOrder.DESC)
        page = await use_cases.evaluation.monitors.runs(project, monitor, requested.page)
        return requested.respond(page, [EvalRunResponse.from_domain(run) for run in page.items])
