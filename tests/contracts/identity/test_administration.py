"""Contract of Administration, and Contract of LockedOrganization.

This module tests the blocks: they run one at a time, and are stored completely or not at all.
test_organization_edit.py tests each method of an open organization.
"""

import asyncio
import uuid
from dataclasses import replace
from decimal import Decimal

import pytest

from application.identity.ports import LockedOrganization
from domain.errors import Conflict, NotFound, Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.caller import User
from domain.identity.login_code import LoginCode
from domain.identity.organization import NewOrganization, Role
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


class AdministrationFixture:
    """An organization with a key, a code and a project, and actions on it."""

    def __init__(self, identity: Identity, created: NewOrganization, guest: User) -> None:
        self.identity, self.created, self.guest = identity, created, guest
        self.id = created.organization.id
        owner = created.owner.user_id
        self.key: ApiKey = new_key(self.id, created_by=owner)
        self.code: LoginCode = new_code(created.project, owner)
        self.invitation = new_invitation(self.id, owner)

    @classmethod
    async def create(cls, identity: Identity) -> "AdministrationFixture":
        fixture = cls(
            identity, await identity.found_organization(), await identity.person("g@example.com")
        )
        async with identity.administration.lock(fixture.id) as opened:
            await opened.put_key(fixture.key)
            await opened.add_login_code(fixture.code)
            await opened.put_invitation(fixture.invitation)
        return fixture

    async def change(self, opened: LockedOrganization) -> None:
        """Makes one change with each method that makes any, except `remove`."""
        owner, project = self.created.owner.user_id, self.created.project
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

    async def read_all(self) -> list[object]:
        """Reads everything that the directory knows of the organization."""
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
async def fixture(identity: Identity) -> AdministrationFixture:
    return await AdministrationFixture.create(identity)


# --- atomicity -----------------------------------------------------------------------------------


async def test_block_is_stored_when_left(identity, fixture):
    before = await fixture.read_all()
    async with identity.administration.lock(fixture.id) as opened:
        await fixture.change(opened)
        assert await fixture.read_all() == before  # other readers see no partial change
    after = await fixture.read_all()
    assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "error",
    [Conflict("no"), RuntimeError("a fault of ours"), asyncio.CancelledError()],
    ids=["failure", "fault", "cancelled"],
)
@pytest.mark.parametrize("removed", [False, True])
async def test_block_that_raises_stores_nothing(identity, fixture, error, removed):
    before = await fixture.read_all()

    async def fail() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            await fixture.change(opened)
            if removed:
                await opened.remove(at(2))
            raise error

    with pytest.raises(type(error)):
        await fail()
    assert await fixture.read_all() == before
    async with identity.administration.lock(fixture.id) as opened:
        await opened.rename("Still usable")
    assert (await identity.directory.organization(fixture.id)).name == "Still usable"


async def test_failing_method_rolls_back_block(identity, fixture):
    before = await fixture.read_all()

    async def fail() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            await opened.rename("Renamed")
            await opened.put_project(new_project("onboarding", fixture.id))

    with pytest.raises(Conflict):
        await fail()
    assert await fixture.read_all() == before


async def test_cancelled_block_stores_nothing(identity, fixture):
    before, inside = await fixture.read_all(), asyncio.Event()

    async def hang() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            await fixture.change(opened)
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await inside.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await fixture.read_all() == before
    async with identity.administration.lock(fixture.id) as opened:
        assert opened.organization == fixture.created.organization


async def test_block_sees_its_own_changes(identity, fixture):
    async with identity.administration.lock(fixture.id) as opened:
        await fixture.change(opened)
        owner, project = fixture.created.owner.user_id, fixture.created.project
        assert await opened.member(owner) is None
        assert (await opened.member(fixture.guest.id)).membership.role is Role.ADMIN
        assert list(await opened.owners()) == []
        assert not await opened.has_member("ada@example.com")
        assert await opened.has_member("g@example.com")
        assert len(await opened.invitations_to("other@example.com")) == 1
        assert await opened.project(project.id) is None
        assert await opened.key(fixture.key.id) is None
        assert not await opened.use_login_code(fixture.code.digest)
        assert opened.organization == fixture.created.organization  # as it was when opened


