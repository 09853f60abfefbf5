"""Contract of KeyUsage, run against every adapter."""

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from adapters.caching.key_usage_buffer import KeyUsageBuffer
from adapters.memory.identity.identity import MemoryApiKeys, MemoryKeyUsage
from adapters.memory.store import MemoryStore
from application.identity.ports import KeyUsage
from domain.identity.api_key import ApiKey
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.ids import ApiKeyId, OrganizationId
from tests.support.builders.values import NOON, at

HOUR = 3600
HOME = Origin("192.0.2.1", "sdk/1")
AWAY = Origin("198.51.100.7", "sdk/1")
OTHER_AGENT = Origin("192.0.2.1", "curl/8")


class Uses:
    """A KeyUsage over one key, and what is read of that key once everything is written."""

    def __init__(self, store: MemoryStore, port: KeyUsage, settle: Callable[[], Awaitable[None]]):
        self.store, self.port, self.settle = store, port, settle
        self.key = ApiKey(
            id=ApiKeyId(uuid.uuid4()),
            organization_id=OrganizationId(uuid.uuid4()),
            created_by=None,
            name="ci",
            prefix="pp_",
            digest=random.randbytes(32),
            created_at=NOON,
        )
        store.keys[self.key.id] = self.key

    async def last_used_at(self):
        await self.settle()
        return self.store.keys[self.key.id].last_used_at

    async def told(self) -> list[AuditEntry]:
        """What the audit log tells of the key, oldest first."""
        await self.settle()
        return sorted(self.store.audit_log.values(), key=lambda one: one.at)


async def nothing() -> None:
    """For adapters that write at once."""


@pytest.fixture(params=["memory", "gathered"])
async def uses(request: pytest.FixtureRequest) -> AsyncIterator[Uses]:
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield Uses(store, MemoryKeyUsage(store), nothing)
        else:
            gathered = KeyUsageBuffer.over(MemoryApiKeys(store), every_s=HOUR)
            yield Uses(store, await stack.enter_async_context(gathered), stack.aclose)


async def test_a_use_is_written(uses):
    uses.port.record(uses.key.id, at(1), HOME)
    assert await uses.last_used_at() == at(1)


async def test_the_latest_of_uses_far_apart_is_written(uses):
    for second in (1, HOUR, 2 * HOUR):
        uses.port.record(uses.key.id, at(second), HOME)
    assert await uses.last_used_at() == at(2 * HOUR)


async def test_the_latest_use_counts_wherever_it_came_from(uses):
    for second, origin in ((1, HOME), (HOUR, AWAY), (2 * HOUR, OTHER_AGENT)):
        uses.port.record(uses.key.id, at(second), origin)
    assert await uses.last_used_at() == at(2 * HOUR)


async def test_a_use_never_moves_back(uses):
    uses.port.record(uses.key.id, at(HOUR), HOME)
    uses.port.record(uses.key.id, at(1), HOME)
    uses.port.record(uses.key.id, at(2), AWAY)
    assert await uses.last_used_at() == at(HOUR)


async def test_a_key_that_is_gone_is_ignored(uses):
    uses.port.record(ApiKeyId(uuid.uuid4()), at(1), HOME)
    uses.port.record(uses.key.id, at(2), HOME)
    assert await uses.last_used_at() == at(2)
    assert list(uses.store.keys) == [uses.key.id]
    assert [one.actor.key_id for one in await uses.told()] == [uses.key.id]


async def test_the_log_tells_who_what_when_and_from_where(uses):
    uses.port.record(uses.key.id, at(1), HOME)
    [entry] = await uses.told()
    assert entry == AuditEntry(
        id=entry.id,
        organization_id=uses.key.organization_id,
        at=at(1),
        actor=Actor(key_id=uses.key.id, name=uses.key.prefix, origin=HOME),
        action=AuditAction.API_KEY_USED,
        resource_id=str(uses.key.id),
        detail={"name": uses.key.name},
    )


async def test_each_origin_is_told_once_however_often_it_comes(uses):
    for second in range(0, 3 * HOUR, 50):
        for origin in (HOME, AWAY, OTHER_AGENT, Origin()):
            uses.port.record(uses.key.id, at(second), origin)
    told = [one.actor.origin for one in await uses.told()]
    assert len(told) == 4
    assert set(told) == {HOME, AWAY, OTHER_AGENT, Origin()}
