"""Sending messages to webhooks: when, how often, and what is stored."""

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from adapters.memory.evaluation.alerts import MemoryWebhooks, MemoryWebhookSender
from adapters.memory.store import MemoryStore
from application.evaluation.alerts.webhooks import (
    READS_MAX,
    CreateWebhook,
    DeliverMessages,
    SendTestMessage,
)
from application.evaluation.ports.alerts import (
    CONCURRENT_DELIVERIES_MAX,
    DELIVERY_LEASE,
    DeliveryResult,
    Webhooks,
)
from domain.errors import Invalid, NotFound, Unavailable
from domain.evaluation.alerts.webhook import (
    DELIVERY_ATTEMPTS_MAX,
    DELIVERY_WAIT_MAX,
    Delivery,
    Webhook,
)
from domain.ids import ProjectId
from domain.page import PageRequest
from tests.support.builders.values import NOON, OURS, THEIRS
from tests.support.waiting import WAIT_MAX_S, until

URL = "https://hooks.example/a"
BROKEN = DeliveryResult(500)


@dataclass
class Post:
    """Sends due messages, with a clock of its own."""

    webhook_sender: MemoryWebhookSender = field(default_factory=MemoryWebhookSender)
    webhooks: Webhooks = field(default_factory=lambda: MemoryWebhooks(MemoryStore()))
    now: datetime = NOON

    async def webhook(self, url: str = URL, project=OURS) -> Webhook:
        create = CreateWebhook(self.webhooks, False, lambda n: b"s" * n, lambda: self.now)
        return await create(project, uuid.uuid4(), url)

    async def send_test_message(self, webhook: Webhook) -> Delivery:
        send = SendTestMessage(self.webhooks, lambda: self.now)
        return await send(webhook.project_id, webhook.id, uuid.uuid4())

    async def deliver(self) -> int:
        return await self.deliverer()()

    def deliverer(self, webhook_sender=None, finish_s: float = WAIT_MAX_S) -> DeliverMessages:
        return DeliverMessages(
            self.webhooks,
            webhook_sender or self.webhook_sender,
            lambda n: b"\0" * n,
            lambda: self.now,
            finish_s,
        )

    async def log(self, webhook: Webhook) -> list[Delivery]:
        page = await self.webhooks.deliveries(webhook.project_id, webhook.id, PageRequest())
        return list(page.items)


def answering(answers: Callable[[Webhook], DeliveryResult]) -> Post:
    return Post(MemoryWebhookSender(answers))


async def test_each_webhook_has_its_own_secret():
    webhook = await Post().webhook()
    assert (webhook.url, webhook.secret, webhook.created_at) == (URL, b"s" * 32, NOON)
    with pytest.raises(Invalid):
        await Post().webhook("http://10.0.0.1/")


async def test_test_message_is_sent_once():
    post = Post()
    webhook = await post.webhook()
    delivery = await post.send_test_message(webhook)
    assert await post.deliver() == 1
    assert await post.deliver() == 0
    assert post.webhook_sender.sent == [(delivery, webhook, NOON)]
    said = json.loads(delivery.body)
    assert said["type"] == "webhook.test"
    assert said["data"]["webhook_id"] == str(webhook.id)
    [kept] = await post.log(webhook)
    assert (kept.attempts, kept.status, kept.delivered_at) == (1, 204, NOON)
    assert kept.next_attempt_at is None


async def test_webhook_of_another_project_gets_no_message():
    post = Post()
    webhook = await post.webhook()
    with pytest.raises(NotFound):
        await post.send_test_message(replace(webhook, project_id=THEIRS))
    assert await post.deliver() == 0


async def test_retries_with_growing_delays_until_the_last_attempt():
    post = answering(lambda _: BROKEN)
    webhook = await post.webhook()
    await post.send_test_message(webhook)
    waits = []
    for n in range(1, DELIVERY_ATTEMPTS_MAX + 1):
        assert await post.deliver() == 1
        [kept] = await post.log(webhook)
        assert (kept.attempts, kept.status, kept.delivered_at) == (n, 500, None)
        if kept.next_attempt_at is None:
            break
        waits.append(kept.next_attempt_at - post.now)
        post.now = kept.next_attempt_at - timedelta(microseconds=1)
        assert await post.deliver() == 0
        post.now = kept.next_attempt_at
    assert len(post.webhook_sender.sent) == DELIVERY_ATTEMPTS_MAX
    assert waits == sorted(waits)
    assert waits[-1] == DELIVERY_WAIT_MAX
    post.now += timedelta(days=365)
    assert await post.deliver() == 0
    assert len({delivery.body for delivery, _, _ in post.webhook_sender.sent}) == 1


async def test_message_is_delivered_after_the_receiver_recovers():
    answers = [DeliveryResult(None, "timeout"), DeliveryResult(302), DeliveryResult(200)]
    post = answering(lambda _: answers.pop(0))
    webhook = await post.webhook()
    await post.send_test_message(webhook)
    while (await post.log(webhook))[0].delivered_at is None:
        assert await post.deliver() == 1
        post.now += timedelta(minutes=10)
    [kept] = await post.log(webhook)
    assert (kept.attempts, kept.status, kept.error) == (3, 200, None)


