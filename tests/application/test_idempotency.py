"""Idempotency keys: a retried write is done once and gets the same response."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.idempotency import MemoryIdempotencyStore
from adapters.memory.store import MemoryStore
from application.batches import BATCHES_MAX
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
from tests.support.waiting import until

DAY = timedelta(hours=24)
SHOP = ProjectId(uuid.UUID(int=7))
REQUEST = IdempotentRequest(project=SHOP, operation="POST /x", key="k", request_hash=b"1")


@dataclass
class WriteRecorder:
    """Records the objects that writes create. The clock advances while a request waits."""

    responses: IdempotencyStore = field(
        default_factory=lambda: MemoryIdempotencyStore(MemoryStore())
    )
    now: datetime = NOON
    pauses: int = 0
    created_ids: list[UUID] = field(default_factory=list)

    async def once(self, request: IdempotentRequest, write: Write) -> StoredResponse:
        once = RunIdempotently(self.responses, DAY, lambda: self.now, uuid.uuid4)
        return await once(request, write, self.pause)

    async def pause(self, seconds: float) -> None:
        assert seconds == POLL_INTERVAL_S
        self.pauses += 1
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def write(self, object_id: UUID) -> StoredResponse:
        self.created_ids.append(object_id)
        return StoredResponse(201, object_id.bytes)


async def test_retry_gets_first_response() -> None:
    recorder = WriteRecorder()
    first = await recorder.once(REQUEST, recorder.write)
    assert await recorder.once(REQUEST, recorder.write) == first
    assert [one.bytes for one in recorder.created_ids] == [first.body]
    assert recorder.pauses == 0


async def test_concurrent_retries_wait_for_the_first_response() -> None:
    recorder, may_finish = WriteRecorder(), asyncio.Event()

    async def slow(object_id: UUID) -> StoredResponse:
        await may_finish.wait()
        return await recorder.write(object_id)

    first = asyncio.create_task(recorder.once(REQUEST, slow))
    others = [asyncio.create_task(recorder.once(REQUEST, recorder.write)) for _ in range(5)]
    await until(lambda: recorder.pauses >= 10)
    may_finish.set()
    answers = await asyncio.gather(first, *others)
    assert len(set(answers)) == len(recorder.created_ids) == 1


async def test_after_a_crash_the_retry_gets_the_same_object_id() -> None:
    recorder = WriteRecorder()

    async def killed(object_id: UUID) -> StoredResponse:
        await recorder.write(object_id)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await recorder.once(REQUEST, killed)
    answer = await recorder.once(REQUEST, recorder.write)
    assert recorder.now >= NOON + IDEMPOTENCY_LOCK_TTL
    assert set(recorder.created_ids) == {UUID(bytes=answer.body)}


@pytest.mark.parametrize("failure", [Invalid("no"), NotFound("no"), Unavailable("no"), KeyError()])
async def test_failure_is_not_stored(failure: Exception) -> None:
    recorder = WriteRecorder()

    async def failing(object_id: UUID) -> StoredResponse:
        await recorder.write(object_id)
        raise failure

    with pytest.raises(type(failure)):
        await recorder.once(REQUEST, failing)
    await recorder.once(REQUEST, recorder.write)
    assert recorder.pauses == 0
    assert len(set(recorder.created_ids)) == 1  # both attempts used the same id


async def test_waiting_for_another_attempt_is_bounded() -> None:
    recorder = WriteRecorder(responses=BrokenStore(locks=False))
    with pytest.raises(Unavailable):
        await recorder.once(REQUEST, recorder.write)
    assert recorder.pauses == POLLS_MAX
    assert recorder.created_ids == []
    assert recorder.now - NOON > IDEMPOTENCY_LOCK_TTL


async def test_another_request_with_the_same_key_conflicts() -> None:
    recorder = WriteRecorder()
    await recorder.once(REQUEST, recorder.write)
    other = IdempotentRequest(project=SHOP, operation="POST /x", key="k", request_hash=b"2")
    with pytest.raises(Conflict):
        await recorder.once(other, recorder.write)
    assert len(recorder.created_ids) == 1


async def test_after_the_retention_the_write_is_done_again() -> None:
    recorder = WriteRecorder()
    first = await recorder.once(REQUEST, recorder.write)
    recorder.now += DAY
    assert await recorder.once(REQUEST, recorder.write) != first
    assert len(set(recorder.created_ids)) == 2


@dataclass
class BrokenStore:
    """A store whose writes fail. Without `locks`, another attempt holds the lock."""

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
    recorder = WriteRecorder(responses=BrokenStore())
    answer = await recorder.once(REQUEST, recorder.write)
    assert [one.bytes for one in recorder.created_ids] == [answer.body]


async def test_raises_the_failure_even_if_the_lock_cannot_be_released() -> None:
    async def failing(object_id: UUID) -> StoredResponse:
        raise Invalid("no")

    with pytest.raises(Invalid):
        await WriteRecorder(responses=BrokenStore()).once(REQUEST, failing)


async def test_deletes_until_none_is_left_within_a_bounded_round() -> None:
    assert await DeleteExpiredResponses(BrokenStore(left=[3, 2]), lambda: NOON)() == 5
    endless = BrokenStore(left=[1] * (BATCHES_MAX + 5))
    assert await DeleteExpiredResponses(endless, lambda: NOON)() == BATCHES_MAX
    assert await DeleteExpiredResponses(endless, lambda: NOON)() == 5


async def test_deleting_raises_if_the_store_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await DeleteExpiredResponses(BrokenStore(left=[1, Unavailable("gone")]), lambda: NOON)()
