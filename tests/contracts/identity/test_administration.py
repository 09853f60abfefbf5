"""Contract of Administration and Contract of LockedOrganization, run against every adapter.

Here: blocks, one at a time, stored whole or not at all. What each method of an open organization
does: test_open_organization.py.
"""

import asyncio
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

from application.identity.ports import LockedOrganization
from domain.errors import Conflict, NotFound, Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.login_code import LoginCode
from domain.identity.organization import Role
from domain.identity.organization_bootstrap import NewOrganization
from domain.identity.user import User
from domain.ids import OrganizationId
from domain.page import PageRequest
from tests.support.builders.values import NOON, at
from tests.support.fixtures.identities import (
    Identity,
    new_code,
    new_entry,
    new_invitation,
    new_key,
    new_membership,
    new_project,
    over_postgres,
)
from tests.support.waiting import in_time

AT_ONCE = 20


class House:
    """An organization with a key, a code and a project, and all that can be done to it."""

    def __init__(self, identity: Identity, founded: NewOrganization, guest: User) -> None:
        self.identity, self.founded, self.guest = identity, founded, guest
        self.id = founded.organization.id
        owner = founded.owner.user_id
        self.key: ApiKey = new_key(self.id, created_by=owner)
        self.code: LoginCode = new_code(founded.project, owner)
        self.invitation = new_invitation(self.id, owner)

    @classmethod
    async def built(cls, identity: Identity) -> "House":
        house = cls(identity, await identity.founded(), await identity.person("g@example.com"))
        async with identity.administration.lock(house.id) as opened:
            await opened.put_key(house.key)
            await opened.add_login_code(house.code)
            await opened.put_invitation(house.invitation)
        return house

    async def change(self, opened: LockedOrganization) -> None:
        """One change by each method that makes any, but for `remove`."""
        owner, project = self.founded.owner.user_id, self.founded.project
        await opened.rename("Renamed")
        await opened.put_membership(new_membership(self.id, self.guest.id, Role.ADMIN))
        await opened.remove_member(owner, at(1))
        await opened.put_invitation(new_invitation(self.id, owner, "other@example.com"))
        await opened.put_project(new_project("second", self.id))
        await opened.put_budget(project.id, Decimal(1), at(1))
        await opened.put_key(new_key(self.id))
        await opened.use_login_code(self.code.digest)
        await opened.remove_key(self.key.id)
        await opened.remove_project(project.id, at(1))
        await opened.record(new_entry(self.id))

    async def seen(self) -> list[object]:
        """All that the directory tells of it."""
        directory = self.identity.directory
        try:
            organization = await directory.organization(self.id)
        except NotFound:
            organization = None
        return [
            organization,
            *[
                list(one)
                for one in (
                    await directory.members(self.id),
                    await directory.invitations(self.id),
                    await directory.projects(self.id),
                    await directory.keys(self.id),
                )
            ],
            await directory.login_code(self.code.digest),
            list((await directory.audit_log(self.id, PageRequest())).items),
        ]


@pytest.fixture
async def house(identity: Identity) -> House:
    return await House.built(identity)


# --- all or nothing ------------------------------------------------------------------------------


async def test_what_a_block_did_is_stored_once_it_is_left(identity, house):
    before = await house.seen()
    async with identity.administration.lock(house.id) as opened:
        await house.change(opened)
        assert await house.seen() == before  # nobody else sees a half of it
    after = await house.seen()
    assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "error",
    [Conflict("no"), RuntimeError("a fault of ours"), asyncio.CancelledError()],
    ids=["failure", "fault", "cancelled"],
)
@pytest.mark.parametrize("removed", [False, True])
async def test_a_block_that_raises_stores_nothing(identity, house, error, removed):
    before = await house.seen()

    async def fail() -> None:
        async with identity.administration.lock(house.id) as opened:
            await house.change(opened)
            if removed:
                await opened.remove(at(2))
            raise error

    with pytest.raises(type(error)):
        await fail()
    assert await house.seen() == before
    async with identity.administration.lock(house.id) as opened:
        await opened.rename("Still usable")
    assert (await identity.directory.organization(house.id)).name == "Still usable"


async def test_a_failure_of_a_method_takes_the_whole_block_back(identity, house):
    before = await house.seen()

    async def fail() -> None:
        async with identity.administration.lock(house.id) as opened:
            await opened.rename("Renamed")
            await opened.put_project(new_project("onboarding", house.id))

    with pytest.raises(Conflict):
        await fail()
    assert await house.seen() == before


async def test_a_block_that_is_cancelled_in_the_middle_stores_nothing(identity, house):
    before, inside = await house.seen(), asyncio.Event()

    async def hang() -> None:
        async with identity.administration.lock(house.id) as opened:
            await house.change(opened)
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await inside.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await house.seen() == before
    async with identity.administration.lock(house.id) as opened:
        assert opened.organization == house.founded.organization


