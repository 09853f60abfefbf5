"""Alerts of monitors: what is watched, and what turned."""

from typing import Final
from uuid import UUID

from litestar import Controller, delete, get, post

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
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
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

CHANGES: Final = PagedList("changes of alerts", {None: INSTANT}, ID)

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create an alert",
    description=(
        "Watches one figure of one metric over the runs of a monitor that end from now "
        "on. It is ALERTING after `breaches` runs in a row beyond `threshold`, and OK "
        "again after `recoveries` at `clear_at` or better; NO_DATA where a run has fewer "
        "than `samples_min` scores. Every webhook of the project is told of each change. "
        "`no_data` takes no threshold: it alerts where there are fewer scores than that."
    ),
    example=examples.ALERT,
    body_example=examples.ALERT_ORDER,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the alerts of a monitor",
    description="All of them, the oldest first, and how they stand.",
    example=[examples.ALERT],
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete an alert",
    description="With its changes. What webhooks are to be told already, they are.",
)

LIST_CHANGES: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the changes of a monitor's alerts",
    description="A page of when alerts turned, and in which runs, the newest first.",
    example=page_of(examples.CHANGE),
)


class AlertController(Controller):
    path = "/evaluations/monitors/{monitor_id:str}"

    @post("/alerts", status_code=201, **CREATE)
    async def create_alert(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[CreateAlertRequest],
        path: Injected[MonitorPath],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[AlertResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        rule, create = content.rule(), use_cases.evaluation.alerts.create

        async def write(new: UUID) -> AlertResponse:
            return AlertResponse.of(await create(project, monitor, new, rule))

        return await respond_once(request, caller, key, 201, write)

    @get("/alerts", **LIST)
    async def list_alerts(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        use_cases: Injected[UseCases],
    ) -> list[AlertResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        found = await use_cases.evaluation.alerts.list(project, monitor)
        return [AlertResponse.of(one) for one in found]

    @delete("/alerts/{alert_id:str}", status_code=204, **DELETE)
    async def delete_alert(
        self,
        caller: Injected[Caller],
        path: Injected[AlertPath],
        use_cases: Injected[UseCases],
    ) -> None:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        await use_cases.evaluation.alerts.delete(project, monitor, path.alert_id)

    @get("/alert-changes", **LIST_CHANGES)
    async def list_changes(
        self,
        caller: Injected[Caller],
        path: Injected[MonitorPath],
        params: Injected[PageQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[AlertChangeResponse]:
        project, monitor = caller.project_id, MonitorId(path.monitor_id)
        pages = CHANGES.asked(params, project, monitor, None, SortOrder.DESC)
        found = await use_cases.evaluation.alerts.list_changes(project, monitor, pages.window)
        return pages.shown(found, [AlertChangeResponse.of(one) for one in found.items])
