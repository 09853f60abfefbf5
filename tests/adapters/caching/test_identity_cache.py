"""The identity cache: what it caches, for how long, and what it never caches."""

import asyncio
import contextlib
import uuid

import pytest

from adapters.caching.identity_cache import (
    ENTRIES_MAX,
    CachedApiKeys,
    CachedProjects,
    CacheInvalidatingAdministration,
)
from adapters.memory.identity.identity import MemoryAdministration
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
def keys(inner: Counted, clock: Hands) -> CachedApiKeys:
    return CachedApiKeys(inner, clock, SECONDS)


@pytest.fixture
def projects(inner: Counted, clock: Hands) -> CachedProjects:
    return CachedProjects(inner, clock, SECONDS)


# --- keys ----------------------------------------------------------------------------------------


async def test_key_is_loaded_once_per_ttl(keys, inner, clock):
    key = inner.key()
    for _ in range(3):
        assert await keys.by_digest(key.digest) == key
        clock.forward(SECONDS / 3 - 0.001)
    assert inner.asked == 1


async def test_revocation_by_another_process_shows_after_the_ttl(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(SECONDS - 0.001)
    assert (await keys.by_digest(key.digest)).revoked_at is None
    clock.forward(0.001)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_use_does_not_prolong_the_ttl(keys, inner, clock):
    key = inner.key()
    for _ in range(SECONDS):
        await keys.by_digest(key.digest)
        await keys.mark_used({key.id: clock()})
        clock.forward(1)
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_clock_set_back_expires_entries(keys, inner, clock):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.revoke(key)
    clock.forward(-3600)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_ttl_counts_from_the_start_of_the_load(keys, inner, clock):
    key = inner.key()
    inner.gate = asyncio.Event()
    asking = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    clock.forward(SECONDS)
    inner.gate.set()
    assert await asking == key
    inner.revoke(key)
    assert (await keys.by_digest(key.digest)).revoked_at == NOON


async def test_ttl_of_zero_disables_the_cache(inner, clock):
    keys, projects = CachedApiKeys(inner, clock, 0), CachedProjects(inner, clock, 0)
    key = inner.key()
    for _ in range(2):
        await keys.by_digest(key.digest)
        await projects.ensure(key.organization_id, new_project(key.organization_id))
    assert inner.asked == 4


@pytest.mark.parametrize("seconds", [-1, 30.001, float("nan")])
def test_ttl_beyond_30_seconds_is_refused(inner, clock, seconds):
    with pytest.raises(ValueError, match="0 to 30"):
        CachedApiKeys(inner, clock, seconds)


async def test_unknown_keys_are_not_cached(keys, inner):
    key = new_key(inner.organization())
    assert await keys.by_digest(key.digest) is None
    inner.store.keys[key.id] = key  # added by another process
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 2


async def test_key_added_during_a_load_is_found_by_the_next_load(keys, inner):
    key = new_key(inner.organization())
    inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.store.keys[key.id] = key
    keys.invalidate_organization(key.organization_id)
    late = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate.set()
    assert await late == key
    assert await early is None
    assert await keys.by_digest(key.digest) == key


async def test_value_loaded_before_a_write_is_not_cached(keys, inner):
    key = inner.key()
    gate = inner.gate = asyncio.Event()
    early = asyncio.create_task(keys.by_digest(key.digest))
    await turns()
    inner.gate = None
    await keys.mark_used({key.id: at(1)})
    gate.set()
    assert await early == key
    assert (await keys.by_digest(key.digest)).last_used_at == at(1)


async def test_failed_load_is_not_cached(keys, inner):
    key = inner.key()
    inner.fail = Unavailable("down")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await keys.by_digest(key.digest)
    inner.fail = None
    assert await keys.by_digest(key.digest) == key
    assert inner.asked == 3


async def test_failed_load_keeps_other_entries(keys, inner):
    key = inner.key()
    await keys.by_digest(key.digest)
    inner.fail = Unavailable("down")
    assert await keys.by_digest(key.digest) == key


async def test_concurrent_callers_share_one_load(keys, inner):
    key, other = inner.key(), inner.key()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(keys.by_digest(key.digest)) for _ in range(50)]
    apart = asyncio.create_task(keys.by_digest(other.digest))
    await turns()
    assert inner.asked == 2
    inner.gate.set()
    assert await asyncio.gather(*calls) == [key] * 50
    assert await apart == other


async def test_concurrent_callers_share_a_failure_and_the_next_loads_again(keys, inner):
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
async def test_cancelled_caller_does_not_cancel_others(keys, inner, leaving):
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