class OneHangs:
    """A webhook_sender that never comes back from one webhook, until it is let go."""

    def __init__(self, slow: Webhook) -> None:
        self.slow, self.free, self.sent = slow, asyncio.Event(), list[Webhook]()
        self.began, self.others = asyncio.Event(), asyncio.Event()

    async def send(self, delivery: Delivery, webhook: Webhook, now: datetime) -> DeliveryResult:
        if webhook == self.slow:
            self.began.set()
            await self.free.wait()
        self.sent.append(webhook)
        if len(self.sent) == 3:
            self.others.set()
        return DeliveryResult(200)


async def test_slow_receiver_delays_no_other():
    post = Post()
    slow, other = await post.webhook(), await post.webhook(project=THEIRS)
    for _ in range(20):
        await post.send_test_message(slow)
    for _ in range(3):
        await post.send_test_message(other)
    webhook_sender = OneHangs(slow)
    working = asyncio.create_task(post.deliverer(webhook_sender)())
    await asyncio.wait_for(webhook_sender.others.wait(), WAIT_MAX_S)
    assert webhook_sender.sent == [other] * 3
    assert not working.done()
    webhook_sender.free.set()
    assert await working == 23
    assert all(one.delivered_at for one in await post.log(slow))


async def test_interrupted_attempts_are_repeated():
    post = Post()
    webhook = await post.webhook()
    await post.send_test_message(webhook)
    webhook_sender = OneHangs(webhook)
    working = asyncio.create_task(post.deliverer(webhook_sender, finish_s=0)())
    await asyncio.wait_for(webhook_sender.began.wait(), WAIT_MAX_S)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await post.deliver() == 0
    post.now += DELIVERY_LEASE
    assert await post.deliver() == 1


async def test_stop_finishes_messages_that_are_being_sent():
    post = Post()
    slow = await post.webhook()
    await post.send_test_message(slow)
    webhook_sender = OneHangs(slow)
    working = asyncio.create_task(post.deliverer(webhook_sender)())
    await asyncio.wait_for(webhook_sender.began.wait(), WAIT_MAX_S)
    working.cancel()
    webhook_sender.free.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    [kept] = await post.log(slow)
    assert (kept.attempts, kept.delivered_at) == (1, NOON)


class Forgetful(MemoryWebhooks):
    async def record_attempt(self, delivery: Delivery) -> None:
        raise Unavailable("no database")


async def test_failure_to_store_a_result_is_raised_and_the_message_sent_again():
    store = MemoryStore()
    post = Post(webhooks=Forgetful(store))
    for _ in range(CONCURRENT_DELIVERIES_MAX + 1):
        await post.send_test_message(await post.webhook(project=ProjectId(uuid.uuid4())))
    with pytest.raises(Unavailable):
        await post.deliver()
    assert len(post.webhook_sender.sent) == CONCURRENT_DELIVERIES_MAX  # and none after a failure
    post.webhooks, post.now = MemoryWebhooks(store), post.now + DELIVERY_LEASE
    assert await post.deliver() == CONCURRENT_DELIVERIES_MAX + 1
    assert len(post.webhook_sender.sent) == 2 * CONCURRENT_DELIVERIES_MAX + 1


@dataclass(frozen=True, slots=True)
class AwayLater(MemoryWebhooks):
    """Gives out what is due once; after that it is away, as `away` tells."""

    away: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim_due(self, now: datetime, most: int):
        if due := await MemoryWebhooks.claim_due(self, now, most):
            return due
        self.away.set()
        raise Unavailable("no database")


async def test_failure_to_claim_interrupts_no_message_that_is_being_sent():
    webhooks = AwayLater(MemoryStore())
    post = Post(webhooks=webhooks)
    slow, other = await post.webhook(), await post.webhook(project=THEIRS)
    for webhook in (slow, other):
        await post.send_test_message(webhook)
    webhook_sender = OneHangs(slow)
    working = asyncio.create_task(post.deliverer(webhook_sender)())
    await asyncio.wait_for(webhooks.away.wait(), WAIT_MAX_S)
    webhook_sender.free.set()
    with pytest.raises(Unavailable):
        await working
    for webhook in (slow, other):
        [kept] = await post.log(webhook)
        assert (kept.attempts, kept.delivered_at) == (1, NOON)


@dataclass(frozen=True, slots=True)
class Endless(MemoryWebhooks):
    """Gives out what is due, and after that the latest message again and again."""

    claims: list[tuple[Delivery, Webhook]] = field(default_factory=list)  # the latest of each

    async def claim_due(self, now: datetime, most: int):
        if self.claims:
            await self.enqueue(replace(self.claims[-1][0], id=uuid.uuid4()))
        due = await MemoryWebhooks.claim_due(self, now, most)
        self.claims.append(due[-1])
        return due


async def test_end_of_a_long_round_interrupts_no_message_that_is_being_sent():
    webhooks = Endless(MemoryStore())
    post = Post(webhooks=webhooks)
    slow, other = await post.webhook(), await post.webhook(project=THEIRS)
    await post.send_test_message(slow)
    post.now += timedelta(seconds=1)
    await post.send_test_message(other)
    webhook_sender = OneHangs(slow)
    working = asyncio.create_task(post.deliverer(webhook_sender)())
    await until(lambda: len(webhooks.claims) == READS_MAX)
    webhook_sender.free.set()
    assert await working == READS_MAX + 1
    [kept] = await post.log(slow)
    assert (kept.attempts, kept.delivered_at) == (1, post.now)
