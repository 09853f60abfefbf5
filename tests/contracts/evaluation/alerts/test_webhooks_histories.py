"""Random histories of webhooks read the same from memory and from PostgreSQL.

Part of the contract of Webhooks: the use cases create webhooks and send messages over both.
"""

import asyncio
import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from adapters.memory.evaluation.alerts import MemoryWebhookSender
from adapters.memory.store import MemoryStore
from application.evaluation.alerts.webhooks import CreateWebhook, DeliverMessages, SendTestMessage
from application.evaluation.ports.alerts import DELIVERY_LEASE, DeliveryResult
from domain.evaluation.alerts.webhook import (
    DELIVERY_ATTEMPTS_MAX,
    DELIVERY_WAIT_MAX,
    DELIVERY_WAIT_MIN,
    SECRET_BYTES,
    Delivery,
    Webhook,
    WebhookFormat,
)
from domain.ids import ProjectId
from domain.page import PageRequest
from tests.support.builders import trace_strategies
from tests.support.builders.values import NOON
from tests.support.fixtures.data_plane import ALL, project
from tests.support.fixtures.erasures import which
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook
from tests.support.fixtures.evaluation.monitors import Monitoring, over_memory, over_postgres
from tests.support.fixtures.histories import ComparedHistories, Step, Steps, assert_histories_agree

pytestmark = pytest.mark.service

BEGIN: Final = NOON - timedelta(days=3_650)  # before anything that other tests have due
WEBHOOKS: Final = tuple(UUID(int=n) for n in (1, 2, 3))
MESSAGES: Final = tuple(UUID(int=n) for n in (4, 5, 6))
RESULTS: Final = (
    *(DeliveryResult(status) for status in (200, 204, 299, 300, 500)),
    DeliveryResult(None, "timeout"),
)
SECOND: Final = timedelta(seconds=1)
HALF: Final = b"\x80"  # the chance by which each retry is sooner

webhooks: Final = st.sampled_from([*WEBHOOKS, WEBHOOKS[0], WEBHOOKS[0]])
results: Final = st.sampled_from(RESULTS)
waits: Final = st.sampled_from(
    [
        timedelta(),
        SECOND,
        *(one + more for one in (DELIVERY_WAIT_MIN, DELIVERY_LEASE) for more in (-SECOND, SECOND)),
        DELIVERY_LEASE,
        DELIVERY_WAIT_MAX,
    ]
)
urls: Final = st.sampled_from(
    ["https://example.com/hook", "https://example.com/other", "http://example.com", "https://::1/"]
)

STEPS: Final = Steps()


