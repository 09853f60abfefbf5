"""Contract of Webhooks, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from application.evaluation.ports.alerts import (
    DELIVERIES_PER_WEBHOOK_MAX,
    DELIVERY_LEASE,
    WEBHOOKS_MAX,
)
from domain.errors import Conflict, NotFound, Unavailable
from domain.page import PageRequest
from tests.support.builders.values import NOON, at
from tests.support.fixtures.data_plane import project, read_all_pages
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook

ALL = PageRequest(limit=200)
STEP_MAX = 2_000
LONG_AGO = NOON - timedelta(days=365)  # before anything that other tests have due


async def create_webhook(monitoring, of, **overrides):
    return await monitoring.webhooks.create(a_webhook(of, **overrides))


async def enqueue_delivery(monitoring, webhook, **overrides):
    delivery = a_delivery(webhook, **{"next_attempt_at": LONG_AGO} | overrides)
    await monitoring.webhooks.enqueue(delivery)
    return delivery


async def due_of(monitoring, projects, now=LONG_AGO, most=100):
    found = await monitoring.webhooks.claim_due(now, most)
    return [(delivery, webhook) for delivery, webhook in found if webhook.project_id in projects]


async def log_of(monitoring, webhook):
    return list((await monitoring.webhooks.deliveries(webhook.project_id, webhook.id, ALL)).items)


async def test_create_and_list_return_webhook_as_given_lists_without_secrets(monitoring):
    ours = project()
    second = await create_webhook(
        monitoring, ours, created_at=at(1), url="https://example.com/ü%20?a=b"
    )
    first = await create_webhook(monitoring, ours, created_at=at(0), secret=b"")
    await create_webhook(monitoring, project())
    listed = await monitoring.webhooks.all(ours)
    assert listed == [replace(one, secret=None) for one in (first, second)]


async def test_create_with_existing_id_returns_stored_webhook(monitoring):
    webhook = await create_webhook(monitoring, project())
    assert await monitoring.webhooks.create(replace(webhook, secret=b"other")) == webhook
    assert await monitoring.webhooks.all(webhook.project_id) == [replace(webhook, secret=None)]


async def test_webhook_limit_of_project_is_webhooks_max(monitoring):
    ours = project()
    results = await asyncio.gather(
        *(create_webhook(monitoring, ours) for _ in range(WEBHOOKS_MAX + 3)), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in results) == 3
    assert len(await monitoring.webhooks.all(ours)) == WEBHOOKS_MAX


async def test_webhooks_of_another_project_are_not_found(monitoring):
    webhook, theirs = await create_webhook(monitoring, project()), project()
    delivery = await enqueue_delivery(monitoring, webhook)
    for ask in (
        monitoring.webhooks.enqueue(replace(a_delivery(webhook), project_id=theirs)),
        monitoring.webhooks.deliveries(theirs, webhook.id, ALL),
        monitoring.webhooks.enqueue(replace(a_delivery(webhook), webhook_id=uuid.uuid4())),
    ):
        with pytest.raises(NotFound):
            await ask
    assert not await monitoring.webhooks.delete(theirs, webhook.id)
    await monitoring.webhooks.record_attempt(replace(delivery, project_id=theirs, attempts=5))
    assert await log_of(monitoring, webhook) == [delivery]


async def test_deleted_webhook_gets_no_deliveries(monitoring):
    webhook = await create_webhook(monitoring, project())
    delivery = await enqueue_delivery(monitoring, webhook)
    assert await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    assert not await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    assert await due_of(monitoring, {webhook.project_id}) == []
    await monitoring.webhooks.record_attempt(replace(delivery, attempts=1))
    await monitoring.webhooks.create(webhook)
    assert await log_of(monitoring, webhook) == []


async def test_webhooks_of_removed_project_are_not_found_sent_or_created(monitoring):
    webhook = await create_webhook(monitoring, project())
    await enqueue_delivery(monitoring, webhook)
    await monitoring.evaluating.remove(webhook.project_id)
    assert await due_of(monitoring, {webhook.project_id}) == []
    assert await monitoring.webhooks.all(webhook.project_id) == []
    assert not await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    with pytest.raises(NotFound):
        await monitoring.webhooks.enqueue(a_delivery(webhook))
    with pytest.raises(Unavailable):
        await create_webhook(monitoring, webhook.project_id)


async def test_delivery_is_stored_once_and_listed_newest_first(monitoring):
    webhook = await create_webhook(monitoring, project())
    sent = [await enqueue_delivery(monitoring, webhook, created_at=at(n // 2)) for n in range(5)]
    await monitoring.webhooks.enqueue(replace(sent[0], body=b"other"))
    sent.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    by_position, by_offset = await read_all_pages(
        lambda window: monitoring.webhooks.deliveries(webhook.project_id, webhook.id, window), 2
    )
    assert by_position == by_offset == sent


async def test_due_deliveries_come_longest_due_first_and_are_held(monitoring):
    first, second = (
        await create_webhook(monitoring, project()),
        await create_webhook(monitoring, project()),
    )
    projects = {first.project_id, second.project_id}
    later = await enqueue_delivery(monitoring, first, next_attempt_at=LONG_AGO)
    sooner = await enqueue_delivery(
        monitoring, second, next_attempt_at=LONG_AGO - timedelta(seconds=1)
    )
    await enqueue_delivery(monitoring, first, next_attempt_at=LONG_AGO + timedelta(seconds=1))
    await enqueue_delivery(monitoring, first, next_attempt_at=None)
    assert await due_of(monitoring, projects) == [(sooner, second), (later, first)]
    assert await due_of(monitoring, projects) == []
    nearly = LONG_AGO + DELIVERY_LEASE - timedelta(seconds=1)
    assert (later, first) not in await due_of(monitoring, projects, nearly)
    again = await due_of(monitoring, projects, LONG_AGO + DELIVERY_LEASE)
    assert (sooner, second) in again
    assert (later, first) in again


async def test_due_deliveries_are_limited(monitoring):
    webhooks = [await create_webhook(monitoring, project()) for _ in range(3)]
    for n, webhook in enumerate(webhooks):
        await enqueue_delivery(
            monitoring, webhook, next_attempt_at=LONG_AGO - timedelta(days=3 - n)
        )
    projects = {one.project_id for one in webhooks}
    found = await due_of(monitoring, projects, most=2)
    assert [webhook for _, webhook in found] == webhooks[:2]
    assert [webhook for _, webhook in await due_of(monitoring, projects, most=1)] == webhooks[2:]


async def test_due_deliveries_per_webhook_are_limited(monitoring):
    slow, other = (
        await create_webhook(monitoring, project()),
        await create_webhook(monitoring, project()),
    )
    projects = {slow.project_id, other.project_id}
    for n in range(2 * DELIVERIES_PER_WEBHOOK_MAX):
        early = LONG_AGO - timedelta(days=9) + timedelta(seconds=n)
        await enqueue_delivery(monitoring, slow, next_attempt_at=early)
    mine = await enqueue_delivery(monitoring, other)
    found = await due_of(monitoring, projects)
    assert len(found) == DELIVERIES_PER_WEBHOOK_MAX + 1
    assert found[-1] == (mine, other)
    assert await due_of(monitoring, projects) == []
    done = replace(found[0][0], attempts=1, delivered_at=NOON, next_attempt_at=None)
    await monitoring.webhooks.record_attempt(done)
    assert [webhook for _, webhook in await due_of(monitoring, projects)] == [slow]


async def test_no_project_delays_another(monitoring):
    """Neither by messages that wait longer, nor by those that are being sent."""
    busy, other = project(), project()
    for n in range(3 * DELIVERIES_PER_WEBHOOK_MAX):
        webhook = await create_webhook(monitoring, busy)
        early = LONG_AGO - timedelta(days=9) + timedelta(seconds=n)
        await enqueue_delivery(monitoring, webhook, next_attempt_at=early)
    webhook = await create_webhook(monitoring, other)
    mine = [await enqueue_delivery(monitoring, webhook, id=uuid.UUID(int=n)) for n in (1, 2)]
    found = await due_of(monitoring, {busy, other}, most=4)
    assert [delivery for delivery, of in found if of == webhook] == mine
    late = await enqueue_delivery(monitoring, webhook)
    await monitoring.webhooks.record_attempt(
        replace(mine[0], attempts=1, delivered_at=NOON, next_attempt_at=None)
    )
    [(chosen, _)] = await due_of(monitoring, {busy, other}, most=1)
    assert chosen == late


async def test_concurrent_callers_get_different_deliveries(monitoring):
    ours = project()
    webhooks = [await create_webhook(monitoring, ours) for _ in range(6)]
    for webhook in webhooks:
        await enqueue_delivery(monitoring, webhook)
    asked = await asyncio.gather(*(due_of(monitoring, {ours}) for _ in range(4)))
    found = [delivery.id for one in asked for delivery, _ in one]
    assert len(found) == len(set(found)) == 6


async def test_attempt_is_stored(monitoring):
    webhook = await create_webhook(monitoring, project())
    await enqueue_delivery(monitoring, webhook)
    [(delivery, _)] = await due_of(monitoring, {webhook.project_id})
    soon = LONG_AGO + timedelta(seconds=5)
    failed = replace(delivery, attempts=1, status=500, error="http_status", next_attempt_at=soon)
    await monitoring.webhooks.record_attempt(failed)
    assert await log_of(monitoring, webhook) == [failed]
    assert await due_of(monitoring, {webhook.project_id}) == []
    assert await due_of(monitoring, {webhook.project_id}, soon) == [(failed, webhook)]
    given_up = replace(failed, attempts=2, status=None, error="timeout", next_attempt_at=None)
    await monitoring.webhooks.record_attempt(given_up)
    assert await log_of(monitoring, webhook) == [given_up]


async def test_late_attempt_does_not_overwrite_delivery(monitoring):
    webhook = await create_webhook(monitoring, project())
    delivery = await enqueue_delivery(monitoring, webhook)
    done = replace(delivery, attempts=1, status=204, next_attempt_at=None, delivered_at=at(1))
    await monitoring.webhooks.record_attempt(done)
    late = replace(delivery, attempts=1, error="timeout", next_attempt_at=at(2))
    await monitoring.webhooks.record_attempt(late)  # of a slow sender
    assert await log_of(monitoring, webhook) == [done]


OLD = NOON - timedelta(days=9_000)  # before anything that other tests have created


async def forget_all(port, before):
    """Calls `forget` until nothing is left; returns how many rows each call deleted."""
    steps = list[int]()
    while gone := await port.delete_deliveries(before):
        steps.append(gone)
    return steps


async def test_forget_deletes_old_deliveries_but_none_still_due(monitoring):
    webhook = await create_webhook(monitoring, project())
    waiting = await enqueue_delivery(monitoring, webhook, created_at=OLD)
    given_up = await enqueue_delivery(monitoring, webhook, created_at=OLD, next_attempt_at=None)
    later = await enqueue_delivery(monitoring, webhook, created_at=at(0), next_attempt_at=None)
    assert await forget_all(monitoring.webhooks, OLD) == []
    assert sum(await forget_all(monitoring.webhooks, OLD + timedelta(microseconds=1))) == 1
    assert given_up not in await log_of(monitoring, webhook)
    assert sorted(await log_of(monitoring, webhook), key=lambda one: one.created_at) == [
        waiting,
        later,
    ]


async def test_forget_deletes_in_steps(monitoring):
    webhook = await create_webhook(monitoring, project())
    for _ in range(STEP_MAX + 1):
        await enqueue_delivery(monitoring, webhook, created_at=OLD, next_attempt_at=None)
    steps = await forget_all(monitoring.webhooks, OLD + timedelta(seconds=1))
    assert sum(steps) == STEP_MAX + 1
    assert max(steps) <= STEP_MAX
    assert len(steps) > 1
