"""Monitors: runs that begin by themselves."""

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
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

MONITORS: Final = PagedList("monitors", {None: INSTANT}, ID)
RUNS: Final = PagedList("runs of a monitor", {None: INSTANT}, ID)
PAUSED: Final = examples.MONITOR | {"status": "PAUSED", "next_run_at": None}

NewMonitor = Annotated[MonitorRequest, Body(CreateMonitorRequest, CreateMonitorRequest.to_domain)]

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a monitor",
    description=(
        "Runs over what matches whenever its cadence comes round, the first time then and not "
        "at once. With `only_if_changed` a run is about what is new or has changed since the "
        "last one; where that is nothing there is no run. `signal_weights` are of monitors "
        "over sessions only."
    ),
    example=examples.MONITOR,
    body_example=examples.ORDER,
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
    description="A monitor, when it ran last, and when it runs next.",
    example=examples.MONITOR,
)

CHANGE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Change a monitor",
    description=(
        "Only the keys of the body act. Null clears `filters`, `model` and "
        "`signal_weights`, is ignored in `metrics`, and is refused elsewhere. `filters` "
        "replace the old ones and leave the weights. After a change of `cadence` the next "
        "run counts from now. `target_type` can't change."
    ),
    example=examples.MONITOR | {"cadence": "daily"},
    body_example=examples.CHANGE,
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a monitor",
    description="It doesn't run any more. Its runs and their scores stay, of no monitor then.",
)

PAUSE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Pause a monitor",
    description="It doesn't run until it is resumed; one that is paused stays as it is.",
    example=PAUSED,
)

RESUME: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Resume a monitor",
    description="Its next run counts from now; one that isn't paused stays as it is.",
    example=examples.MONITOR,
)

TRIGGER: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Trigger a monitor",
    description=(
        "Runs it now, over all that matches, changed or not, also while it is paused; its next "
        "run counts from now. 422 where nothing matches. 409 where it is being changed by "
        "others at that moment."
    ),
    example=examples.RUN,
    answers={409: ErrorResponse},
    route_class=RouteClass.MONITOR_TRIGGER,
)

LIST_RUNS: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the runs of a monitor",
    description="A page of what it has run, triggered ones included, the newest first.",
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

        async def write(new: UUID) -> MonitorResponse:
            return MonitorResponse.of(await create(project, MonitorId(new), content))

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_monitors(
        self,
        caller: Injected[Caller],
        params: Injected[MonitorQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[MonitorResponse]:
        query, project = params, caller.project_id
        pages = MONITORS.asked(query, project, query.status, None, SortOrder.DESC)
        found = await use_cases.evaluation.list_monitors(project, query.status, pages.window)
        return pages.shown(found, [MonitorResponse.of(one) for one in found.items])

    @get("/{monitor_id:str}", **READ)
    async def read_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        found = await use_cases.evaluation.read_monitor(project, monitor)
        return MonitorResponse.of(found)

    @patch("/{monitor_id:str}", **CHANGE)
    async def change_monitor(
        self,
        caller: Injected[Caller],
        content: Injected[UpdateMonitorRequest],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        known = await use_cases.evaluation.read_monitor(project, monitor)
        change = content.change_of(known.target_type)  # which never changes
        changed = await use_cases.evaluation.change_monitor(project, monitor, change)
        return MonitorResponse.of(changed)

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
        return MonitorResponse.of(paused)

    @post("/{monitor_id:str}/resume", status_code=200, **RESUME)
    async def resume_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> MonitorResponse:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        resumed = await use_cases.evaluation.resume_monitor(project, monitor)
        return MonitorResponse.of(resumed)

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

        async def write(new: UUID) -> EvalRunResponse:
            return EvalRunResponse.of(await trigger(project, monitor, RunId(new)))

        return await respond_once(request, caller, key, 202, write)

    @get("/{monitor_id:str}/runs", **LIST_RUNS)
    async def runs_of_monitor(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        params: Injected[PageQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[EvalRunResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        pages = RUNS.asked(params, project, monitor, None, SortOrder.DESC)
        found = await use_cases.evaluation.list_monitor_runs(project, monitor, pages.window)
        return pages.shown(found, [EvalRunResponse.of(one) for one in found.items])