async def test_load_without_callers_fails_silently(keys, inner):
    reported = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
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
    assert (reported, inner.asked) == ([], 1)


async def test_oldest_entry_is_evicted(keys, inner):
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


async def test_project_is_loaded_once_per_ttl(projects, inner, clock):
    ours = inner.organization()
    first = await projects.ensure(ours, new_project(ours))
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 1
    clock.forward(SECONDS)
    assert await projects.ensure(ours, new_project(ours)) == first
    assert inner.asked == 2


async def test_project_is_looked_up_once_per_ttl(projects, inner, clock):
    ours = inner.organization()
    assert await projects.by_name(ours, "bot") is None
    bot = await projects.ensure(ours, new_project(ours))
    before = inner.asked
    assert await projects.by_name(ours, "bot") == bot
    assert inner.asked == before
    clock.forward(SECONDS)
    assert await projects.by_name(ours, "bot") == bot
    assert await projects.by_name(ours, "bot") == bot
    assert inner.asked == before + 1


async def test_missing_project_is_made_during_a_lookup_of_its_name(projects, inner):
    ours = inner.organization()
    gate = inner.gate = asyncio.Event()
    looking = asyncio.create_task(projects.by_name(ours, "bot"))
    await turns()
    wanted = new_project(ours)
    making = asyncio.create_task(projects.ensure(ours, wanted))
    await turns()
    gate.set()
    assert await making == wanted
    assert await looking is None


async def test_projects_are_cached_by_organization_and_name(projects, inner):
    ours, theirs = inner.organization(), inner.organization()
    wanted = [new_project(ours), new_project(ours, "Bot"), new_project(theirs)]
    made = [await projects.ensure(one.organization_id, one) for one in wanted]
    again = [await projects.ensure(one.organization_id, one) for one in wanted]
    assert made == again == wanted
    assert inner.asked == 3


async def test_concurrent_first_calls_load_once(projects, inner):
    ours = inner.organization()
    inner.gate = asyncio.Event()
    calls = [asyncio.create_task(projects.ensure(ours, new_project(ours))) for _ in range(50)]
    await turns()
    inner.gate.set()
    assert len({project.id for project in await asyncio.gather(*calls)}) == 1
    assert inner.asked == 1


async def test_missing_organization_is_not_cached(projects, inner):
    gone = OrganizationId(uuid.uuid4())
    for _ in range(2):
        with pytest.raises(NotFound):
            await projects.ensure(gone, new_project(gone))
    assert inner.asked == 2


# --- what this process changes -------------------------------------------------------------------


@pytest.fixture
def administration(inner, keys, projects) -> CacheInvalidatingAdministration:
    return CacheInvalidatingAdministration(MemoryAdministration(inner.store), keys, projects)


async def test_revoked_key_is_refused_immediately(keys, inner, administration):
    key = inner.key()
    await keys.by_digest(key.digest)
    async with administration.lock(key.organization_id) as opened:
        await opened.put_key(key.revoked(at(1)))
    assert (await keys.by_digest(key.digest)).revoked_at == at(1)


async def test_deleted_key_is_gone_immediately(keys, inner, administration):
    key = inner.key()
    await keys.by_digest(key.digest)
    async with administration.lock(key.organization_id) as opened:
        await opened.remove_key(key.id)
    assert await keys.by_digest(key.digest) is None


async def test_name_of_a_deleted_project_creates_a_new_one_immediately(
    projects, inner, administration
):
    ours = inner.organization()
    before = await projects.ensure(ours, new_project(ours))
    async with administration.lock(ours) as opened:
        await opened.remove_project(before.id, NOON)
    wanted = new_project(ours)
    assert await projects.ensure(ours, wanted) == wanted


async def test_deleted_organization_is_dropped_from_the_cache(
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


async def test_failed_edit_invalidates_the_cache(keys, inner, administration):
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


async def test_value_loaded_before_an_edit_is_not_cached(keys, inner, administration):
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


async def test_edit_keeps_entries_of_other_organizations(keys, projects, inner, administration):
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


async def test_invalidated_project_is_loaded_again(projects, inner):
    ours = inner.organization()
    gone = await projects.ensure(ours, new_project(ours))
    kept = await projects.ensure(ours, new_project(ours, "kept"))
    del inner.store.projects[gone.id]  # by another process
    projects.invalidate(gone.id)
    wanted = new_project(ours)
    assert await projects.ensure(ours, wanted) == wanted
    before = inner.asked
    assert await projects.ensure(ours, new_project(ours, "kept")) == kept
    assert inner.asked == before
