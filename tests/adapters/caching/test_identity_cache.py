"""What is remembered, for how long, and what is never remembered."""

import asyncio
import contextlib
import uuid

import pytest

from adapters.caching.identity_cache import (
    ENTRIES_MAX,
    RememberedAdministration,
    RememberedApiKeys,
    RememberedProjects,
)
from adapters.memory.identity.administration import MemoryAdministration
from domain.errors import Conflict, NotFound, Unavailable
from domain.ids import OrganizationId
from tests.support.builders.values import NOON, at
from tests.support.fakes.query_counter import Counted, Hands, new_key, new_project, turns

SECONDS = 30


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def inner() -> Counted:
    return Counted()


@pytest.fixture
def keys(inner: Counted, clock: Hands) -> RememberedApiKeys:
    return RememberedApiKeys(inner, clock, SECONDS)


@pytest.fixture
def projects(inner: Counted, clock: Hands) -> RememberedProjects:
    return RememberedProjects(inner, clock, SECONDS)


# --- keys ----------------------------------------------------------------------------------------


async def test_a_key_is_asked_for_once_in_its_time(keys, inner, clock):
    key = inner.key()
    for _ in range(3):
        assert await keys.by_digest(key.digest) == key
        clock.forward(SECONDS / 3 - 0.001)
    assert inner.asked == 1


async def test_what_another_process_revoked_is_seen_when_its_time_is_over(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(SECONDS - 0.001)
    assert (await keys.by_digest(key.digest)).revoked_at is None
    clock.forward(0.001)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_being_used_makes_no_answer_younger(keys, inner, clock):
    key = inner.key()
    for _ in range(SECONDS):
        await keys.by_digest(key.digest)
        await keys.mark_used({key.id: clock()})
        clock.forward(1)
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_a_clock_that_is_set_back_keeps_nothing_alive(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(-3600)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_the_age_counts_from_the_question_not_from_the_answer(keys, inner, clock):
    key = inner.key()
    inner.gate = asyncio.Event()
    asking = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    clock.forward(SECONDS)
    inner.gate.set()
    assert await asking == key
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_zero_seconds_remember_nothing(inner, clock):
    keys, projects = RememberedApiKeys(inner, clock, 0), RememberedProjects(inner, clock, 0)
    key = inner.key()
    for _ in range(2):
        await keys.by_digest(key.digest)
        await projects.ensure(key.organization_id, new_project(key.organization_id))
    assert inner.asked == 4


@pytest.mark.parametrize("seconds", [-1, 30.001, float("nan")])
def test_longer_than_the_contract_allows_is_refused(inner, clock, seconds):
    with pytest.raises(ValueError, match="0 to 30"):
        RememberedApiKeys(inner, clock, seconds)


async def test_unknown_keys_are_asked_for_each_time(keys, inner):
    key = new_key(inner.organization())
    assert await keys.by_digest(key.digest) is None
    inner.store.keys[key.id] = key  # added by another process
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 2


async def test_a_key_that_is_added_while_it_is_asked_for_is_found_by_the_next(keys, inner):
    key = new_key(inner.organization())
    inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.store.keys[key.id] = key
    keys.forget_of(key.organization_id)
    late = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate.set()
    assert await late == key
    assert await early is None
    assert await keys.by_digest(key.digest) == key


async def test_an_answer_from_before_a_write_is_not_remembered(keys, inner):
    key = inner.key()
    gate = inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate = None
    await keys.mark_used({key.id: at(1)})
    gate.set()
    assert await early == key
    assert (await keys.by_digest(key.digest)).last_used_at == at(1)


async def test_a_failure_is_not_remembered(keys, inner):
    key = inner.key()
    inner.fail = Unavailable("down")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await keys.by_digest(key.digest)
    inner.fail = None
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 3


async def test_a_failure_leaves_what_is_remembered(keys, inner):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.fail = Unavailable("down")
    assert await keys.by_digest(key.digest) == key


async def test_callers_at_once_share_one_question(keys, inner):
    key, other = inner.key(), inner.key()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(50)]
    apart = asyncio.create_task(keys.by_digest(other.digest))
    await turns()
    assert inner.asked == 2
    inner.gate.set()
    assert await asyncio.gather(*calls) == [key] * 50
    assert await apart == other


async def test_callers_at_once_share_a_failure_and_the_next_asks_again(keys, inner):
    key = inner.key()
    inner.gate, inner.fail = asyncio.Event(), Unavailable("down")
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(5)]
    await turns()
    inner.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert (inner.asked, {type(one) for one in results}) == (1, {Unavailable})
    inner.fail = None
    assert await keys.by_digest(key.digest) == key


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_caller_who_gives_up_takes_nobody_along(keys, inner, leaving):
    key = inner.key()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(3)]
    await turns()
    calls[leaving].cancel()
    await turns()
    inner.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(leaving), asyncio.CancelledError)
    assert (results, inner.asked) == ([key, key], 1)


async def test_a_question_that_all_gave_up_on_fails_in_silence(keys, inner):
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    try:
        key = inner.key()
        inner.gate, inner.fail = asyncio.Event(), Unavailable("down")
        call = asyncio.create_task(keys.by_digest(key.digest))
        await turns()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        inner.gate.set()
        await turns()
    finally:
        loop.set_exception_handler(None)
    assert (told, inner.asked) == ([], 1)


