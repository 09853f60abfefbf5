"""A write that is sent twice: done once, answered alike."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from adapters.memory.idempotency import MemoryReplies
from adapters.memory.store import MemoryStore
from application.idempotency import (
    LOOK_EVERY_S,
    LOOKS_MAX,
    STEPS_MAX,
    DeleteExpiredReplies,
    RunIdempotently,
    Write,
)
from application.ports import HELD, Attempt, IdempotencyLock, IdempotencyStore, Reply
from domain.errors import Conflict, Invalid, NotFound, Unavailable
from domain.ids import ProjectId
from tests.support.builders.values import NOON

DAY = timedelta(hours=24)
SHOP = ProjectId(uuid.UUID(int=7))
ATTEMPT = Attempt(project=SHOP, operation="POST /x", key="k", request_hash=b"1")


@dataclass
class Counter:
    """A write whose objects are counted, and a clock that pauses move on."""

    replies: IdempotencyStore = field(default_factory=lambda: MemoryReplies(MemoryStore()))
    now: datetime = NOON
    pauses: int = 0
    made: list[UUID] = field(default_factory=list)

    async def once(self, attempt: Attempt, write: Write) -> Reply:
        once = RunIdempotently(self.replies, DAY, lambda: self.now, uuid.uuid4)
        return await once(attempt, write, self.pause)

    async def pause(self, seconds: float) -> None:
        assert seconds == LOOK_EVERY_S
        self.pauses += 1
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    async def write(self, object_id: UUID) -> Reply:
        self.made.append(object_id)
        return Reply(201, object_id.bytes)


async def test_it_is_done_once_and_answered_twice() -> None:
    world = Counter()
    first = await world.once(ATTEMPT, world.write)
    assert await world.once(ATTEMPT, world.write) == first
    assert [one.bytes for one in world.made] == [first.body]
    assert world.pauses == 0


async def test_who_comes_meanwhile_waits_for_the_same_answer() -> None:
    world, going_on = Counter(), asyncio.Event()

    async def slow(object_id: UUID) -> Reply:
        await going_on.wait()
        return await world.write(object_id)

    first = asyncio.create_task(world.once(ATTEMPT, slow))
    others = [asyncio.create_task(world.once(ATTEMPT, world.write)) for _ in range(5)]
    while world.pauses < 10:
        await asyncio.sleep(0)
    going_on.set()
    answers = await asyncio.gather(first, *others)
    assert len(set(answers)) == len(world.made) == 1


async def test_a_holder_that_died_is_followed_with_the_same_object() -> None:
    world = Counter()

    async def killed(object_id: UUID) -> Reply:
        await world.write(object_id)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.once(ATTEMPT, killed)
    answer = await world.once(ATTEMPT, world.write)
    assert world.now >= NOON + HELD
    assert set(world.made) == {UUID(bytes=answer.body)}


@pytest.mark.parametrize("failure", [Invalid("no"), NotFound("no"), Unavailable("no"), KeyError()])
async def test_what_fails_is_not_remembered(failure: Exception) -> None:
    world = Counter()

    async def failing(object_id: UUID) -> Reply:
        await world.write(object_id)
        raise failure

    with pytest.raises(type(failure)):
        await world.once(ATTEMPT, failing)
    await world.once(ATTEMPT, world.write)
    assert world.pauses == 0
    assert len(set(world.made)) == 1  # whether the first one was stored or not


async def test_a_holder_that_never_ends_is_not_waited_for_without_end() -> None:
    world = Counter(replies=Unkept(turns=False))
    with pytest.raises(Unavailable):
        await world.once(ATTEMPT, world.write)
    assert world.pauses == LOOKS_MAX
    assert world.made == []
    assert world.now - NOON > HELD


async def test_another_request_with_the_key_is_refused() -> None:
    world = Counter()
    await world.once(ATTEMPT, world.write)
    other = Attempt(project=SHOP, operation="POST /x", key="k", request_hash=b"2")
    with pytest.raises(Conflict):
        await world.once(other, world.write)
    assert len(world.made) == 1


async def test_after_its_time_it_is_done_anew() -> None:
    world = Counter()
    first = await world.once(ATTEMPT, world.write)
    world.now += DAY
    assert await world.once(ATTEMPT, world.write) != first
    assert len(set(world.made)) == 2


@dataclass
class Unkept:
    """Replies that can't be kept, nor turns be released; or of which no turn is to be had."""

    turns: bool = True
    left: list[int | Exception] = field(default_factory=list)

    async def begin(
        self, attempt: Attempt, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | Reply | None:
        return IdempotencyLock(new, now) if self.turns else None

    async def complete(self, attempt: Attempt, turn: IdempotencyLock, reply: Reply) -> Reply:
        raise Unavailable("gone")

    async def release(self, attempt: Attempt, turn: IdempotencyLock, now: datetime) -> None:
        raise Unavailable("gone")

    async def delete_expired(self, now: datetime) -> int:
        step = self.left.pop(0) if self.left else 0
        if isinstance(step, Exception):
            raise step
        return step


async def test_what_is_done_is_answered_though_the_answer_cannot_be_kept() -> None:
    world = Counter(replies=Unkept())
    answer = await world.once(ATTEMPT, world.write)
    assert [one.bytes for one in world.made] == [answer.body]


async def test_what_failed_is_told_though_the_turn_cannot_be_released() -> None:
    async def failing(object_id: UUID) -> Reply:
        raise Invalid("no")

    with pytest.raises(Invalid):
        await Counter(replies=Unkept()).once(ATTEMPT, failing)


async def test_sweeping_goes_on_until_nothing_is_left_and_a_round_is_bounded() -> None:
    assert await DeleteExpiredReplies(Unkept(left=[3, 2]), lambda: NOON)() == 5
    endless = Unkept(left=[1] * (STEPS_MAX + 5))
    assert await DeleteExpiredReplies(endless, lambda: NOON)() == STEPS_MAX
    assert await DeleteExpiredReplies(endless, lambda: NOON)() == 5


async def test_sweeping_tells_that_the_store_is_gone() -> None:
    with pytest.raises(Unavailable):
        await DeleteExpiredReplies(Unkept(left=[1, Unavailable("gone")]), lambda: NOON)()
