"""Messages to webhooks that stay in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from application.evaluation.ports.alerts import DeliveryResult
from domain.evaluation.monitors.webhook import Delivery, Webhook

RECEIVED: Final = DeliveryResult(204)


@dataclass(frozen=True, slots=True)
class MemoryWebhookSender:
    """Keeps what was sent, in order. `answers` says how a webhook takes it: well, by default."""

    answers: Callable[[Webhook], DeliveryResult] = lambda _: RECEIVED
    sent: list[tuple[Delivery, Webhook, datetime]] = field(default_factory=list)

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        self.sent.append((delivery, webhook, now))
        return self.answers(webhook)