async def test_the_oldest_answer_makes_room(keys, inner):
    organization = inner.organization()
    many = [new_key(organization) for _ in range(ENTRIES_MAX + 1)]
    for key in many:
        # The memory adapter looks through all keys: here one at a time is enough.
        inner.store.keys = {key.id: key}
        await keys.by_digest(key.digest)
    inner.store.keys = {key.id: key for key in (many[0], many[1])}
    before = inner.asked
    assert await keys.by_digest(many[1].digest) == many[1]
    assert await keys.by_digest(many[-1].digest) == many[-1]
    assert inner.asked == before
    assert await keys.by_digest(many[0].digest) == many[0]
    assert inner.asked == before + 1


# --- projects ------------------------------------------------------------------------------------


async def test_a_project_is_asked_for_once_in_its_time(projects, inner, clock):
    ours = inner.organization()
    first = await projects.ensure(ours, new_project(ours))
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 1
    clock.forward(SECONDS)
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 2


async def test_organizations_and_names_are_remembered_apart(projects, inner):
    ours, theirs = inner.organization(), inner.organization()
    wanted = [new_project(ours), new_project(ours, "Bot"), new_project(theirs)]
    made = [await projects.ensure(one.organization_id, one) for one in wanted]
    again = [await projects.ensure(one.organization_id, one) for one in wanted]
    assert made == again == wanted
    assert inner.asked == 3


async def test_first_calls_at_once_ask_once(projects, inner):
    ours = inner.organization()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(projects.ensure(ours, new_project(ours))) for _ in range(50)]
    await turns()
    inner.gate.set()
    assert len({project.id for project in await asyncio.gather(*calls)}) == 1
    assert inner.asked == 1


async def test_an_organization_that_is_gone_is_asked_for_each_time(projects, inner):
    gone = OrganizationId(uuid.uuid4())
    for _ in range(2):
        with pytest.raises(NotFound):
            await projects.ensure(gone, new_project(gone))
    assert inner.asked == 2


# --- what this process changes -------------------------------------------------------------------


@pytest.fixture
def administration(inner, keys, projects) -> RememberedAdministration:
    return RememberedAdministration(MemoryAdministration(inner.store), keys, projects)


async def test_what_a_block_revokes_is_refused_at_once(keys, inner, administration):
    key = inner.key()
    await keys.by_digest(key.digest)
    async with administration.lock(key.organization_id) as opened:
        await opened.put_key(key.revoked(at(1)))
    assert (await keys.by_digest(key.digest)).revoked_at == at(1)


async def test_a_key_that_a_block_removes_is_gone_at_once(keys, inner, administration):
    key = inner.key()
    await keys.by_digest(key.digest)
    async with administration.lock(key.organization_id) as opened:
        await opened.remove_key(key.id)
    assert await keys.by_digest(key.digest) is None


async def test_the_name_of_a_removed_project_makes_a_new_one_at_once(
    projects, inner, administration
):
    ours = inner.organization()
    before = await projects.ensure(ours, new_project(ours))
    async with administration.lock(ours) as opened:
        await opened.remove_project(before.id, NOON)
    wanted = new_project(ours)
    assert await projects.ensure(ours, wanted) == wanted


async def test_nothing_of_a_removed_organization_is_remembered(
    keys, projects, inner, administration
):
    key = inner.key()
    ours = key.organization_id
    await keys.by_digest(key.digest)
    await projects.ensure(ours, new_project(ours))
    async with administration.lock(ours) as opened:
        await opened.remove(NOON)
    assert await keys.by_digest(key.digest) is None
    with pytest.raises(NotFound):
        await projects.ensure(ours, new_project(ours))


async def test_a_block_that_fails_makes_everything_be_asked_for_anew(keys, inner, administration):
    """Its COMMIT may have come through although its answer did not."""
    key = inner.key()
    await keys.by_digest(key.digest)

    async def fail() -> None:
        async with administration.lock(key.organization_id):
            inner.revoke(key)
            raise Conflict("no")

    with pytest.raises(Conflict):
        await fail()
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_an_answer_from_before_a_block_is_not_remembered(keys, inner, administration):
    key = inner.key()
    gate = inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate = None
    async with administration.lock(key.organization_id) as opened:
        await opened.put_key(key.revoked(at(1)))
    gate.set()
    assert await early == key
    assert (await keys.by_digest(key.digest)).revoked_at == at(1)


async def test_other_organizations_stay_remembered(keys, projects, inner, administration):
    ours, theirs = inner.key(), inner.key()
    await keys.by_digest(theirs.digest)
    kept = await projects.ensure(theirs.organization_id, new_project(theirs.organization_id))
    before = inner.asked
    async with administration.lock(ours.organization_id) as opened:
        await opened.put_key(ours.revoked(at(1)))
    await keys.by_digest(theirs.digest)
    again = new_project(theirs.organization_id)
    assert await projects.ensure(theirs.organization_id, again) == kept
    assert inner.asked == before


async def test_a_project_that_turned_out_to_be_gone_is_asked_for_anew(projects, inner):
    ours = inner.organization()
    gone = await projects.ensure(ours, new_project(ours))
    kept = await projects.ensure(ours, new_project(ours, "kept"))
    del inner.store.projects[gone.id]  # by another process
    projects.forget(gone.id)
    wanted = new_project(ours)
    assert await projects.ensure(ours, wanted) == wanted
    before = inner.asked
    assert await projects.ensure(ours, new_project(ours, "kept")) == kept
    assert inner.asked == before
