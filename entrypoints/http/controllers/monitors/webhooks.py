"""Webhooks: who is told of alerts, and what they were told."""

from typing import Final
from uuid import UUID

from litestar import Controller, Response, delete, get, post

from domain.identity.api_key import Scope
from domain.page import SortOrder
from entrypoints.http.authentication import data_plane
from entrypoints.http.controllers.monitors import alert_examples as examples
from entrypoints.http.controllers.monitors.alert_schemas import (
    CreateWebhookRequest,
    DeliveryResponse,
    WebhookCreatedResponse,
    WebhookPath,
    WebhookResponse,
)
from entrypoints.http.controllers.runs.shared import use_cases
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, answer_once, operation
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import PaginatedResponse

DELIVERIES: Final = PagedList("deliveries of a webhook", {None: INSTANT}, ID)

CREATE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Create a webhook",
        description=(
            "Is told of every change of an alert in the project, by POST, with the headers and "
            "the signature of Standard Webhooks. The answer shows the secret, which nothing shows "
            "again. The URL must lead to the Internet, over https."
        ),
        answer=WebhookCreatedResponse,
        example=examples.WEBHOOK_CREATED,
        body_example=examples.WEBHOOK_ORDER,
        is_once=True,
    ),
).with_body(Body(CreateWebhookRequest, lambda wire, _: wire))

LIST: Final = operation(
    data_plane(Scope.READ),
    Documented(
        summary="List webhooks",
        description="All of the project, the oldest first.",
        answer=list[WebhookResponse],
        example=[examples.WEBHOOK],
    ),
)

DELETE: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Delete a webhook",
        description="With its deliveries: what it wasn't told yet, it never is.",
        answer=None,
    ),
).with_path(WebhookPath)

TEST: Final = operation(
    data_plane(Scope.EVALUATE),
    Documented(
        summary="Test a webhook",
        description=(
            "A message of the type `webhook.test`, which is sent as any other: how that went is "
            "among the deliveries soon."
        ),
        answer=DeliveryResponse,
        example=examples.TEST_DELIVERY,
        is_once=True,
    ),
).with_path(WebhookPath)

LIST_DELIVERIES: Final = (
    operation(
        data_plane(Scope.READ),
        Documented(
            summary="List the deliveries of a webhook",
            description=(
                "A page of what it was sent and how that went, the newest first. What fails is "
                "tried ten times within a day."
            ),
            answer=PaginatedResponse[DeliveryResponse],
            example=page_of(examples.DELIVERY),
        ),
    )
    .with_path(WebhookPath)
    .with_query(PageQuery)
)


class WebhookController(Controller):
    path = "/evaluations/webhooks"

    @post("/", status_code=201, opt=CREATE.opt)
    async def create_webhook(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        project, create = given.caller.project_id, use_cases(request).alerts.create_webhook

        async def write(new: UUID) -> WebhookCreatedResponse:
            return WebhookCreatedResponse.of(await create(project, new, given.body.url))

        return await answer_once(request, given, 201, write)

    @get("/", opt=LIST.opt)
    async def list_webhooks(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await use_cases(request).alerts.list_webhooks(given.caller.project_id)
        return await answer(request, [WebhookResponse.of(one) for one in found])

    @delete("/{webhook_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_webhook(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        project, webhook = given.caller.project_id, given.path.webhook_id
        await use_cases(request).alerts.delete_webhook(project, webhook)

    @post("/{webhook_id:str}/test", status_code=202, opt=TEST.opt)
    async def test_webhook(self, request: HttpRequest) -> Response[bytes]:
        given = await TEST.read(request)
        project, webhook = given.caller.project_id, given.path.webhook_id
        send = use_cases(request).alerts.send_test_message

        async def write(new: UUID) -> DeliveryResponse:
            return DeliveryResponse.of(await send(project, webhook, new))

        return await answer_once(request, given, 202, write)

    @get("/{webhook_id:str}/deliveries", opt=LIST_DELIVERIES.opt)
    async def list_deliveries(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST_DELIVERIES.read(request)
        project, webhook = given.caller.project_id, given.path.webhook_id
        pages = DELIVERIES.asked(given.query, project, webhook, None, SortOrder.DESC)
        found = await use_cases(request).alerts.list_deliveries(project, webhook, pages.window)
        shown = pages.shown(found, [DeliveryResponse.of(one) for one in found.items])
        return await answer(request, shown)
