"""Idempotency keys: a retried write is done once and gets the same response."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.idempotency import MemoryIdempotencyStore
from adapters.memory.store import MemoryStore
from application.deletion import BATCHES_MAX
from application.idempotency import (
    POLL_INTERVAL_S,
    POLLS_MAX,
    DeleteExpiredResponses,
    RunIdempotently,
    Write,
)
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotencyStore,
    IdempotentRequest,
    StoredResponse,
)
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.ids import ProjectId
from tests.support.builders.values import NOON

DAY = timedelta(hours=24)
SHOP = ProjectId(uuid.UUID(int=7))
REQUEST = IdempotentRequest(project=SHOP, operation="POST /x", key="k", request_hash=b"1")


@dataclass
class World:
    """Counts the objects that a write creates. Its clock advances while a request waits."""

    responses: IdempotencyStore = field(
        default_factory=lambda: MemoryIdempotencyStore(MemoryStore())
    )
    now: datetime = NOON
    pauses: int = 0
    made: list[UUID] = field(default_factory=list)

    async def once(self, request: IdempotentRequest, write: Write) -> StoredResponse:
        once = RunIdempotently(self.responses, DAY, lambda: self.now, uuid.uuid4)
        return await once(request, write, self.pause)

    async def pause(self, seconds: float) -> None:
        assert seconds == POLL_INTERVAL_S
        self.pauses += 1
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def write(self, object_id: UUID) -> StoredResponse:
        self.made.append(object_id)
        return StoredResponse(201, object_id.bytes)


async def test_retry_gets_first_response() -> None:
    world = World()
    first = await world.once(REQUEST, world.write)
    assert await world.once(REQUEST, world.write) == first
    assert [one.bytes for one in world.made] == [first.body]
    assert world.pauses == 0


async def test_concurrent_retries_wait_for_the_first_response() -> None:
    world, going_on = World(), asyncio.Event()

    async def slow(object_id: UUID) -> StoredResponse:
        await going_on.wait()
        return await world.write(object_id)

    first = asyncio.create_task(world.once(REQUEST, slow))
    others = [asyncio.create_task(world.once(REQUEST, world.write)) for _ in range(5)]
    while world.pauses < 10:
        await asyncio.sleep(0)
    going_on.set()
    answers = await asyncio.gather(first, *others)
    assert len(set(answers)) == len(world.made) == 1


async def test_after_a_crash_the_retry_gets_the_same_object_id() -> None:
    world = World()

    async def killed(object_id: UUID) -> StoredResponse:
        await world.write(object_id)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.once(REQUEST, killed)
    answer = await world.once(REQUEST, world.write)
    assert world.now >= NOON + IDEMPOTENCY_LOCK_TTL
    assert set(world.made) == {UUID(bytes=answer.body)}


@pytest.mark.parametrize("failure", [Invalid("no"), NotFound("no"), Unavailable("no"), KeyError()])
async def test_failure_is_not_stored(failure: Exception) -> None:
    world = World()

    async def failing(object_id: UUID) -> StoredResponse:
        await world.write(object_id)
        raise failure

    with pytest.raises(type(failure)):
        await world.once(REQUEST, failing)
    await world.once(REQUEST, world.write)
    assert world.pauses == 0
    assert len(set(world.made)) == 1  # whether the first one was stored or not


async def test_waiting_for_another_attempt_is_bounded() -> None:
    world = World(responses=BrokenStore(locks=False))
    with pytest.raises(Unavailable):
        await world.once(REQUEST, world.write)
    assert world.pauses == POLLS_MAX
    assert world.made == []
    assert world.now - NOON > IDEMPOTENCY_LOCK_TTL


async def test_another_request_with_the_same_key_conflicts() -> None:
    world = World()
    await world.once(REQUEST, world.write)
    other = IdempotentRequest(project=SHOP, operation="POST /x", key="k", request_hash=b"2")
    with pytest.raises(Conflict):
        await world.once(other, world.write)
    assert len(world.made) == 1


async def test_after_the_retention_the_write_is_done_again() -> None:
    world = World()
    first = await world.once(REQUEST, world.write)
    world.now += DAY
    assert await world.once(REQUEST, world.write) != first
    assert len(set(world.made)) == 2


@dataclass
class BrokenStore:
    """A store whose writes fail. Without `locks`, another attempt always holds the lock."""

    locks: bool = True
    left: list[int | Exception] = field(default_factory=list)

    async def begin(
        self, request: IdempotentRequest, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | StoredResponse | None:
        return IdempotencyLock(new, now) if self.locks else None

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        raise Unavailable("gone")

    async def release(
        self, request: IdempotentRequest, lock: IdempotencyLock, now: datetime
    ) -> None:
        raise Unavailable("gone")

    async def delete_expired(self, now: datetime) -> int:
        step = self.left.pop(0) if self.left else 0
        if isinstance(step, Exception):
            raise step
        return step


async def test_responds_even_if_the_response_cannot_be_stored() -> None:
    world = World(responses=BrokenStore())
    answer = await world.once(REQUEST, world.write)
    assert [one.bytes for one in world.made] == [answer.body]


async def test_raises_the_failure_even_if_the_lock_cannot_be_released() -> None:
    async def failing(object_id: UUID) -> StoredResponse:
        raise Invalid("no")

    with pytest.raises(Invalid):
        await World(responses=BrokenStore()).once(REQUEST, failing)


async def test_deletes_until_none_is_left_within_a_bounded_round() -> None:
    assert await DeleteExpiredResponses(BrokenStore(left=[3, 2]), lambda: NOON)() == 5
    endless = BrokenStore(left=[1] * (BATCHES_MAX + 5))
    assert await DeleteExpiredResponses(endless, lambda: NOON)() == BATCHES_MAX
    assert await DeleteExpiredResponses(endless, lambda: NOON)() == 5


async def test_deleting_raises_if_the_store_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await DeleteExpiredResponses(BrokenStore(left=[1, Unavailable("gone")]), lambda: NOON)()