async def test_a_block_sees_what_it_did(identity, house):
    async with identity.administration.lock(house.id) as opened:
        await house.change(opened)
        owner, project = house.founded.owner.user_id, house.founded.project
        assert await opened.member(owner) is None
        assert (await opened.member(house.guest.id)).membership.role is Role.ADMIN
        assert list(await opened.owners()) == []
        assert not await opened.has_member("ada@example.com")
        assert await opened.has_member("g@example.com")
        assert len(await opened.invitations_to("other@example.com")) == 1
        assert await opened.project(project.id) is None
        assert await opened.key(house.key.id) is None
        assert not await opened.use_login_code(house.code.digest)
        assert opened.organization == house.founded.organization  # as it was when it was opened


async def test_a_block_that_does_nothing_changes_nothing(identity, house):
    before = await house.seen()
    async with identity.administration.lock(house.id) as opened:
        assert opened.organization == house.founded.organization
    assert await house.seen() == before


# --- one at a time -------------------------------------------------------------------------------


async def test_blocks_of_one_organization_take_turns(identity):
    """Each reads a number and puts the next: none is lost."""
    await identity.warm()
    ours = (await identity.founded("0")).organization.id

    async def count() -> None:
        async with identity.administration.lock(ours) as opened:
            await opened.owners()
            await opened.rename(str(int(opened.organization.name) + 1))

    await asyncio.gather(*(count() for _ in range(AT_ONCE)))
    assert (await identity.directory.organization(ours)).name == str(AT_ONCE)


async def test_a_block_waits_for_the_one_before_and_not_for_other_organizations(identity):
    await identity.warm()
    ours, theirs = await identity.organization(), await identity.organization()
    order: list[str] = []

    async def second() -> None:
        async with identity.administration.lock(ours) as opened:
            order.append(f"second, {opened.organization.name}")

    async with identity.administration.lock(ours) as opened:
        waiting = asyncio.create_task(second())
        for n in range(5):
            async with identity.administration.lock(theirs) as other:
                await other.rename(f"Theirs {n}")
        await opened.rename("Renamed")
        order.append("first")
    await waiting
    assert order == ["first", "second, Renamed"]


async def test_a_block_that_waited_for_a_failed_one_sees_nothing_of_it(identity, house):
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        async with identity.administration.lock(house.id) as opened:
            await house.change(opened)
            inside.set()
            await go_on.wait()
            raise Conflict("no")

    async def wait() -> None:
        async with identity.administration.lock(house.id) as opened:
            assert opened.organization == house.founded.organization
            assert list(await opened.owners()) == [house.founded.owner.user_id]

    failing = asyncio.create_task(fail())
    await inside.wait()
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(Conflict):
        await failing
    await waiting


async def test_who_gives_up_waiting_holds_nobody_up(identity, house):
    async with identity.administration.lock(house.id) as opened:
        waiting = asyncio.create_task(identity.administration.lock(house.id).__aenter__())
        async with identity.administration.lock(await identity.organization()):
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await opened.rename("Renamed")
    async with identity.administration.lock(house.id) as opened:
        assert opened.organization.name == "Renamed"


async def test_the_data_plane_goes_on_meanwhile(identity, house):
    """Reading keys, making projects by name, noting uses: nothing waits for people."""
    wanted, used = new_project("new bot", house.id), new_key(house.id)
    await identity.add_key(used)
    async with in_time(), identity.administration.lock(house.id) as opened:
        await opened.rename("Renamed")
        assert await identity.keys.by_digest(house.key.digest) == house.key
        assert await identity.projects.ensure(house.id, wanted) == wanted
        await identity.keys.mark_used({used.id: at(5)})
    assert await identity.projects.get(house.id, wanted.id) == wanted
    assert await identity.keys.by_digest(used.digest) == replace(used, last_used_at=at(5))


# --- organizations that are gone -----------------------------------------------------------------


async def test_an_organization_that_isn_t_there_can_t_be_opened(identity):
    with pytest.raises(NotFound):
        await identity.administration.lock(OrganizationId(uuid.uuid4())).__aenter__()


async def test_an_organization_that_was_removed_can_t_be_opened(identity, house):
    async with identity.administration.lock(house.id) as opened:
        await opened.remove(at(1))
    with pytest.raises(NotFound):
        await identity.administration.lock(house.id).__aenter__()


async def test_who_waited_for_its_removal_finds_it_gone(identity, house):
    await identity.warm()
    other = await identity.organization()
    async with identity.administration.lock(house.id) as opened:
        waiting = [
            asyncio.create_task(identity.administration.lock(house.id).__aenter__())
            for _ in range(3)
        ]
        async with identity.administration.lock(other):
            await opened.remove(at(1))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [NotFound] * 3


@pytest.mark.service
async def test_a_connection_that_is_cut_stores_nothing_and_is_passing(pool):
    identity = over_postgres(pool)
    house = await House.built(identity)
    before = await house.seen()

    async def be_cut() -> None:
        async with identity.administration.lock(house.id) as opened:
            await house.change(opened)
            mine = await opened.connection.fetchval("SELECT pg_backend_pid()")
            await pool.execute("SELECT pg_terminate_backend($1)", mine)
            await opened.rename("Late")

    with pytest.raises(Unavailable):
        await be_cut()
    assert await house.seen() == before
    async with identity.administration.lock(house.id) as opened:
        await opened.rename("Again")
    assert (await identity.directory.organization(house.id)).name == "Again"
    assert house.founded.organization.created_at == NOON
