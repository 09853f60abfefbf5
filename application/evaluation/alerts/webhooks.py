"""Webhooks: creating them, and sending their messages."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from application.evaluation.alerts.alerts import message
from application.evaluation.ports.alerts import CONCURRENT_DELIVERIES_MAX, Webhooks, WebhookSender
from application.ports import Clock, RandomBytes
from domain.errors import Failure
from domain.evaluation.alerts.webhook import (
    SECRET_BYTES,
    Delivery,
    Webhook,
    WebhookFormat,
    retry_delay,
    validate_url,
)
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId

TEST_EVENT: Final = "webhook.test"
READS_MAX: Final = 1_000  # of one round
READ_INTERVAL_S: Final = 1.0  # while earlier messages are being sent
FINISH_S: Final = 12.0  # for what is being sent when it is cancelled: more than a sender takes


@dataclass(frozen=True, slots=True)
class CreateWebhook:
    """`allow_private`: whether private networks and plain http are allowed."""

    webhooks: Webhooks
    allow_private: bool
    random: RandomBytes
    clock: Clock

    async def __call__(
        self,
        project: ProjectId,
        new: UUID,
        url: str,
        format_: WebhookFormat = WebhookFormat.STANDARD,
        *,
        audit: AuditEntry | None = None,
    ) -> Webhook:
        """The webhook, or the one that has the id `new` already, with its secret.

        `audit` gets the host of the URL. Raises Invalid for a URL that isn't allowed, Conflict if
        there are too many.
        """
        webhook = Webhook(
            id=new,
            project_id=project,
            url=validate_url(url, allow_private=self.allow_private),
            secret=self.random(SECRET_BYTES),
            created_at=self.clock(),
            format=format_,
        )
        if audit is not None:
            audit = audit.with_detail(host=webhook.host)
        return await self.webhooks.create(webhook, audit=audit)


@dataclass(frozen=True, slots=True)
class SendTestMessage:
    webhooks: Webhooks
    clock: Clock

    async def __call__(self, project: ProjectId, webhook: UUID, new: UUID) -> Delivery:
        """Enqueues a test message, which is sent as any other. Raises NotFound."""
        now = self.clock()
        delivery = Delivery(
            id=new,
            project_id=project,
            webhook_id=webhook,
            change_id=None,
            body=message(
                TEST_EVENT,
                now,
                {"project_id": str(project), "webhook_id": str(webhook)},
                "PandaProbe can send messages to this webhook.",
            ),
            next_attempt_at=now,
            created_at=now,
        )
        await self.webhooks.enqueue(delivery)
        return delivery


@dataclass(frozen=True, slots=True)
class DeliverMessages:
    """Sends due messages, also those that become due meanwhile, until none is left.

    After READS_MAX claims, or if it is cancelled, it only finishes what it is sending: an attempt
    that is cut off is repeated. At most CONCURRENT_DELIVERIES_MAX concurrently, and
    DELIVERIES_PER_WEBHOOK_MAX to one webhook, so a slow receiver delays no other. At-least-once:
    receivers recognise repeats by id.
    """

    webhooks: Webhooks
    webhook_sender: WebhookSender
    random: RandomBytes
    clock: Clock
    finish_s: float = FINISH_S

    async def __call__(self) -> int:
        """The number of attempts. Raises Unavailable, once the running attempts have ended."""
        attempts, reads, failures = 0, 0, list[Failure]()
        running = set[asyncio.Task[Failure | None]]()
        try:
            while True:
                room = CONCURRENT_DELIVERIES_MAX - len(running)
                if room and not failures and reads < READS_MAX:
                    reads += 1
                    try:
                        due = await self.webhooks.claim_due(self.clock(), room)
                    except Failure as unclaimed:  # what is being sent was claimed before
                        failures.append(unclaimed)
                    else:
                        running |= {asyncio.create_task(self._attempt(*one)) for one in due}
                if not running:
                    break
                done, running = await asyncio.wait(
                    running, timeout=READ_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
                )
                attempts += len(done)
                failures += [failure for one in done if (failure := one.result()) is not None]
        finally:
            if running:
                _, running = await asyncio.wait(running, timeout=self.finish_s)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if failures:
            raise failures[0]
        return attempts

    async def _attempt(self, delivery: Delivery, webhook: Webhook) -> Failure | None:
        """Sends a message and stores the result; returns the failure to store it, if any."""
        result = await self.webhook_sender.send(delivery, webhook, self.clock())
        now, attempts = self.clock(), delivery.attempts + 1
        wait = None if result.is_received else retry_delay(attempts, self.random(1)[0] / 256)
        after = replace(
            delivery,
            attempts=attempts,
            status=result.status,
            error=result.error,
            next_attempt_at=None if wait is None else now + wait,
            delivered_at=now if result.is_received else None,
        )
        try:
            await self.webhooks.record_attempt(after)
        except Failure as failure:
            return failure
        return None
