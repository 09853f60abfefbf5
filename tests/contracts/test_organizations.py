"""Contract of Organizations, run against every adapter."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from domain.errors import Conflict, NotFound, Unavailable
from domain.identity.organization import Membership, Role
from domain.ids import UserId
from tests.builders import NOON, at
from tests.contracts.identities import new_organization, new_project, over_postgres

WAIT_S = 10


async def test_founding_makes_an_organization_its_owner_and_a_project(identity):
    owner = await identity.person()
    ours = new_organization(at=at(5))
    first = new_project("onboarding", ours.id)
    membership = await identity.organizations.found(ours, owner.id, first)
    assert membership == Membership(
        organization_id=ours.id, user_id=owner.id, role=Role.OWNER, created_at=at(5)
    )
    assert list(await identity.organizations.memberships(owner.id)) == [membership]
    assert await identity.projects.get(ours.id, first.id) == first
    assert await identity.projects.ensure(ours.id, new_project("onboarding", ours.id)) == first


async def test_who_has_a_membership_gets_no_other(identity):
    owner = await identity.person()
    first, second = new_organization(), new_organization("Second")
    kept = await identity.organizations.found(first, owner.id, new_project("p", first.id))
    unwanted = new_project("p", second.id)
    assert await identity.organizations.found(second, owner.id, unwanted) == kept
    assert list(await identity.organizations.memberships(owner.id)) == [kept]
    with pytest.raises(NotFound):
        await identity.projects.get(second.id, unwanted.id)
    with pytest.raises(NotFound):
        await identity.projects.ensure(second.id, unwanted)


async def test_a_guest_elsewhere_founds_nothing_either(identity):
    guest = await identity.person()
    host = await identity.join(guest.id, NOON)
    own = new_organization()
    found = await identity.organizations.found(own, guest.id, new_project("p", own.id))
    assert (found.organization_id, found.role) == (host, Role.MEMBER)


async def test_founding_at_once_makes_one_organization(identity):
    await identity.warm()
    owner = await identity.person()
    wanted = [new_organization(f"Ours {n}") for n in range(20)]
    firsts = [new_project("onboarding", one.id) for one in wanted]
    made = await asyncio.gather(
        *(
            identity.organizations.found(one, owner.id, first)
            for one, first in zip(wanted, firsts, strict=True)
        )
    )
    assert len(set(made)) == 1
    assert list(await identity.organizations.memberships(owner.id)) == [made[0]]
    for first in firsts:
        if first.organization_id != made[0].organization_id:
            with pytest.raises(NotFound):
                await identity.projects.get(first.organization_id, first.id)


async def test_nobody_founds_nothing(identity):
    ours = new_organization()
    first = new_project("onboarding", ours.id)
    with pytest.raises(NotFound):
        await identity.organizations.found(ours, UserId(uuid.uuid4()), first)
    with pytest.raises(NotFound):
        await identity.projects.ensure(ours.id, first)


async def test_memberships_are_told_oldest_first(identity):
    member = await identity.person()
    assert list(await identity.organizations.memberships(member.id)) == []
    joined = {second: await identity.join(member.id, at(second)) for second in (30, 10, 20)}
    tied = sorted([joined[10], await identity.join(member.id, at(10))])
    told = await identity.organizations.memberships(member.id)
    assert [one.organization_id for one in told] == [*tied, joined[20], joined[30]]
    own = new_organization()
    oldest = await identity.organizations.found(own, member.id, new_project("p", own.id))
    assert oldest == told[0]


async def test_memberships_of_others_are_not_told(identity):
    ours, theirs = await identity.person(), await identity.person()
    organization = await identity.join(ours.id, NOON)
    await identity.join(theirs.id, NOON)
    told = await identity.organizations.memberships(ours.id)
    assert [(one.organization_id, one.user_id) for one in told] == [(organization, ours.id)]


@pytest.mark.service
async def test_what_fails_at_the_last_step_leaves_nothing(pool):
    identity = over_postgres(pool)
    taken = await identity.projects.ensure(
        home := await identity.organization(), new_project("taken", home)
    )
    owner, ours = await identity.person(), new_organization()
    with pytest.raises(Conflict):
        await identity.organizations.found(ours, owner.id, replace(taken, organization_id=ours.id))
    assert list(await identity.organizations.memberships(owner.id)) == []
    assert not await pool.fetchval("SELECT count(*) FROM organizations WHERE id = $1", ours.id)


@pytest.mark.service
async def test_a_lost_connection_is_unavailable_and_the_next_call_works(pool):
    identity = over_postgres(pool)
    owner, ours = await identity.person(), new_organization()
    first = new_project("onboarding", ours.id)
    async with pool.acquire() as holder:
        # While its user's row is held, `found` waits; then its connection is cut.
        lock = holder.transaction()
        await lock.start()
        await holder.execute("SELECT 1 FROM users WHERE id = $1 FOR UPDATE", owner.id)
        waiting = asyncio.create_task(identity.organizations.found(ours, owner.id, first))
        mine = await holder.fetchval("SELECT pg_backend_pid()")
        async with asyncio.timeout(WAIT_S):
            while not await holder.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE $1 = ANY(pg_blocking_pids(pid))",
                mine,
            ):
                pass
        with pytest.raises(Unavailable):
            await waiting
        await lock.rollback()
    assert list(await identity.organizations.memberships(owner.id)) == []
    assert (await identity.organizations.found(ours, owner.id, first)).role is Role.OWNER


@pytest.mark.service
async def test_idle_connections_that_were_cut_are_not_noticed_for_long(pool):
    identity = over_postgres(pool)
    owner = await identity.person()
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        " AND application_name = 'pandaprobe'"
    )
    # A pool may hand out a dead connection once each; every failure is told as passing.
    for _ in range(pool.get_max_size() + 1):
        try:
            told = await identity.organizations.memberships(owner.id)
            break
        except Unavailable:
            continue
    assert list(told) == []
