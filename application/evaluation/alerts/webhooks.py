"""Webhooks: who is told, and telling them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from application.evaluation.alerts.alerts import message
from application.evaluation.ports.alerts import CONCURRENT_DELIVERIES_MAX, Webhooks, WebhookSender
from application.ports import Clock, RandomBytes
from domain.errors import Failure, NotFound
from domain.evaluation.monitors.webhook import (
    SECRET_BYTES,
    Delivery,
    Webhook,
    retry_delay,
    validate_url,
)
from domain.ids import ProjectId
from domain.page import Page, PageRequest

TEST: Final = "webhook.test"
LOOKS_MAX: Final = 1_000  # of one round
LOOK_EVERY_S: Final = 1.0  # while the receivers of earlier messages take their time


@dataclass(frozen=True, slots=True)
class CreateWebhook:
    """`allow_private`: whether it may lead into a private network, and over plain http."""

    webhooks: Webhooks
    allow_private: bool
    random: RandomBytes
    clock: Clock

    async def __call__(self, project: ProjectId, new: UUID, url: str) -> Webhook:
        """The webhook, or the one that has the id `new` already, with its secret.

        Raises Invalid for a URL that may not be sent to, Conflict where there are too many.
        """
        return await self.webhooks.create(
            Webhook(
                id=new,
                project_id=project,
                url=validate_url(url, allow_private=self.allow_private),
                secret=self.random(SECRET_BYTES),
                created_at=self.clock(),
            )
        )


@dataclass(frozen=True, slots=True)
class ListWebhooks:
    webhooks: Webhooks

    async def __call__(self, project: ProjectId) -> Sequence[Webhook]:
        """All of them, by creation."""
        return await self.webhooks.all(project)


@dataclass(frozen=True, slots=True)
class DeleteWebhook:
    webhooks: Webhooks

    async def __call__(self, project: ProjectId, webhook: UUID) -> None:
        """What it wasn't told yet, it never is. Raises NotFound."""
        if not await self.webhooks.delete(project, webhook):
            raise NotFound("Webhook not found")


@dataclass(frozen=True, slots=True)
class SendTestMessage:
    webhooks: Webhooks
    clock: Clock

    async def __call__(self, project: ProjectId, webhook: UUID, new: UUID) -> Delivery:
        """A message that says nothing, to be sent as any other. Raises NotFound."""
        now = self.clock()
        delivery = Delivery(
            id=new,
            project_id=project,
            webhook_id=webhook,
            change_id=None,
            body=message(TEST, now, {"project_id": str(project), "webhook_id": str(webhook)}),
            next_attempt_at=now,
            created_at=now,
        )
        await self.webhooks.enqueue(delivery)
        return delivery


@dataclass(frozen=True, slots=True)
class ListDeliveries:
    webhooks: Webhooks

    async def __call__(
        self, project: ProjectId, webhook: UUID, window: PageRequest
    ) -> Page[Delivery]:
        """Newest first. Raises NotFound."""
        return await self.webhooks.deliveries(project, webhook, window)


@dataclass(frozen=True, slots=True)
class DeliverMessages:
    """Sends what is due, and what becomes due meanwhile, until nothing is.

    At most CONCURRENT_DELIVERIES_MAX at once, and DELIVERIES_PER_WEBHOOK_MAX to one webhook: who is slow keeps
    nobody else waiting. A message is sent once at least; its id tells a receiver that it knows it.
    """

    webhooks: Webhooks
    webhook_sender: WebhookSender
    random: RandomBytes
    clock: Clock

    async def __call__(self) -> int:
        """How many attempts were made. Raises Unavailable, once those under way are over."""
        attempts, failures = 0, list[Failure]()
        under_way = set[asyncio.Task[Failure | None]]()
        try:
            for _ in range(LOOKS_MAX):
                if not failures and len(under_way) < CONCURRENT_DELIVERIES_MAX:
                    room = CONCURRENT_DELIVERIES_MAX - len(under_way)
                    found = await self.webhooks.claim_due(self.clock(), room)
                    under_way |= {asyncio.create_task(self._attempt(*one)) for one in found}
                if not under_way:
                    break
                done, under_way = await asyncio.wait(
                    under_way, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                attempts += len(done)
                failures += [failure for one in done if (failure := one.result()) is not None]
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        if failures:
            raise failures[0]
        return attempts

    async def _attempt(self, delivery: Delivery, webhook: Webhook) -> Failure | None:
        """Sends a message and keeps how that went; why that couldn't be kept."""
        sent = await self.webhook_sender.send(delivery, webhook, self.clock())
        now, attempts = self.clock(), delivery.attempts + 1
        wait = None if sent.is_received else retry_delay(attempts, self.random(1)[0] / 256)
        after = replace(
            delivery,
            attempts=attempts,
            status=sent.status,
            error=sent.error,
            next_attempt_at=None if wait is None else now + wait,
            delivered_at=now if sent.is_received else None,
        )
        try:
            await self.webhooks.record_attempt(after)
        except Failure as failure:
            return failure
        return None
