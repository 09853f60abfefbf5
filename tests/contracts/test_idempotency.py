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


def an_attempt(**said: Any) -> IdempotentRequest:
    known: dict[str, Any] = {
        "project": ProjectId(uuid.uuid4()),
        "operation": "POST /things",
        "key": "k",
        "request_hash": b"\x00" * 32,
    }
    return IdempotentRequest(**known | said)


async def begun(
    replies: IdempotencyStore, attempt: IdempotentRequest, later: timedelta = timedelta()
) -> IdempotencyLock | StoredResponse | None:
    now = NOON + later
    return await replies.begin(attempt, uuid.uuid4(), now, now + DAY)


async def turn_of(
    replies: IdempotencyStore, attempt: IdempotentRequest, later: timedelta = timedelta()
) -> IdempotencyLock:
    found = await begun(replies, attempt, later)
    assert isinstance(found, IdempotencyLock)
    return found


async def test_the_first_has_the_turn_with_a_new_id(replies: IdempotencyStore) -> None:
    new = uuid.uuid4()
    found = await replies.begin(an_attempt(), new, NOON, NOON + DAY)
    assert found == IdempotencyLock(new, NOON + IDEMPOTENCY_LOCK_TTL)


async def test_meanwhile_nobody_else_has_it(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    await turn_of(replies, attempt)
    assert await begun(replies, attempt) is None
    assert await begun(replies, attempt, IDEMPOTENCY_LOCK_TTL - SECOND) is None


async def test_of_many_at_once_one_has_it(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    found = await asyncio.gather(*(begun(replies, attempt) for _ in range(20)))
    assert sum(one is not None for one in found) == 1


async def test_its_reply_is_given_to_all_that_follow(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    turn = await turn_of(replies, attempt)
    assert await replies.complete(attempt, turn, DONE) == DONE
    assert await begun(replies, attempt) == DONE
    assert await begun(replies, attempt, DAY - SECOND) == DONE


async def test_a_turn_that_runs_out_is_taken_over_with_the_same_id(
    replies: IdempotencyStore,
) -> None:
    attempt = an_attempt()
    dead = await turn_of(replies, attempt)
    heir = await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    assert heir == IdempotencyLock(
        dead.object_id, NOON + IDEMPOTENCY_LOCK_TTL + IDEMPOTENCY_LOCK_TTL
    )
    assert await begun(replies, attempt, IDEMPOTENCY_LOCK_TTL) is None


async def test_of_many_heirs_there_is_one(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    await turn_of(replies, attempt)
    found = await asyncio.gather(
        *(begun(replies, attempt, IDEMPOTENCY_LOCK_TTL) for _ in range(20))
    )
    assert sum(one is not None for one in found) == 1


async def test_who_was_only_slow_gets_what_the_heir_has_kept(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    slow = await turn_of(replies, attempt)
    heir = await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    assert await replies.complete(attempt, heir, DONE) == DONE
    assert await replies.complete(attempt, slow, StoredResponse(201, b"another")) == DONE
    assert await begun(replies, attempt, IDEMPOTENCY_LOCK_TTL) == DONE


async def test_who_was_only_slow_ends_nobodys_turn(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    slow = await turn_of(replies, attempt)
    await turn_of(replies, attempt, IDEMPOTENCY_LOCK_TTL)
    await replies.release(attempt, slow, NOON + IDEMPOTENCY_LOCK_TTL)
    assert await begun(replies, attempt, IDEMPOTENCY_LOCK_TTL) is None


async def test_a_released_turn_is_free_at_once_and_the_id_stays(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    failed = await turn_of(replies, attempt)
    await replies.release(attempt, failed, NOON)
    assert (await turn_of(replies, attempt)).object_id == failed.object_id


async def test_a_reply_is_not_released(replies: IdempotencyStore) -> None:
    attempt = an_attempt()
    turn = await turn_of(replies, attempt)
    await replies.complete(attempt, turn, DONE)
    await replies.release(attempt, turn, NOON)
    assert await begun(replies, attempt) == DONE


async def test_another_request_cannot_have_the_key_of_a_turn_or_a_reply(
    replies: IdempotencyStore,
) -> None:
    attempt = an_attempt()
    other = replace(attempt, request_hash=b"\x01" * 32)
    turn = await turn_of(replies, attempt)
    with pytest.raises(Conflict):
        await begun(replies, other)
    await replies.complete(attempt, turn, DONE)
    with pytest.raises(Conflict):
        await begun(replies, other, DAY - SECOND)
    assert await begun(replies, attempt) == DONE


@pytest.mark.parametrize("is_released", [True, False])
async def test_another_request_takes_the_key_of_what_came_to_nothing(
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
    assert (
        await begun(replies, other, IDEMPOTENCY_LOCK_TTL) is None
    )  # the late one has kept nothing


@pytest.mark.parametrize("is_done", [True, False])
async def test_what_has_expired_is_as_if_it_had_never_been(
    replies: IdempotencyStore, is_done: bool
) -> None:
    attempt = an_attempt()
    old = await turn_of(replies, attempt)
    if is_done:
        await replies.complete(attempt, old, DONE)
    new = await turn_of(replies, attempt, DAY)
    assert new.object_id != old.object_id
    assert await begun(replies, attempt, DAY) is None


@pytest.mark.parametrize("said", [{"operation": "POST /others"}, {"key": "K"}, {"key": "k "}])
async def test_keys_operations_and_projects_know_nothing_of_each_other(
    replies: IdempotencyStore, said: dict[str, Any]
) -> None:
    attempt = an_attempt()
    await replies.complete(attempt, await turn_of(replies, attempt), DONE)
    await turn_of(replies, replace(attempt, **said))
    await turn_of(replies, replace(attempt, project=ProjectId(uuid.uuid4())))
    assert await begun(replies, attempt) == DONE


async def test_sweeping_takes_what_has_expired_and_nothing_else(replies: IdempotencyStore) -> None:
    old, young = an_attempt(), an_attempt()
    await replies.complete(old, await turn_of(replies, old), DONE)
    await replies.complete(young, await turn_of(replies, young, SECOND), DONE)
    while await replies.delete_expired(NOON + DAY):
        pass
    assert await begun(replies, young) == DONE
    new = await replies.begin(old, uuid.uuid4(), NOON, NOON + DAY)  # by a clock that went back
    assert isinstance(new, IdempotencyLock)
    assert await replies.delete_expired(NOON) == 0


async def test_sweepers_at_once_do_not_wait_for_each_other(replies: IdempotencyStore) -> None:
    for _ in range(5):
        await turn_of(replies, an_attempt(), -DAY)
    swept = await asyncio.gather(*(replies.delete_expired(NOON) for _ in range(4)))
    assert sum(swept) == 5


async def test_of_a_removed_project_nothing_is_told(world: World) -> None:
    owner = await world.person("ada")
    organization = (await world.do.create_organization(owner, "Ours")).id
    project = await world.project(organization)
    replies, attempt = world.ports.replies, an_attempt(project=project)
    await replies.complete(attempt, await turn_of(replies, attempt), DONE)
    await world.do.delete_project(owner, organization, project)
    with pytest.raises(NotFound):
        await begun(replies, attempt)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "keep", "release", "sweep"]),
        st.sampled_from([b"a", b"b"]),
        st.sampled_from([0, 1, 5, 10, 3600, 86_400]),  # seconds that pass before it
        st.integers(0, 3),  # by how many turns back it is meant
    ),
    max_size=20,
)


async def lived(
    replies: IdempotencyStore, steps: Sequence[tuple[str, bytes, int, int]]
) -> list[object]:
    """What one key goes through, and what each is told."""
    attempt = an_attempt()
    now, told = NOON, list[object]()
    turns = list[tuple[IdempotentRequest, IdempotencyLock]]()
    for number, (step, hash_, pause, back) in enumerate(steps):
        now += timedelta(seconds=pause)
        asked = replace(attempt, request_hash=hash_)
        if step == "begin":
            try:
                found = await replies.begin(asked, uuid.UUID(int=number), now, now + DAY)
            except Conflict:
                found = None
                told.append("conflict")
            if isinstance(found, IdempotencyLock):
                turns.append((asked, found))
            told.append(found)
        elif step == "sweep":
            await replies.delete_expired(now)
        elif back < len(turns):
            of, turn = turns[-1 - back]
            if step == "keep":
                told.append(await replies.complete(of, turn, StoredResponse(201, b"%d" % number)))
            else:
                await replies.release(of, turn, now)
    return told


@pytest.mark.service
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_history_is_the_same_in_memory_and_in_postgres(pool: Pool, steps: Any) -> None:
    in_memory = await lived(MemoryIdempotencyStore(MemoryStore()), steps)
    assert await lived(PostgresIdempotencyStore(pool), steps) == in_memory