async def test_block_without_changes_changes_nothing(identity, fixture):
    before = await fixture.read_all()
    async with identity.administration.lock(fixture.id) as opened:
        assert opened.organization == fixture.created.organization
    assert await fixture.read_all() == before


# --- isolation -----------------------------------------------------------------------------------


async def test_blocks_of_one_organization_run_one_at_a_time(identity):
    """Each reads a number and stores the next; no increment may be lost."""
    await identity.warm()
    ours = (await identity.found_organization("0")).organization.id

    async def count() -> None:
        async with identity.administration.lock(ours) as opened:
            await opened.owners()
            await opened.rename(str(int(opened.organization.name) + 1))

    await asyncio.gather(*(count() for _ in range(AT_ONCE)))
    assert (await identity.directory.organization(ours)).name == str(AT_ONCE)


async def test_block_waits_for_previous_of_same_organization_only(identity):
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


async def test_block_sees_nothing_of_failed_previous(identity, fixture):
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            await fixture.change(opened)
            inside.set()
            await go_on.wait()
            raise Conflict("no")

    async def wait() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            assert opened.organization == fixture.created.organization
            assert list(await opened.owners()) == [fixture.created.owner.user_id]

    failing = asyncio.create_task(fail())
    await inside.wait()
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(Conflict):
        await failing
    await waiting


async def test_cancelled_waiter_blocks_no_other(identity, fixture):
    async with identity.administration.lock(fixture.id) as opened:
        waiting = asyncio.create_task(identity.administration.lock(fixture.id).__aenter__())
        async with identity.administration.lock(await identity.organization()):
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await opened.rename("Renamed")
    async with identity.administration.lock(fixture.id) as opened:
        assert opened.organization.name == "Renamed"


async def test_data_plane_does_not_wait_for_block(identity, fixture):
    """Reading keys, creating projects by name and noting uses do not wait for administrators."""
    wanted, used = new_project("new bot", fixture.id), new_key(fixture.id)
    await identity.add_key(used)
    async with in_time(), identity.administration.lock(fixture.id) as opened:
        await opened.rename("Renamed")
        assert await identity.keys.by_digest(fixture.key.digest) == fixture.key
        assert await identity.projects.ensure(fixture.id, wanted) == wanted
        await identity.keys.mark_used({used.id: at(5)})
    assert await identity.projects.get(fixture.id, wanted.id) == wanted
    assert await identity.keys.by_digest(used.digest) == replace(used, last_used_at=at(5))


# --- missing organizations -----------------------------------------------------------------------


async def test_unknown_organization_is_not_found(identity):
    with pytest.raises(NotFound):
        await identity.administration.lock(OrganizationId(uuid.uuid4())).__aenter__()


async def test_removed_organization_is_not_found(identity, fixture):
    async with identity.administration.lock(fixture.id) as opened:
        await opened.remove(at(1))
    with pytest.raises(NotFound):
        await identity.administration.lock(fixture.id).__aenter__()


async def test_waiting_block_does_not_find_removed_organization(identity, fixture):
    await identity.warm()
    other = await identity.organization()
    async with identity.administration.lock(fixture.id) as opened:
        waiting = [
            asyncio.create_task(identity.administration.lock(fixture.id).__aenter__())
            for _ in range(3)
        ]
        async with identity.administration.lock(other):
            await opened.remove(at(1))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [NotFound] * 3


@pytest.mark.service
async def test_lost_connection_stores_nothing_and_is_unavailable(pool):
    identity = over_postgres(pool)
    fixture = await AdministrationFixture.create(identity)
    before = await fixture.read_all()

    async def lose_connection() -> None:
        async with identity.administration.lock(fixture.id) as opened:
            await fixture.change(opened)
            mine = await opened.connection.fetchval("SELECT pg_backend_pid()")
            await pool.execute("SELECT pg_terminate_backend($1::int)", mine)
            await opened.rename("Late")

    with pytest.raises(Unavailable):
        await lose_connection()
    assert await fixture.read_all() == before
    async with identity.administration.lock(fixture.id) as opened:
        await opened.rename("Again")
    assert (await identity.directory.organization(fixture.id)).name == "Again"
    assert fixture.created.organization.created_at == NOON
