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


class KeyUseFixture:
    """A KeyUsage over one key, and readers that first wait until all uses are written."""

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

    async def audit_entries(self) -> list[AuditEntry]:
        """Reads the audit log, oldest first."""
        await self.settle()
        return sorted(self.store.audit_log.values(), key=lambda one: one.at)


async def no_op() -> None:
    """For adapters that write at once."""


@pytest.fixture(params=["memory", "gathered"])
async def fixture(request: pytest.FixtureRequest) -> AsyncIterator[KeyUseFixture]:
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield KeyUseFixture(store, MemoryKeyUsage(store), no_op)
        else:
            gathered = KeyUsageBuffer.flushing_to(MemoryApiKeys(store), every_s=HOUR)
            yield KeyUseFixture(store, await stack.enter_async_context(gathered), stack.aclose)


async def test_use_is_written(fixture):
    fixture.port.record(fixture.key.id, at(1), HOME)
    assert await fixture.last_used_at() == at(1)


async def test_latest_use_is_written(fixture):
    for second in (1, HOUR, 2 * HOUR):
        fixture.port.record(fixture.key.id, at(second), HOME)
    assert await fixture.last_used_at() == at(2 * HOUR)


async def test_latest_use_counts_from_any_origin(fixture):
    for second, origin in ((1, HOME), (HOUR, AWAY), (2 * HOUR, OTHER_AGENT)):
        fixture.port.record(fixture.key.id, at(second), origin)
    assert await fixture.last_used_at() == at(2 * HOUR)


async def test_last_use_never_moves_back(fixture):
    fixture.port.record(fixture.key.id, at(HOUR), HOME)
    fixture.port.record(fixture.key.id, at(1), HOME)
    fixture.port.record(fixture.key.id, at(2), AWAY)
    assert await fixture.last_used_at() == at(HOUR)


async def test_use_of_deleted_key_is_ignored(fixture):
    fixture.port.record(ApiKeyId(uuid.uuid4()), at(1), HOME)
    fixture.port.record(fixture.key.id, at(2), HOME)
    assert await fixture.last_used_at() == at(2)
    assert list(fixture.store.keys) == [fixture.key.id]
    assert [one.actor.key_id for one in await fixture.audit_entries()] == [fixture.key.id]


async def test_audit_entry_names_key_time_and_origin(fixture):
    fixture.port.record(fixture.key.id, at(1), HOME)
    [entry] = await fixture.audit_entries()
    assert entry == AuditEntry(
        id=entry.id,
        organization_id=fixture.key.organization_id,
        at=at(1),
        actor=Actor(key_id=fixture.key.id, name=fixture.key.prefix, origin=HOME),
        action=AuditAction.API_KEY_USED,
        resource_id=str(fixture.key.id),
        detail={"name": fixture.key.name, "network": "192.0.2.0/24"},
    )


async def test_network_is_audited_once(fixture):
    for second in range(0, 3 * HOUR, 50):
        for origin in (HOME, AWAY, OTHER_AGENT, Origin()):
            fixture.port.record(fixture.key.id, at(second), origin)
    origins = [one.actor.origin for one in await fixture.audit_entries()]
    assert len(origins) == 3
    assert set(origins) == {HOME, AWAY, Origin()}
