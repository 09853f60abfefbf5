"""Monitors: runs that begin by themselves."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, patch, post

from domain.identity.api_key import Scope
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
from entrypoints.http.controllers.runs.shared import use_cases
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, operation
from entrypoints.http.problems import ErrorResponse
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

MONITORS: Final = PagedList("monitors", {None: INSTANT}, ID)
RUNS: Final = PagedList("runs of a monitor", {None: INSTANT}, ID)
PAUSED: Final = examples.MONITOR | {"status": "PAUSED", "next_run_at": None}

CREATE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Create a monitor",
        description=(
            "Runs over what matches whenever its cadence comes round, the first time then and not "
            "at once. With `only_if_changed` a run is about what is new or has changed since the "
            "last one; where that is nothing there is no run. `signal_weights` are of monitors "
            "over sessions only."
        ),
        answer=MonitorResponse,
        example=examples.MONITOR,
        body_example=examples.ORDER,
        is_once=True,
    ),
).with_body(Body(CreateMonitorRequest, CreateMonitorRequest.to_domain))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List monitors",
        description="A page of the project's monitors, the newest first.",
        answer=PaginatedResponse[MonitorResponse],
        example=page_of(examples.MONITOR),
    ),
).with_query(MonitorQuery)

READ: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="Read a monitor",
        description="A monitor, when it ran last, and when it runs next.",
        answer=MonitorResponse,
        example=examples.MONITOR,
    ),
).with_path(MonitorPath)

CHANGE: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Change a monitor",
            description=(
                "Only the keys of the body act. Null clears `filters`, `model` and "
                "`signal_weights`, is ignored in `metrics`, and is refused elsewhere. `filters` "
                "replace the old ones and leave the weights. After a change of `cadence` the next "
                "run counts from now. `target_type` can't change."
            ),
            answer=MonitorResponse,
            example=examples.MONITOR | {"cadence": "daily"},
            body_example=examples.CHANGE,
        ),
    )
    .with_path(MonitorPath)
    .with_body(Body(UpdateMonitorRequest, lambda wire, _: wire))
)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Delete a monitor",
        description="It doesn't run any more. Its runs and their scores stay, of no monitor then.",
        answer=None,
    ),
).with_path(MonitorPath)

PAUSE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Pause a monitor",
        description="It doesn't run until it is resumed; one that is paused stays as it is.",
        answer=MonitorResponse,
        example=PAUSED,
    ),
).with_path(MonitorPath)

RESUME: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Resume a monitor",
        description="Its next run counts from now; one that isn't paused stays as it is.",
        answer=MonitorResponse,
        example=examples.MONITOR,
    ),
).with_path(MonitorPath)

TRIGGER: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Trigger a monitor",
        description=(
            "Runs it now, over all that matches, changed or not, also while it is paused; its next "
            "run counts from now. 422 where nothing matches. 409 where it is being changed by "
            "others at that moment."
        ),
        answer=EvalRunResponse,
        example=examples.RUN,
        answers={409: ErrorResponse},
        route_class=RouteClass.MONITOR_TRIGGER,
        is_once=True,
    ),
).with_path(MonitorPath)

LIST_RUNS: Final = (
    operation(
        data_plane(Scope.READ),
        Documented(
            summary="List the runs of a monitor",
            description="A page of what it has run, triggered ones included, the newest first.",
            answer=PaginatedResponse[EvalRunResponse],
            example=page_of(examples.RUN),
        ),
    )
    .with_path(MonitorPath)
    .with_query(PageQuery)
)


class MonitorController(Controller):
    path = "/evaluations/monitors"

    @post("/", status_code=201, opt=CREATE.opt)
    async def create_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        project, create = given.caller.project_id, use_cases(request).create_monitor

        async def write(new: UUID) -> MonitorResponse:
            return MonitorResponse.of(await create(project, MonitorId(new), given.body))

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_monitors(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        query, project = given.query, given.caller.project_id
        pages = MONITORS.asked(query, project, query.status, None, SortOrder.DESC)
        found = await use_cases(request).list_monitors(project, query.status, pages.window)
        shown = pages.shown(found, [MonitorResponse.of(one) for one in found.items])
        return await answer(request, shown)

    @get("/{monitor_id:str}", opt=READ.opt)
    async def read_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        found = await use_cases(request).read_monitor(project, monitor)
        return await answer(request, MonitorResponse.of(found))

    @patch("/{monitor_id:str}", opt=CHANGE.opt)
    async def change_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        known = await use_cases(request).read_monitor(project, monitor)
        change = given.body.change_of(known.target_type)  # which never changes
        changed = await use_cases(request).change_monitor(project, monitor, change)
        return await answer(request, MonitorResponse.of(changed))

    @delete("/{monitor_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_monitor(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        await use_cases(request).delete_monitor(project, monitor)

    @post("/{monitor_id:str}/pause", status_code=200, opt=PAUSE.opt)
    async def pause_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await PAUSE.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        paused = await use_cases(request).pause_monitor(project, monitor)
        return await answer(request, MonitorResponse.of(paused))

    @post("/{monitor_id:str}/resume", status_code=200, opt=RESUME.opt)
    async def resume_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await RESUME.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        resumed = await use_cases(request).resume_monitor(project, monitor)
        return await answer(request, MonitorResponse.of(resumed))

    @post("/{monitor_id:str}/trigger", status_code=202, opt=TRIGGER.opt)
    async def trigger_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await TRIGGER.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        trigger = use_cases(request).trigger_monitor

        async def write(new: UUID) -> EvalRunResponse:
            return EvalRunResponse.of(await trigger(project, monitor, RunId(new)))

        return await answer_once(request, given, 202, write)

    @get("/{monitor_id:str}/runs", opt=LIST_RUNS.opt)
    async def runs_of_monitor(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST_RUNS.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        pages = RUNS.asked(given.query, project, monitor, None, SortOrder.DESC)
        found = await use_cases(request).list_monitor_runs(project, monitor, pages.window)
        shown = pages.shown(found, [EvalRunResponse.of(one) for one in found.items])
        return await answer(request, shown)
