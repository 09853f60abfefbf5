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
from tests.support.fixtures.alerts import a_delivery, a_webhook
from tests.support.fixtures.data_plane import project, walked

ALL = PageRequest(limit=200)
STEP_MAX = 2_000
LONG_AGO = NOON - timedelta(days=365)  # before whatever other tests have due


async def made(monitoring, of, **said):
    return await monitoring.webhooks.create(a_webhook(of, **said))


async def told(monitoring, webhook, **said):
    delivery = a_delivery(webhook, **{"next_attempt_at": LONG_AGO} | said)
    await monitoring.webhooks.enqueue(delivery)
    return delivery


async def due_of(monitoring, projects, now=LONG_AGO, most=100):
    found = await monitoring.webhooks.claim_due(now, most)
    return [(delivery, webhook) for delivery, webhook in found if webhook.project_id in projects]


async def log_of(monitoring, webhook):
    return list((await monitoring.webhooks.deliveries(webhook.project_id, webhook.id, ALL)).items)


async def test_a_webhook_is_read_as_it_was_made(monitoring):
    ours = project()
    second = await made(monitoring, ours, created_at=at(1), url="https://example.com/ü%20?a=b")
    first = await made(monitoring, ours, created_at=at(0), secret=b"")
    await made(monitoring, project())
    assert await monitoring.webhooks.all(ours) == [first, second]


async def test_the_same_webhook_is_made_once(monitoring):
    webhook = await made(monitoring, project())
    assert await monitoring.webhooks.create(replace(webhook, secret=b"other")) == webhook
    assert await monitoring.webhooks.all(webhook.project_id) == [webhook]


async def test_a_project_has_so_many_webhooks_and_no_more(monitoring):
    ours = project()
    results = await asyncio.gather(
        *(made(monitoring, ours) for _ in range(WEBHOOKS_MAX + 3)), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in results) == 3
    assert len(await monitoring.webhooks.all(ours)) == WEBHOOKS_MAX


async def test_webhooks_of_others_are_not_found(monitoring):
    webhook, theirs = await made(monitoring, project()), project()
    delivery = await told(monitoring, webhook)
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


async def test_a_removed_webhook_is_told_nothing_more(monitoring):
    webhook = await made(monitoring, project())
    delivery = await told(monitoring, webhook)
    assert await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    assert not await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    assert await due_of(monitoring, {webhook.project_id}) == []
    await monitoring.webhooks.record_attempt(replace(delivery, attempts=1))
    await monitoring.webhooks.create(webhook)
    assert await log_of(monitoring, webhook) == []


async def test_nothing_of_a_removed_project_is_found_sent_or_made(monitoring):
    webhook = await made(monitoring, project())
    await told(monitoring, webhook)
    await monitoring.evaluating.remove(webhook.project_id)
    assert await due_of(monitoring, {webhook.project_id}) == []
    assert await monitoring.webhooks.all(webhook.project_id) == []
    assert not await monitoring.webhooks.delete(webhook.project_id, webhook.id)
    with pytest.raises(NotFound):
        await monitoring.webhooks.enqueue(a_delivery(webhook))
    with pytest.raises(Unavailable):
        await made(monitoring, webhook.project_id)


