"""Contract of Organizations, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.identity.audit import AuditAction
from domain.identity.organization import Role
from domain.ids import UserId
from domain.page import PageRequest
from tests.support.builders.values import NOON, at
from tests.support.fixtures.identities import new_organization, new_project, over_postgres
from tests.support.waiting import in_time


async def test_founding_creates_organization_owner_and_project(identity):
    owner = await identity.person()
    ours = new_organization(owner.id, at=at(5))
    assert await identity.organizations.create_first(ours) == ours.owner
    assert (ours.owner.role, ours.owner.created_at) == (Role.OWNER, at(5))
    assert list(await identity.organizations.memberships(owner.id)) == [ours.owner]
    organization, first = ours.organization, ours.project
    assert first.name == "onboarding"
    assert await identity.directory.organization(organization.id) == organization
    assert await identity.projects.get(organization.id, first.id) == first
    again = new_project("onboarding", organization.id)
    assert await identity.projects.ensure(organization.id, again) == first
    log = await identity.directory.audit_log(organization.id, PageRequest())
    assert list(log.items) == [ours.entry]
    assert ours.entry.action is AuditAction.ORGANIZATION_CREATED


async def assert_nothing_made(identity, unwanted):
    organization = unwanted.organization.id
    with pytest.raises(NotFound):
        await identity.directory.organization(organization)
    with pytest.raises(NotFound):
        await identity.projects.get(organization, unwanted.project.id)
    with pytest.raises(NotFound):
        await identity.projects.ensure(organization, unwanted.project)
    assert list(await identity.directory.members(organization)) == []
    assert (await identity.directory.audit_log(organization, PageRequest())).total == 0


async def test_member_of_own_organization_creates_no_second_one(identity):
    owner = await identity.person()
    first, second = new_organization(owner.id), new_organization(owner.id, "Second")
    assert await identity.organizations.create_first(first) == first.owner
    assert await identity.organizations.create_first(second) == first.owner
    assert list(await identity.organizations.memberships(owner.id)) == [first.owner]
    await assert_nothing_made(identity, second)


async def test_member_of_another_organization_creates_none(identity):
    guest = await identity.person()
    host = await identity.join(guest.id, NOON)
    own = new_organization(guest.id)
    found = await identity.organizations.create_first(own)
    assert (found.organization_id, found.role) == (host, Role.MEMBER)
    await assert_nothing_made(identity, own)


async def test_concurrent_founding_creates_one_organization(identity):
    await identity.warm()
    owner = await identity.person()
    wanted = [new_organization(owner.id, f"Ours {n}") for n in range(20)]
    made = await asyncio.gather(*(identity.organizations.create_first(one) for one in wanted))
    assert len(set(made)) == 1
    assert list(await identity.organizations.memberships(owner.id)) == [made[0]]
    for one in wanted:
        if one.organization.id != made[0].organization_id:
            await assert_nothing_made(identity, one)


async def test_unknown_user_founds_nothing(identity):
    unknown = UserId(uuid.uuid4())
    for make in (
        identity.organizations.create_first,
        lambda one: identity.organizations.create(one, None),
    ):
        ours = new_organization(unknown)
        with pytest.raises(NotFound):
            await make(ours)
        await assert_nothing_made(identity, ours)


# --- further organizations -----------------------------------------------------------------------


async def test_add_creates_second_organization(identity):
    owner = await identity.person()
    first, second = new_organization(owner.id), new_organization(owner.id, "Second", at(1))
    await identity.organizations.create_first(first)
    await identity.organizations.create(second, None)
    memberships = await identity.organizations.memberships(owner.id)
    assert list(memberships) == [first.owner, second.owner]
    organization = second.organization
    assert await identity.directory.organization(organization.id) == organization
    assert list(await identity.directory.projects(organization.id)) == [second.project]
    log = await identity.directory.audit_log(organization.id, PageRequest())
    assert list(log.items) == [second.entry]


async def test_limit_counts_owned_organizations_only(identity):
    owner = await identity.person()
    for n in range(3):
        await identity.join(owner.id, at(n))
    first, second, third = (new_organization(owner.id, f"Ours {n}", at(n)) for n in range(3))
    await identity.organizations.create(first, 2)
    await identity.organizations.create(second, 2)
    with pytest.raises(Forbidden):
        await identity.organizations.create(third, 2)
    await assert_nothing_made(identity, third)
    async with identity.administration.lock(first.organization.id) as opened:
        await opened.remove(at(9))
    await identity.organizations.create(third, 2)
    assert len(await identity.organizations.memberships(owner.id)) == 5


async def test_limit_none_is_unlimited_and_zero_forbids(identity):
    owner = await identity.person()
    unwanted = new_organization(owner.id)
    with pytest.raises(Forbidden):
        await identity.organizations.create(unwanted, 0)
    await assert_nothing_made(identity, unwanted)
    for n in range(5):
        await identity.organizations.create(new_organization(owner.id, at=at(n)), None)
    assert len(await identity.organizations.memberships(owner.id)) == 5


async def test_concurrent_adds_stay_within_limit(identity):
    await identity.warm()
    owner = await identity.person()
    wanted = [new_organization(owner.id, f"Ours {n}") for n in range(20)]
    outcomes = await asyncio.gather(
        *(identity.organizations.create(one, 3) for one in wanted), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 3
    assert {type(one) for one in outcomes if one is not None} == {Forbidden}
    assert len(await identity.organizations.memberships(owner.id)) == 3


# --- memberships ---------------------------------------------------------------------------------


async def test_memberships_are_listed_oldest_first(identity):
    member = await identity.person()
    assert list(await identity.organizations.memberships(member.id)) == []
    joined = {second: await identity.join(member.id, at(second)) for second in (30, 10, 20)}
    tied = sorted([joined[10], await identity.join(member.id, at(10))])
    memberships = await identity.organizations.memberships(member.id)
    assert [one.organization_id for one in memberships] == [*tied, joined[20], joined[30]]
    oldest = await identity.organizations.create_first(new_organization(member.id))
    assert oldest == memberships[0]


async def test_memberships_of_others_are_not_listed(identity):
    ours, theirs = await identity.person(), await identity.person()
    organization = await identity.join(ours.id, NOON)
    await identity.join(theirs.id, NOON)
    memberships = await identity.organizations.memberships(ours.id)
    assert [(one.organization_id, one.user_id) for one in memberships] == [(organization, ours.id)]


@pytest.mark.service
async def test_failure_in_last_step_stores_nothing(pool):
    identity = over_postgres(pool)
    taken = await identity.projects.ensure(
        home := await identity.organization(), new_project("taken", home)
    )
    owner = await identity.person()
    ours = new_organization(owner.id)
    clashing = replace(taken, organization_id=ours.organization.id)
    with pytest.raises(Conflict):
        await identity.organizations.create_first(replace(ours, project=clashing))
    assert list(await identity.organizations.memberships(owner.id)) == []
    with pytest.raises(NotFound):
        await identity.directory.organization(ours.organization.id)
    assert (await identity.directory.audit_log(ours.organization.id, PageRequest())).total == 0


@pytest.mark.service
async def test_lost_connection_is_unavailable_and_next_call_works(pool):
    identity = over_postgres(pool)
    owner = await identity.person()
    ours = new_organization(owner.id)
    async with pool.acquire() as holder:
        # While the user's row is locked, `found` waits; then its connection is cut.
        lock = holder.transaction()
        await lock.start()
        await holder.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", owner.id)
        waiting = asyncio.create_task(identity.organizations.create_first(ours))
        mine = await holder.fetchval("SELECT pg_backend_pid()")
        async with in_time():
            while not await holder.fetchval(
                # Not pg_stat_activity, which shows a transaction what it showed at first.
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
                " WHERE NOT granted AND $1 = ANY(pg_blocking_pids(pid))",
                mine,
            ):
                pass
        with pytest.raises(Unavailable):
            await waiting
        await lock.rollback()
    assert list(await identity.organizations.memberships(owner.id)) == []
    assert (await identity.organizations.create_first(ours)).role is Role.OWNER


@pytest.mark.service
async def test_cut_idle_connections_fail_at_most_once_each(pool):
    identity = over_postgres(pool)
    owner = await identity.person()
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " AND usename = current_user AND application_name = 'pandaprobe'"
    )
    # A pool may return each dead connection once; every such failure is Unavailable.
    for _ in range(pool.get_max_size() + 1):
        try:
            memberships = await identity.organizations.memberships(owner.id)
            break
        except Unavailable:
            continue
    assert list(memberships) == []
