"""Alerts of monitors: what is watched, and what turned."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, post

from domain.identity.api_key import Scope
from domain.ids import MonitorId
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.monitors import alert_examples as examples
from entrypoints.http.controllers.monitors.alert_schemas import (
    AlertChangeResponse,
    AlertPath,
    AlertResponse,
    CreateAlertRequest,
)
from entrypoints.http.controllers.monitors.schemas import MonitorPath
from entrypoints.http.controllers.runs.shared import use_cases
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, operation
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

CHANGES: Final = PagedList("changes of alerts", {None: INSTANT}, ID)

CREATE: Final = (
    operation(
        data_plane(Scope.EVALUATE),
        Documented(
            summary="Create an alert",
            description=(
                "Watches one figure of one metric over the runs of a monitor that end from now "
                "on. It is ALERTING after `breaches` runs in a row beyond `threshold`, and OK "
                "again after `recoveries` at `clear_at` or better; NO_DATA where a run has fewer "
                "than `samples_min` scores. Every webhook of the project is told of each change. "
                "`no_data` takes no threshold: it alerts where there are fewer scores than that."
            ),
            answer=AlertResponse,
            example=examples.ALERT,
            body_example=examples.ALERT_ORDER,
            is_once=True,
        ),
    )
    .with_path(MonitorPath)
    .with_body(Body(CreateAlertRequest, lambda wire, _: wire))
)

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List the alerts of a monitor",
        description="All of them, the oldest first, and how they stand.",
        answer=list[AlertResponse],
        example=[examples.ALERT],
    ),
).with_path(MonitorPath)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Delete an alert",
        description="With its changes. What webhooks are to be told already, they are.",
        answer=None,
    ),
).with_path(AlertPath)

LIST_CHANGES: Final = (
    operation(
        data_plane(Scope.READ),
        Documented(
            summary="List the changes of a monitor's alerts",
            description="A page of when alerts turned, and in which runs, the newest first.",
            answer=PaginatedResponse[AlertChangeResponse],
            example=page_of(examples.CHANGE),
        ),
    )
    .with_path(MonitorPath)
    .with_query(PageQuery)
)


class AlertController(Controller):
    path = "/evaluations/monitors/{monitor_id:str}"

    @post("/alerts", status_code=201, opt=CREATE.opt)
    async def create_alert(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        rule, create = given.body.rule(), use_cases(request).alerts.create

        async def write(new: UUID) -> AlertResponse:
            return AlertResponse.of(await create(project, monitor, new, rule))

        return await answer_once(request, given, 201, write)

    @get("/alerts", opt=LIST.opt)
    async def list_alerts(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        found = await use_cases(request).alerts.list(project, monitor)
        return await answer(request, [AlertResponse.of(one) for one in found])

    @delete("/alerts/{alert_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_alert(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        await use_cases(request).alerts.delete(project, monitor, given.path.alert_id)

    @get("/alert-changes", opt=LIST_CHANGES.opt)
    async def list_changes(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST_CHANGES.read(request)
        project, monitor = given.caller.project_id, MonitorId(given.path.monitor_id)
        pages = CHANGES.asked(given.query, project, monitor, None, SortOrder.DESC)
        found = await use_cases(request).alerts.list_changes(project, monitor, pages.window)
        shown = pages.shown(found, [AlertChangeResponse.of(one) for one in found.items])
        return await answer(request, shown)
