"""Contract of KeyUse, run against every adapter."""

import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from adapters.memory.identity import MemoryApiKeys, MemoryKeyUse
from adapters.memory.store import MemoryStore
from adapters.remembered import RememberedKeyUses
from application.identity.ports import KeyUse
from domain.identity.api_key import ApiKey
from domain.ids import ApiKeyId, OrganizationId
from tests.builders import NOON, at

HOUR = 3600


class Uses:
    """A KeyUse over one key, and what is read of that key once everything is written."""

    def __init__(self, store: MemoryStore, port: KeyUse, settle: Callable[[], Awaitable[None]]):
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


async def nothing() -> None:
    """For adapters that write at once."""


@pytest.fixture(params=["memory", "remembered"])
async def uses(request: pytest.FixtureRequest) -> AsyncIterator[Uses]:
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield Uses(store, MemoryKeyUse(store), nothing)
        else:
            gathered = RememberedKeyUses.over(MemoryApiKeys(store), every_s=HOUR)
            yield Uses(store, await stack.enter_async_context(gathered), stack.aclose)


async def test_a_use_is_written(uses):
    uses.port.noted(uses.key.id, at(1))
    assert await uses.last_used_at() == at(1)


async def test_the_latest_of_uses_far_apart_is_written(uses):
    for second in (1, HOUR, 2 * HOUR):
        uses.port.noted(uses.key.id, at(second))
    assert await uses.last_used_at() == at(2 * HOUR)


async def test_a_use_never_moves_back(uses):
    uses.port.noted(uses.key.id, at(HOUR))
    uses.port.noted(uses.key.id, at(1))
    assert await uses.last_used_at() == at(HOUR)


async def test_a_key_that_is_gone_is_ignored(uses):
    uses.port.noted(ApiKeyId(uuid.uuid4()), at(1))
    uses.port.noted(uses.key.id, at(2))
    assert await uses.last_used_at() == at(2)
    assert list(uses.store.keys) == [uses.key.id]