class Histories(ComparedHistories[Monitoring]):
    """Two projects with the same few webhooks, whose receivers fail and recover."""

    @initialize(
        answers=st.tuples(results, results, results),
        late=results,
        most=st.integers(2, 6),
        wait=waits,
        gone=webhooks,
    )
    def begin(
        self,
        answers: tuple[DeliveryResult, ...],
        late: DeliveryResult,
        most: int,
        wait: timedelta,
        gone: UUID,
    ) -> None:
        """More messages to one webhook than are sent at a time; some are being sent.

        Random steps alone would seldom get there.
        """
        self.projects = [project(), project()]
        self.now, self.model = BEGIN, over_memory(MemoryStore())
        self.count = 0
        self.answers = dict(zip(WEBHOOKS, answers, strict=True))
        self.claimed = list[Delivery]()
        for of, known in ((0, WEBHOOKS), (1, WEBHOOKS[:1])):
            for id_, format_ in zip(known, WebhookFormat, strict=False):
                self.create(of, id_, "https://example.com/hook", format_)
        self.send_test(0, WEBHOOKS[0], MESSAGES[0])
        for of, to, count in ((0, 0, 6), (1, 0, 6), (0, 1, 2), (0, 2, 1)):
            self.enqueue(of, WEBHOOKS[to], count, 0, timedelta())
        for many in (most, most, 2 * most):
            self.claim(many)
        self.record_late(0, late)
        self.record_late(1, late)
        self.deliver(2)
        self.wait(wait)
        self.deliver(1)
        self.record_late(0, RESULTS[-1])
        self.enqueue(0, WEBHOOKS[1], 1, 0, None)
        self.prune(timedelta())
        self.enqueue(0, gone, 2, 0, timedelta())
        self.claim(1)
        self.delete(0, gone)
        self.create(0, gone, "https://example.com/other", WebhookFormat.SLACK)

    def _clock(self) -> datetime:
        return self.now

    # --- webhooks ---

    @STEPS.step(2, of=which, new=webhooks, url=urls, format_=st.sampled_from(WebhookFormat))
    def create(self, of: int, new: UUID, url: str, format_: WebhookFormat) -> None:
        self.count += 1
        secret = self.count.to_bytes(SECRET_BYTES)

        async def create(over: Monitoring) -> Webhook:
            use_case = CreateWebhook(over.webhooks, False, lambda _: secret, self._clock)
            return await use_case(self.projects[of], new, url, format_)

        self.run_on_both(create)

    @STEPS.step(of=which, gone=webhooks)
    def delete(self, of: int, gone: UUID) -> None:
        self.run_on_both(lambda over: over.webhooks.delete(self.projects[of], gone))

    # --- messages ---

    @STEPS.step(4, of=which, to=webhooks, new=st.sampled_from(MESSAGES))
    def send_test(self, of: int, to: UUID, new: UUID) -> None:
        self.run_on_both(
            lambda over: SendTestMessage(over.webhooks, self._clock)(self.projects[of], to, new)
        )

    @STEPS.step(
        4,
        of=which,
        to=webhooks,
        count=st.integers(1, 6),
        attempts=st.sampled_from([0, 0, 1, DELIVERY_ATTEMPTS_MAX - 1]),
        wait=st.none() | waits,
    )
    def enqueue(self, of: int, to: UUID, count: int, attempts: int, wait: timedelta | None) -> None:
        """Several that are due at once; None: those that were given up."""
        receiver = a_webhook(self.projects[of], id=to)
        for _ in range(count):
            self.count += 1
            message = a_delivery(
                receiver,
                id=uuid.uuid5(self.projects[of], str(self.count)),
                attempts=attempts,
                created_at=self.now,
                next_attempt_at=None if wait is None else self.now + wait,
            )
            self.run_on_both(lambda over, message=message: over.webhooks.enqueue(message))

    @STEPS.step(4, of=webhooks, result=results)
    def answer(self, of: UUID, result: DeliveryResult) -> None:
        """From now on, the receiver of both projects answers so."""
        self.answers[of] = result

    @STEPS.step(6, wait=waits)
    def wait(self, wait: timedelta) -> None:
        self.now += wait

    @STEPS.step(6, workers=st.integers(1, 3))
    def deliver(self, workers: int) -> None:
        """Each message is sent once, however many workers send at the same time."""

        async def act(over: Monitoring) -> tuple[int, list[Any]]:
            sender = MemoryWebhookSender(lambda to: self.answers.get(to.id, RESULTS[0]))
            deliver = DeliverMessages(over.webhooks, sender, lambda _: HALF, self._clock)
            attempts = sum(await asyncio.gather(*(deliver() for _ in range(workers))))
            return attempts, sorted(sender.sent, key=lambda one: (one[0].project_id, one[0].id))

        attempts, sent = self.run_on_both(act)
        assert attempts == len(sent) == len({(one.project_id, one.id) for one, _, _ in sent})

    @STEPS.step(4, most=st.integers(1, 6))
    def claim(self, most: int) -> None:
        """By a sender that is slow, or dies."""
        found = self.run_on_both(lambda over: over.webhooks.claim_due(self.now, most))
        self.claimed += [message for message, _ in found]

    @STEPS.step(3, at=st.integers(0, 20), result=results)
    def record_late(self, at: int, result: DeliveryResult) -> None:
        """Another may have sent the message meanwhile, and its webhook may be gone."""
        if not self.claimed:
            return
        message = self.claimed[at % len(self.claimed)]

        async def act(over: Monitoring) -> None:
            sender = MemoryWebhookSender(lambda _: result)
            late = DeliverMessages(over.webhooks, sender, lambda _: HALF, self._clock)
            receiver = a_webhook(message.project_id, id=message.webhook_id)
            assert await late._attempt(message, receiver) is None

        self.run_on_both(act)

    @STEPS.step(age=waits)
    def prune(self, age: timedelta) -> None:
        async def act(over: Monitoring) -> None:
            while await over.webhooks.delete_deliveries(self.now - age):
                pass

        self.run_on_both(act)

    # --- reads ---

    @STEPS.step(2, of=which, to=webhooks, window=trace_strategies.windows)
    def browse(self, of: int, to: UUID, window: PageRequest) -> None:
        async def read(over: Monitoring) -> list[Any]:
            page = await over.webhooks.deliveries(self.projects[of], to, window)
            after = PageRequest(window.limit, after=page.end)
            return [page, await over.webhooks.deliveries(self.projects[of], to, after)]

        self.run_on_both(read)

    @rule(steps=STEPS.some(8, 24))
    def write(self, steps: list[Step]) -> None:
        """Several steps before all is read: reading takes longer."""
        for name, values in steps:
            getattr(self, name)(**values)

    @invariant()
    def everything_agrees(self) -> None:
        for of in self.projects:
            known = self.run_on_both(partial(_all, of))
            for one in known:
                self.run_on_both(partial(_deliveries, of, one.id))

    def teardown(self) -> None:
        """Nothing stays due, which other tests would find."""
        for of in getattr(self, "projects", ()):
            for one in WEBHOOKS:
                self.run_on_both(lambda over, of=of, one=one: over.webhooks.delete(of, one))


async def _all(of: ProjectId, over: Monitoring) -> Any:
    return await over.webhooks.all(of)


async def _deliveries(of: ProjectId, to: UUID, over: Monitoring) -> Any:
    return await over.webhooks.deliveries(of, to, ALL)


@pytest.mark.exhaustive  # test_webhooks.py has each step
def test_random_histories_of_webhooks_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=50, steps=16)