async def test_a_message_is_stored_once_and_listed_newest_first(monitoring):
    webhook = await made(monitoring, project())
    sent = [await told(monitoring, webhook, created_at=at(n // 2)) for n in range(5)]
    await monitoring.webhooks.enqueue(replace(sent[0], body=b"other"))
    sent.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    by_position, by_offset = await walked(
        lambda window: monitoring.webhooks.deliveries(webhook.project_id, webhook.id, window), 2
    )
    assert by_position == by_offset == sent


async def test_what_is_due_comes_the_longest_due_first_and_is_held(monitoring):
    first, second = await made(monitoring, project()), await made(monitoring, project())
    projects = {first.project_id, second.project_id}
    later = await told(monitoring, first, next_attempt_at=LONG_AGO)
    sooner = await told(monitoring, second, next_attempt_at=LONG_AGO - timedelta(seconds=1))
    await told(monitoring, first, next_attempt_at=LONG_AGO + timedelta(seconds=1))
    await told(monitoring, first, next_attempt_at=None)
    assert await due_of(monitoring, projects) == [(sooner, second), (later, first)]
    assert await due_of(monitoring, projects) == []
    nearly = LONG_AGO + DELIVERY_LEASE - timedelta(seconds=1)
    assert (later, first) not in await due_of(monitoring, projects, nearly)
    again = await due_of(monitoring, projects, LONG_AGO + DELIVERY_LEASE)
    assert (sooner, second) in again
    assert (later, first) in again


async def test_no_more_come_than_are_asked_for(monitoring):
    webhooks = [await made(monitoring, project()) for _ in range(3)]
    for n, webhook in enumerate(webhooks):
        await told(monitoring, webhook, next_attempt_at=LONG_AGO - timedelta(days=3 - n))
    projects = {one.project_id for one in webhooks}
    found = await due_of(monitoring, projects, most=2)
    assert [webhook for _, webhook in found] == webhooks[:2]
    assert [webhook for _, webhook in await due_of(monitoring, projects, most=1)] == webhooks[2:]


async def test_one_webhook_leaves_room_for_others(monitoring):
    slow, other = await made(monitoring, project()), await made(monitoring, project())
    projects = {slow.project_id, other.project_id}
    for n in range(2 * DELIVERIES_PER_WEBHOOK_MAX):
        early = LONG_AGO - timedelta(days=9) + timedelta(seconds=n)
        await told(monitoring, slow, next_attempt_at=early)
    mine = await told(monitoring, other)
    found = await due_of(monitoring, projects)
    assert len(found) == DELIVERIES_PER_WEBHOOK_MAX + 1
    assert found[-1] == (mine, other)
    assert await due_of(monitoring, projects) == []
    done = replace(found[0][0], attempts=1, delivered_at=NOON, next_attempt_at=None)
    await monitoring.webhooks.record_attempt(done)
    assert [webhook for _, webhook in await due_of(monitoring, projects)] == [slow]


async def test_two_who_ask_at_once_get_different_ones(monitoring):
    ours = project()
    webhooks = [await made(monitoring, ours) for _ in range(6)]
    for webhook in webhooks:
        await told(monitoring, webhook)
    asked = await asyncio.gather(*(due_of(monitoring, {ours}) for _ in range(4)))
    found = [delivery.id for one in asked for delivery, _ in one]
    assert len(found) == len(set(found)) == 6


async def test_how_an_attempt_went_is_kept(monitoring):
    webhook = await made(monitoring, project())
    await told(monitoring, webhook)
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


async def test_what_was_delivered_stays_delivered(monitoring):
    webhook = await made(monitoring, project())
    delivery = await told(monitoring, webhook)
    done = replace(delivery, attempts=1, status=204, next_attempt_at=None, delivered_at=at(1))
    await monitoring.webhooks.record_attempt(done)
    late = replace(delivery, attempts=1, error="timeout", next_attempt_at=at(2))
    await monitoring.webhooks.record_attempt(late)  # of somebody who was slow
    assert await log_of(monitoring, webhook) == [done]


OLD = NOON - timedelta(days=9_000)  # before whatever other tests have made


async def forgotten(port, before):
    """Until nothing is left; how many at a time."""
    steps = list[int]()
    while gone := await port.delete_deliveries(before):
        steps.append(gone)
    return steps


async def test_what_was_sent_long_ago_is_forgotten_and_never_what_is_still_to_be_sent(monitoring):
    webhook = await made(monitoring, project())
    waiting = await told(monitoring, webhook, created_at=OLD)
    given_up = await told(monitoring, webhook, created_at=OLD, next_attempt_at=None)
    later = await told(monitoring, webhook, created_at=at(0), next_attempt_at=None)
    assert await forgotten(monitoring.webhooks, OLD) == []
    assert sum(await forgotten(monitoring.webhooks, OLD + timedelta(microseconds=1))) == 1
    assert given_up not in await log_of(monitoring, webhook)
    assert sorted(await log_of(monitoring, webhook), key=lambda one: one.created_at) == [
        waiting,
        later,
    ]


async def test_forgetting_goes_in_steps(monitoring):
    webhook = await made(monitoring, project())
    for _ in range(STEP_MAX + 1):
        await told(monitoring, webhook, created_at=OLD, next_attempt_at=None)
    steps = await forgotten(monitoring.webhooks, OLD + timedelta(seconds=1))
    assert sum(steps) == STEP_MAX + 1
    assert max(steps) <= STEP_MAX
    assert len(steps) > 1
