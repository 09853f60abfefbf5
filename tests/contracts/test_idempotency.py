"""Contract of IdempotencyStore: one lock at a time, and the first response for all retries."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.memory.idempotency import MemoryIdempotencyStore
from adapters.memory.store import MemoryStore
from adapters.postgres.database.idempotency import PostgresIdempotencyStore
from adapters.postgres.database.pool import Pool
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotencyStore,
    IdempotentRequest,
    StoredResponse,
)
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId
from tests.support.builders.values import NOON
from tests.support.fixtures.in_memory_app import World
from tests.support.waiting import until_done

DAY = timedelta(hours=24)
SECOND = timedelta(seconds=1)
DONE = StoredResponse(201, b'{"id":"\xc3\xa9"}')


@pytest.fixture
def replies(adapter: Pool | None) -> IdempotencyStore:
    return (
        MemoryIdempotencyStore(MemoryStore())
        if adapter is None
        else PostgresIdempotencyStore(adapter)
    )


def an_attempt(**overrides: Any) -> IdempotentRequest:
    known: dict[str, Any] = {
        "project": ProjectId(uuid.uuid4()),
        "operation": "POST /things",
        "key": "k",
        "request_hash": b"\x00" * 32,
    }
    return IdempotentRequest(**known | overrides)


async def begin(
    replies: IdempotencyStore, attempt: IdempotentRequest, later: timedelta = timedelta()
) -> IdempotencyLock | StoredResponse | None:
    now = NOON + later
    return await replies.begin(attempt, uuid.uuid4(), now, now + DAY)


async def turn_of(
    replies: IdempotencyStore, attempt: IdempotentRequest, later: timedelta = timedelta()
) -> IdempotencyLock:
    found = await begin(replies, attempt, later)
    assert isinstance(found, IdempotencyLock)
    return found


async def test_first_attempt_gets_turn_with_new_id(replies: IdempotencyStore) -> None:
    new = uuid.uuid4()
    found = await replies.begin(an_attempt(), new, NOON, NOON + DAY)
    assert found == IdempotencyLock(new, NOON + IDEMPOTENCY_LOCK_TTL)


async def test_turn_is_exclusive_while_held(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    await turn_of(replies, attempt)
    assert await begin(replies, attempt) is None
    assert await begin(replies, attempt, IDEMPOTENCY_LOCK_TTL - SECOND) is None


async def test_of_concurrent_attempts_one_gets_turn(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    found = await asyncio.gather(*(begin(replies, attempt) for _ in range(20)))
    assert sum(one is not None for one in found) == 1


async def test_kept_reply_answers_later_attempts(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    turn = await turn_of(replies, attempt)
    assert await replies.complete(attempt, turn, DONE) == DONE
    assert await begin(replies, attempt) == DONE
    assert await begin(replies, attempt, DAY - SECOND) == DONE


async def test_expired_turn_is_taken_over_with_same_id(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    expired = await turn_of(replies, attempt)
    successor = await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    assert successor == IdempotencyLock(
        expired.object_id, NOON + IDEMPOTENCY_LOCK_TTL + IDEMPOTENCY_LOCK_TTL
    )
    assert await begin(replies, attempt, IDEMPOTENCY_LOCK_TTL) is None


async def test_expired_turn_is_taken_over_once(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    await turn_of(replies, attempt)
    found = await asyncio.gather(
        *(begin(replies, attempt, IDEMPOTENCY_LOCK_TTL) for _ in range(20))
    )
    assert sum(one is not None for one in found) == 1


async def test_slow_holder_gets_reply_of_successor(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    slow = await turn_of(replies, attempt)
    successor = await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    assert await replies.complete(attempt, successor, DONE) == DONE
    assert await replies.complete(attempt, slow, StoredResponse(201, b"another")) == DONE
    assert await begin(replies, attempt, IDEMPOTENCY_LOCK_TTL) == DONE


async def test_slow_holder_does_not_release_turn_of_successor(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    slow = await turn_of(replies, attempt)
    await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    await replies.release(attempt, slow, NOON + IDEMPOTENCY_LOCK_TTL)
    assert await begin(replies, attempt, IDEMPOTENCY_LOCK_TTL) is None


async def test_released_turn_is_free_and_keeps_id(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    failed = await turn_of(replies, attempt)
    await replies.release(attempt, failed, NOON)
    assert (await turn_of(replies, attempt)).object_id == failed.object_id


async def test_kept_reply_is_not_released(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    turn = await turn_of(replies, attempt)
    await replies.complete(attempt, turn, DONE)
    await replies.release(attempt, turn, NOON)
    assert await begin(replies, attempt) == DONE


async def test_key_of_another_request_is_conflict(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    other = replace(attempt, request_hash=b"\x01" * 32)
    turn = await turn_of(replies, attempt)
    with pytest.raises(Conflict):
        await begin(replies, other)
    await replies.complete(attempt, turn, DONE)
    with pytest.raises(Conflict):
        await begin(replies, other, DAY - SECOND)
    assert await begin(replies, attempt) == DONE


@pytest.mark.parametrize("is_released", [True, False])
async def test_another_request_takes_key_of_failed_attempt(
    replies: IdempotencyStore, is_released: bool
) -> None:
    attempt = an_attempt()
    failed = await turn_of(replies, attempt)
    if is_released:
        await replies.release(attempt, failed, NOON)
    other = replace(attempt, request_hash=b"\x01" * 32)
    taken = await turn_of(replies, other, IDEMPOTENCY_LOCK_TTL)
    assert taken.object_id != failed.object_id
    assert await replies.complete(attempt, failed, DONE) == DONE
    assert await begin(replies, other, IDEMPOTENCY_LOCK_TTL) is None  # the late reply was not kept


@pytest.mark.parametrize("is_done", [True, False])
async def test_expired_key_starts_over(replies: IdempotencyStore, is_done: bool) -> None:
    attempt = an_attempt()
    old = await turn_of(replies, attempt)
    if is_done:
        await replies.complete(attempt, old, DONE)
    new = await turn_of(replies, attempt, DAY)
    assert new.object_id != old.object_id
    assert await begin(replies, attempt, DAY) is None


@pytest.mark.parametrize("overrides", [{"operation": "POST /others"}, {"key": "K"}, {"key": "k "}])
async def test_keys_are_separate_by_operation_and_project(
    replies: IdempotencyStore, overrides: dict[str, Any]
) -> None:
    attempt = an_attempt()
    await replies.complete(attempt, await turn_of(replies, attempt), DONE)
    await turn_of(replies, replace(attempt, **overrides))
    await turn_of(replies, replace(attempt, project=ProjectId(uuid.uuid4())))
    assert await begin(replies, attempt) == DONE


async def test_sweep_deletes_expired_keys_only(replies: IdempotencyStore) -> None:
    old, young = an_attempt(), an_attempt()
    await replies.complete(old, await turn_of(replies, old), DONE)
    await replies.complete(young, await turn_of(replies, young, SECOND), DONE)
    await until_done(replies.delete_expired, NOON + DAY)
    assert await begin(replies, young) == DONE
    new = await replies.begin(old, uuid.uuid4(), NOON, NOON + DAY)  # by a clock that went back
    assert isinstance(new, IdempotencyLock)
    assert await replies.delete_expired(NOON) == 0


async def test_concurrent_sweeps_do_not_wait_for_each_other(replies: IdempotencyStore) -> None:
    for _ in range(5):
        await turn_of(replies, an_attempt(), -DAY)
    swept = await asyncio.gather(*(replies.delete_expired(NOON) for _ in range(4)))
    assert sum(swept) == 5


async def test_removed_project_has_no_replies(world: World) -> None:
    owner = await world.person("ada")
    organization = (await world.do.identity.create_organization(owner, "Ours")).id
    project = await world.project(organization)
    replies, attempt = world.ports.idempotency, an_attempt(project=project)
    await replies.complete(attempt, await turn_of(replies, attempt), DONE)
    await world.do.identity.delete_project(owner, organization, project)
    with pytest.raises(NotFound):
        await begin(replies, attempt)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "keep", "release", "sweep"]),
        st.sampled_from([b"a", b"b"]),
        st.sampled_from([0, 1, 5, 10, 3600, 86_400]),  # seconds that pass before the step
        st.integers(0, 3),  # how many turns back the step refers to
    ),
    max_size=20,
)


async def run_steps(
    replies: IdempotencyStore, steps: Sequence[tuple[str, bytes, int, int]]
) -> list[object]:
    """Runs steps on one key, and returns the answers."""
    attempt = an_attempt()
    now, answers = NOON, list[object]()
    turns = list[tuple[IdempotentRequest, IdempotencyLock]]()
    for number, (step, hash_, pause, back) in enumerate(steps):
        now += timedelta(seconds=pause)
        request = replace(attempt, request_hash=hash_)
        if step == "begin":
            try:
                found = await replies.begin(request, uuid.UUID(int=number), now, now + DAY)
            except Conflict:
                found = None
                answers.append("conflict")
            if isinstance(found, IdempotencyLock):
                turns.append((request, found))
            answers.append(found)
        elif step == "sweep":
            await replies.delete_expired(now)
        elif back < len(turns):
            of, turn = turns[-1 - back]
            if step == "keep":
                answers.append(
                    await replies.complete(of, turn, StoredResponse(201, b"%d" % number))
                )
            else:
                await replies.release(of, turn, now)
    return answers


@pytest.mark.service
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_random_histories_agree(pool: Pool, steps: Any) -> None:
    in_memory = await run_steps(MemoryIdempotencyStore(MemoryStore()), steps)
    assert await run_steps(PostgresIdempotencyStore(pool), steps) == in_memory
