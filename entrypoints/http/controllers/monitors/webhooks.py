"""Webhooks: who is told of alerts, and what they were told."""

from typing import Final
from uuid import UUID

from litestar import Controller, delete, get, post

from application.use_cases import UseCases
from domain.identity.api_key import Scope
from domain.identity.caller import Caller
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
from entrypoints.http.controllers.scores.examples import page_of
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.idempotency_key import IdempotencyKey
from entrypoints.http.requests.wire_types import PaginatedResponse
from entrypoints.http.responses import JsonResponse, respond_once

DELIVERIES: Final = PagedList("deliveries of a webhook", {None: INSTANT}, ID)

CREATE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Create a webhook",
    description=(
        "Is told of every change of an alert in the project, by POST, with the headers and "
        "the signature of Standard Webhooks. The answer shows the secret, which nothing shows "
        "again. The URL must lead to the Internet, over https."
    ),
    example=examples.WEBHOOK_CREATED,
    body_example=examples.WEBHOOK_ORDER,
)

LIST: Final = endpoint(
    data_plane(Scope.READ),
    summary="List webhooks",
    description="All of the project, the oldest first.",
    example=[examples.WEBHOOK],
)

DELETE: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Delete a webhook",
    description="With its deliveries: what it wasn't told yet, it never is.",
)

TEST: Final = endpoint(
    data_plane(Scope.EVALUATE),
    summary="Test a webhook",
    description=(
        "A message of the type `webhook.test`, which is sent as any other: how that went is "
        "among the deliveries soon."
    ),
    example=examples.TEST_DELIVERY,
)

LIST_DELIVERIES: Final = endpoint(
    data_plane(Scope.READ),
    summary="List the deliveries of a webhook",
    description=(
        "A page of what it was sent and how that went, the newest first. What fails is "
        "tried ten times within a day."
    ),
    example=page_of(examples.DELIVERY),
)


class WebhookController(Controller):
    path = "/evaluations/webhooks"

    @post("/", status_code=201, **CREATE)
    async def create_webhook(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        content: Injected[CreateWebhookRequest],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[WebhookCreatedResponse]:
        project, create = caller.project_id, use_cases.evaluation.alerts.create_webhook

        async def write(new: UUID) -> WebhookCreatedResponse:
            return WebhookCreatedResponse.of(await create(project, new, content.url))

        return await respond_once(request, caller, key, 201, write)

    @get("/", **LIST)
    async def list_webhooks(
        self,
        caller: Injected[Caller],
        use_cases: Injected[UseCases],
    ) -> list[WebhookResponse]:
        found = await use_cases.evaluation.alerts.list_webhooks(caller.project_id)
        return [WebhookResponse.of(one) for one in found]

    @delete("/{webhook_id:str}", status_code=204, **DELETE)
    async def delete_webhook(
        self,
        caller: Injected[Caller],
        path: Injected[WebhookPath],
        use_cases: Injected[UseCases],
    ) -> None:
        project, webhook = caller.project_id, path.webhook_id
        await use_cases.evaluation.alerts.delete_webhook(project, webhook)

    @post("/{webhook_id:str}/test", status_code=202, **TEST)
    async def test_webhook(
        self,
        request: HttpRequest,
        caller: Injected[Caller],
        path: Injected[WebhookPath],
        key: Injected[IdempotencyKey | None],
        use_cases: Injected[UseCases],
    ) -> JsonResponse[DeliveryResponse]:
        project, webhook = caller.project_id, path.webhook_id
        send = use_cases.evaluation.alerts.send_test_message

        async def write(new: UUID) -> DeliveryResponse:
            return DeliveryResponse.of(await send(project, webhook, new))

        return await respond_once(request, caller, key, 202, write)

    @get("/{webhook_id:str}/deliveries", **LIST_DELIVERIES)
    async def list_deliveries(
        self,
        caller: Injected[Caller],
        path: Injected[WebhookPath],
        params: Injected[PageQuery],
        use_cases: Injected[UseCases],
    ) -> PaginatedResponse[DeliveryResponse]:
        project, webhook = caller.project_id, path.webhook_id
        pages = DELIVERIES.asked(params, project, webhook, None, SortOrder.DESC)
        found = await use_cases.evaluation.alerts.list_deliveries(project, webhook, pages.window)
        return pages.shown(found, [DeliveryResponse.of(one) for one in found.items])
