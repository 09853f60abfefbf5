"""Webhooks that are notified of alerts, and their deliveries."""

from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import Meta

from application.use_cases import UseCases
from domain.evaluation.alerts.webhook import (
    URL_MAX,
    Delivery,
    Webhook,
    WebhookFormat,
    format_secret,
    validate_url,
)
from domain.identity.api_key import Scope
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.page import SortOrder
from entrypoints.http.authentication import CAN_EVALUATE, CAN_READ
from entrypoints.http.config import HttpConfig
from entrypoints.http.controllers.alerts import examples
from entrypoints.http.controllers.traces.examples import page_of
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery
from entrypoints.http.requests.json_body import Body
from entrypoints.http.requests.wire_types import JsonObject, PaginatedResponse, ResponseInstant
from entrypoints.http.response_structs import WHOLE, ResponseStruct, Source


class WebhookPath(msgspec.Struct, frozen=True):
    webhook_id: Annotated[
        UUID, Meta(description="The webhook's id", examples=[examples.WEBHOOK_ID])
    ]


class CreateWebhookRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A URL that is notified of every state change of an alert in the project."""

    url: Annotated[
        str, Meta(min_length=1, max_length=URL_MAX, description="Begins with `https://`")
    ]
    format: Annotated[
        WebhookFormat,
        Meta(
            description="What the receiver takes: the whole message (`standard`), or its text as "
            "Slack, Discord or Teams show it"
        ),
    ] = WebhookFormat.STANDARD

    def checked(self, config: HttpConfig) -> Self:
        """Itself. Raises Invalid for a URL that isn't allowed, before a project is created."""
        validate_url(self.url, allow_private=config.private_webhooks)
        return self


NewWebhook = Annotated[
    CreateWebhookRequest, Body(CreateWebhookRequest, CreateWebhookRequest.checked)
]


class WebhookResponse(ResponseStruct[Webhook], frozen=True, kw_only=True):
    id: UUID
    project_id: UUID
    url: str
    format: WebhookFormat
    created_at: ResponseInstant


class WebhookCreatedResponse(ResponseStruct[Webhook], frozen=True, kw_only=True):
    """`secret` signs the messages. No other response contains it."""

    id: UUID
    project_id: UUID
    url: str
    format: WebhookFormat
    secret: Annotated[str, Source("secret", format_secret)]
    created_at: ResponseInstant


class DeliveryStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"

    @classmethod
    def from_domain(cls, delivery: Delivery) -> Self:
        if delivery.delivered_at is not None:
            return cls("DELIVERED")
        return cls("FAILED" if delivery.next_attempt_at is None else "PENDING")


class DeliveryResponse(ResponseStruct[Delivery], frozen=True, kw_only=True):
    """A message and its delivery: `http_status` or `error` are those of the last attempt."""

    id: UUID
    webhook_id: UUID
    change_id: UUID | None
    message: Annotated[JsonObject, Source("body")]
    status: Annotated[DeliveryStatus, Source(WHOLE, DeliveryStatus.from_domain)]
    attempts: int
    http_status: Annotated[int | None, Source("status")]
    error: str | None
    next_attempt_at: ResponseInstant | None
    delivered_at: ResponseInstant | None
    created_at: ResponseInstant


DELIVERIES: Final = PagedList("deliveries of a webhook", {None: INSTANT}, ID)


class WebhookController(Controller):
    path = "/evaluations/webhooks"

    @post(
        "/",
        CAN_EVALUATE,
        example=examples.WEBHOOK_CREATED,
        body_example=examples.WEBHOOK_REQUEST,
        has_secret=True,
    )
    async def create_webhook(
        self, caller: Caller, content: NewWebhook, new_id: UUID, use_cases: UseCases
    ) -> WebhookCreatedResponse:
        """Create a webhook.

        Every state change of an alert in the project is sent to the URL by POST, with the headers
        and the signature of Standard Webhooks. The response contains the secret; no other response
        does, so a repeat with the same Idempotency-Key is answered with 409. The URL must be an
        https URL of a public address.
        """
        audit = use_cases.audit.entry(caller, AuditAction.WEBHOOK_CREATED, new_id)
        return WebhookCreatedResponse.from_domain(
            await use_cases.evaluation.alerting.create_webhook(
                caller.project_id, new_id, content.url, content.format, audit=audit
            )
        )

    @get("/", CAN_READ, example=[examples.WEBHOOK])
    async def list_webhooks(self, caller: Caller, use_cases: UseCases) -> list[WebhookResponse]:
        """List webhooks.

        All webhooks of the project, the oldest first. Without the scope `evaluate`, `url` shows
        only the host and the last characters, because a URL of Slack, Discord or Teams is enough to
        post messages.
        """
        webhooks = await use_cases.evaluation.alerting.webhooks.all(caller.project_id)
        is_whole = Scope.EVALUATE in caller.scopes
        shown = webhooks if is_whole else [webhook.masked() for webhook in webhooks]
        return [WebhookResponse.from_domain(webhook) for webhook in shown]

    @delete("/{webhook_id:str}", CAN_EVALUATE)
    async def delete_webhook(self, caller: Caller, path: WebhookPath, use_cases: UseCases) -> None:
        """Delete a webhook.

        Deletes the webhook and its deliveries. Pending deliveries are not sent.
        """
        audit = use_cases.audit.entry(caller, AuditAction.WEBHOOK_DELETED, path.webhook_id)
        await use_cases.evaluation.alerting.delete_webhook(
            caller.project_id, path.webhook_id, audit=audit
        )

    @post("/{webhook_id:str}/test", CAN_EVALUATE, status_code=202, example=examples.TEST_DELIVERY)
    async def test_webhook(
        self, caller: Caller, path: WebhookPath, new_id: UUID, use_cases: UseCases
    ) -> DeliveryResponse:
        """Test a webhook.

        Sends a message of the type `webhook.test`, in the same way as any other message. Its result
        appears among the deliveries.
        """
        delivery = await use_cases.evaluation.alerting.send_test_message(
            caller.project_id, path.webhook_id, new_id
        )
        return DeliveryResponse.from_domain(delivery)

    @get("/{webhook_id:str}/deliveries", CAN_READ, example=page_of(examples.DELIVERY))
    async def list_deliveries(
        self, caller: Caller, path: WebhookPath, params: PageQuery, use_cases: UseCases
    ) -> PaginatedResponse[DeliveryResponse]:
        """List the deliveries of a webhook.

        A page of the messages and their results, the newest first. A failed delivery is attempted
        ten times within a day.
        """
        project, webhook = caller.project_id, path.webhook_id
        requested = DELIVERIES.parse_page(params, project, webhook, None, SortOrder.DESC)
        page = await use_cases.evaluation.alerting.webhooks.deliveries(
            project, webhook, requested.page
        )
        return requested.respond(page, DeliveryResponse.from_domain)
