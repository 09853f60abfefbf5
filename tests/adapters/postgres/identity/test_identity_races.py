"""Bounds of identity that two processes would exceed at once, and the order of their locks."""

import asyncio
import uuid

import pytest

from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity.identity_rows import PROJECTS, project_row
from adapters.postgres.schema import moving
from application.identity.ports import USED_NETWORKS_MAX, KeyOrigin
from domain.identity.audit import Origin
from domain.identity.browser_session import SESSIONS_PER_HOLDER_MAX
from domain.ids import AuditEntryId
from tests.support.builders.sessions import a_session
from tests.support.builders.values import at
from tests.support.fixtures import identities
from tests.support.fixtures.identities import new_key, new_project
from tests.support.fixtures.lock_waits import count_lock_waits
from tests.support.waiting import until

pytestmark = pytest.mark.service

LOCK_KEY = "SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE"
LOCK_SESSIONS = "SELECT 1 FROM browser_sessions WHERE user_id = $1 OR key_id = $1 FOR UPDATE"
COUNT_NETWORKS = "SELECT count(*) FROM api_key_networks WHERE key_id = $1"
COUNT_SESSIONS = "SELECT count(*) FROM browser_sessions WHERE user_id = $1 OR key_id = $1"
COUNT_REMOVALS = "SELECT count(*) FROM removals WHERE project_id = $1"
WAITING = "(api_keys|browser_sessions|users|organizations)"


@pytest.fixture
def identity(patient_pool):
    return identities.over_postgres(patient_pool)


async def at_once(pool, lock, id_, *calls):
    """The results of calls that wait for the same rows, and then go on."""
    async with within(pool, ALL_TENANTS).transaction() as earlier:
        await earlier.execute(lock, id_)
        tasks = [asyncio.create_task(one) for one in calls]
        await until(lambda: count_lock_waits(pool, WAITING), lambda count: count >= len(calls))
    return await asyncio.gather(*tasks)


async def test_networks_of_a_key_are_limited_in_all_processes_together(identity, pool):
    key = new_key(await identity.organization())
    await identity.add_key(key)

    def key_origin(n):
        origin, entry = Origin(f"2001:db8:{n:x}::1", "sdk/1"), AuditEntryId(uuid.uuid4())
        return KeyOrigin(key=key.id, at=at(n), origin=origin, entry=entry)

    known = range(USED_NETWORKS_MAX - 1)
    await identity.keys.record_origins([key_origin(n) for n in known])
    late = [identity.keys.record_origins([key_origin(len(known) + n)]) for n in range(3)]
    await at_once(pool, LOCK_KEY, key.id, *late)
    assert await pool.fetchval(COUNT_NETWORKS, key.id) == USED_NETWORKS_MAX


@pytest.mark.parametrize("is_of_key", [False, True])
async def test_sessions_of_a_holder_are_limited_in_all_processes_together(
    identity, pool, is_of_key
):
    if is_of_key:
        key = new_key(await identity.organization())
        await identity.add_key(key)
        holder, said = key.id, {"key_id": key.id, "key_digest": key.digest}
    else:
        holder = (await identity.person()).id
        said = {"user_id": holder}
    start = identity.browser_sessions.start
    for _ in range(SESSIONS_PER_HOLDER_MAX):
        await start(a_session(**said), [])
    late = [start(a_session(**said), []) for _ in range(3)]
    await at_once(pool, LOCK_SESSIONS, holder, *late)
    assert await pool.fetchval(COUNT_SESSIONS, holder) == SESSIONS_PER_HOLDER_MAX


async def test_project_that_is_made_during_the_delete_of_its_organization_is_purged(identity, pool):
    organization = await identity.organization()
    project = new_project("late", organization)

    async def delete():
        async with identity.administration.lock(organization) as opened:
            await opened.remove(at(1))

    async with within(pool, organization).transaction() as creating:
        await creating.execute(PROJECTS.insert(), *project_row(organization, project))
        deleting = asyncio.create_task(delete())
        await until(lambda: count_lock_waits(pool, WAITING))
    await deleting
    everyone = within(pool, ALL_TENANTS)
    assert await everyone.fetchval(COUNT_REMOVALS, project.id) == 1


async def test_move_waits_for_edit_that_goes_on_to_create_a_project(identity, pool, patient_pool):
    organization = await identity.organization()
    async with identity.administration.lock(organization) as opened:
        cancelling = asyncio.create_task(moving.cancel(patient_pool, organization))
        await until(lambda: count_lock_waits(pool, WAITING))
        assert await opened.count_projects() == 1
    assert not await cancelling
