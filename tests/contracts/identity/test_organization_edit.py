"""Part of the contract of LockedOrganization: each method's effect, on this organization only."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from application.identity.ports import LockedOrganization
from domain.errors import Conflict, NotFound
from domain.identity.api_key import KeyLimits, Scope
from domain.identity.audit import Actor, AuditAction, Origin
from domain.identity.invitation import InvitationStatus
from domain.identity.organization import Member, NewOrganization, Role
from domain.ids import ApiKeyId, InvitationId, ProjectId, UserId
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
)


@dataclass
class TwoOrganizations:
    """An open organization, and a second one."""

    opened: LockedOrganization
    ours: NewOrganization
    theirs: NewOrganization

    @property
    def id(self):
        return self.ours.organization.id

    @property
    def other(self):
        return self.theirs.organization.id


@pytest.fixture
async def fixture(identity: Identity) -> AsyncIterator[TwoOrganizations]:
    ours, theirs = await identity.found_organization(), await identity.found_organization("Theirs")
    async with identity.administration.lock(ours.organization.id) as opened:
        yield TwoOrganizations(opened, ours, theirs)


# --- members -------------------------------------------------------------------------------------


async def test_member_is_read_in_full(identity, fixture):
    guest = await identity.person("Guest@Example.com", "Güest")
    membership = new_membership(fixture.id, guest.id, Role.ADMIN, at(5))
    await fixture.opened.put_membership(membership)
    assert await fixture.opened.member(guest.id) == Member(
        membership=membership, display_name="Güest", email="Guest@Example.com"
    )


async def test_users_without_membership_are_not_members(fixture):
    for user in (fixture.theirs.owner.user_id, UserId(uuid.uuid4())):
        assert await fixture.opened.member(user) is None


async def test_owners_are_members_with_owner_role(identity, fixture):
    owners = {fixture.ours.owner.user_id}
    for role in Role:
        person = await identity.person()
        await fixture.opened.put_membership(new_membership(fixture.id, person.id, role))
        owners |= {person.id} if role is Role.OWNER else set()
    found = await fixture.opened.owners()
    assert len(found) == 2
    assert set(found) == owners


@pytest.mark.parametrize(
    ("email", "asked"),
    [
        ("bob@example.com", "bob@example.com"),
        ("Bob@EXAMPLE.com", "bob@example.com"),
        (" bob@example.com ", "bob@example.com"),
        ("ÄÖ.İ@example.com", "ÄÖ.İ@example.com".lower()),
        ("ΣΑΣ@example.com", "ΣΑΣ@example.com".lower()),
    ],
)
async def test_has_member_ignores_case_of_email(identity, fixture, email, asked):
    assert not await fixture.opened.has_member(asked)
    person = await identity.person(email)
    assert not await fixture.opened.has_member(asked)
    await fixture.opened.put_membership(new_membership(fixture.id, person.id))
    assert await fixture.opened.has_member(asked)
    await fixture.opened.remove_member(person.id, at(1))
    assert not await fixture.opened.has_member(asked)


async def test_has_member_rejects_similar_emails(identity, fixture):
    person = await identity.person("a_b%@example.com")
    await fixture.opened.put_membership(new_membership(fixture.id, person.id))
    for asked in ("axb%@example.com", "a_bc@example.com", "a_b%@example.co", ""):
        assert not await fixture.opened.has_member(asked)


async def test_putting_membership_again_changes_role_only(identity, fixture):
    person = await identity.person()
    first = new_membership(fixture.id, person.id, at=at(1))
    await fixture.opened.put_membership(first)
    await fixture.opened.put_membership(new_membership(fixture.id, person.id, Role.OWNER, at(9)))
    member = await fixture.opened.member(person.id)
    assert member.membership == replace(first, role=Role.OWNER)


async def test_unknown_user_cannot_become_member(identity, fixture):
    with pytest.raises(NotFound):
        await fixture.opened.put_membership(new_membership(fixture.id, UserId(uuid.uuid4())))


async def test_removing_member_revokes_keys_in_this_organization_only(identity):
    ours, theirs = await identity.found_organization(), await identity.found_organization()
    here, there, person = ours.organization.id, theirs.organization.id, await identity.person()
    mine = [
        new_key(here, created_by=person.id),
        new_key(here, created_by=person.id, expires_at=at(90)),
        new_key(here, created_by=person.id, expires_at=at(-90)),
    ]
    kept = [
        new_key(here, created_by=person.id, revoked_at=at(-5)),
        new_key(here, created_by=ours.owner.user_id),
        new_key(here),
        new_key(there, created_by=person.id),
    ]
    for key in (*mine, *kept):
        await identity.add_key(key)
    async with identity.administration.lock(here) as opened:
        await opened.put_membership(new_membership(here, person.id))
        revoked = await opened.remove_member(person.id, at(7))
        assert len(revoked) == 3
        assert set(revoked) == {key.id for key in mine}
        assert await opened.member(person.id) is None
        assert list(await opened.remove_member(person.id, at(8))) == []
    for key in mine:
        assert await identity.keys.by_digest(key.digest) == replace(key, revoked_at=at(7))
    for key in kept:
        assert await identity.keys.by_digest(key.digest) == key


# --- invitations ---------------------------------------------------------------------------------


async def test_invitation_is_read_in_full(fixture):
    sent = new_invitation(
        fixture.id, fixture.ours.owner.user_id, "ünï@example.com", role=Role.ADMIN, expires_at=at(5)
    )
    await fixture.opened.put_invitation(sent)
    assert await fixture.opened.invitation(sent.id) == sent
    assert await fixture.opened.invitation(InvitationId(uuid.uuid4())) is None


async def test_putting_invitation_again_changes_status_only(fixture):
    sent = new_invitation(fixture.id, fixture.ours.owner.user_id)
    await fixture.opened.put_invitation(sent)
    declined = replace(sent, status=InvitationStatus.DECLINED)
    await fixture.opened.put_invitation(
        replace(declined, email="other@example.com", role=Role.OWNER)
    )
    assert await fixture.opened.invitation(sent.id) == declined


async def test_pending_invitations_to_email_include_expired(fixture):
    by, pending = fixture.ours.owner.user_id, []
    for status in InvitationStatus:
        if status is InvitationStatus.EXPIRED:  # never stored
            continue
        for expires_at in (at(-1), at(100)):
            one = new_invitation(fixture.id, by, status=status, expires_at=expires_at)
            await fixture.opened.put_invitation(one)
            pending += [one] if status is InvitationStatus.PENDING else []
    await fixture.opened.put_invitation(new_invitation(fixture.id, by, "new@example.co"))
    found = await fixture.opened.invitations_to("new@example.com")
    assert sorted(found, key=lambda one: one.id) == sorted(pending, key=lambda one: one.id)


async def test_pending_invitations_by_user_are_those_that_the_user_sent(fixture, identity):
    by, other = fixture.ours.owner.user_id, await identity.person()
    first = new_invitation(fixture.id, by, "a@example.com")
    second = new_invitation(fixture.id, by, "b@example.com", created_at=at(1))
    answered = new_invitation(fixture.id, by, "c@example.com", status=InvitationStatus.DECLINED)
    for one in (second, answered, new_invitation(fixture.id, other.id, "d@example.com"), first):
        await fixture.opened.put_invitation(one)
    assert list(await fixture.opened.invitations_by(by)) == [first, second]


# --- the organization itself ---------------------------------------------------------------------


async def test_rename_is_stored(identity):
    ours, theirs = await identity.found_organization(), await identity.found_organization("Theirs")
    async with identity.administration.lock(ours.organization.id) as opened:
        await opened.rename("O'Brien 2")
    renamed = replace(ours.organization, name="O'Brien 2")
    assert await identity.directory.organization(renamed.id) == renamed
    untouched = await identity.directory.organization(theirs.organization.id)
    assert untouched == theirs.organization


async def test_removed_organization_is_gone_for_every_reader(identity):
    ours, theirs = await identity.found_organization(), await identity.found_organization("Theirs")
    kept = {}
    for one in (ours, theirs):
        home, owner = one.organization.id, one.owner.user_id
        kept[home] = (
            new_key(home, created_by=owner),
            new_code(one.project, owner),
            new_invitation(home, owner, f"{home}@example.com"),
        )
        key, code, sent = kept[home]
        async with identity.administration.lock(home) as opened:
            await opened.put_key(key)
            await opened.add_login_code(code)
            await opened.put_invitation(sent)
    async with identity.administration.lock(ours.organization.id) as opened:
        await opened.remove(at(1))
    directory = identity.directory
    for one, there in ((ours, False), (theirs, True)):
        home, owner = one.organization.id, one.owner.user_id
        key, code, sent = kept[home]
        many = (directory.members, directory.projects, directory.keys, directory.invitations)
        assert [bool(await read(home)) for read in many] == [there] * 4
        assert bool(await directory.organizations(owner)) is there
        assert bool(await identity.organizations.memberships(owner)) is there
        assert bool(await directory.invitations_to(sent.email, NOON)) is there
        assert await directory.login_code(code.digest) == (code if there else None)
        assert await identity.keys.by_digest(key.digest) == (key if there else None)
        for read in (
            directory.organization(home),
            directory.invitation(sent.id),
            directory.key(home, key.id),
            identity.projects.get(home, one.project.id),
            identity.projects.ensure(home, new_project("onboarding", home)),
        ):
            if there:
                assert await read
            else:
                with pytest.raises(NotFound):
                    await read


# --- projects ------------------------------------------------------------------------------------


async def test_project_is_read_in_full(fixture):
    bot = new_project("bot", fixture.id, "Sells\tthings: Ünïcode 🔑\r\n", at(5))
    await fixture.opened.put_project(bot)
    assert await fixture.opened.project(bot.id) == bot
    assert await fixture.opened.project(ProjectId(uuid.uuid4())) is None


async def test_putting_project_again_changes_name_and_description(fixture):
    bot = new_project("bot", fixture.id)
    await fixture.opened.put_project(bot)
    changed = replace(bot, name="new", description="words")
    await fixture.opened.put_project(changed)
    assert await fixture.opened.project(bot.id) == changed
    await fixture.opened.put_project(changed)  # its own name is not taken
    await fixture.opened.put_project(new_project("bot", fixture.id))  # and the old name is free


async def test_taken_project_name_is_conflict(identity):
    for change in (False, True):
        ours = await identity.found_organization()
        home = ours.organization.id
        bot = new_project("bot", home)
        async with identity.administration.lock(home) as opened:
            await opened.put_project(bot)

        async def clash(home=home, bot=bot, change=change) -> None:
            other = replace(bot, name="onboarding") if change else new_project("bot", home)
            async with identity.administration.lock(home) as opened:
                await opened.put_project(other)

        with pytest.raises(Conflict):
            await clash()
        names = [one.name for one in await identity.directory.projects(home)]
        assert sorted(names) == ["bot", "onboarding"]


async def test_project_names_differ_by_case_and_organization(identity, fixture):
    await identity.projects.ensure(fixture.other, new_project("bot", fixture.other))
    for name in ("bot", "Bot", "onboarding2"):
        await fixture.opened.put_project(new_project(name, fixture.id))
    assert (
        await identity.projects.ensure(fixture.other, new_project("bot", fixture.other))
    ).name == "bot"


async def test_budget_is_stored_changed_and_removed(fixture):
    project, other = fixture.ours.project.id, fixture.theirs.project.id
    assert await fixture.opened.budget(project) is None
    for usd in (Decimal("12.5"), Decimal(0), None, Decimal("0.000001")):
        await fixture.opened.put_budget(project, usd, NOON)
        assert await fixture.opened.budget(project) == usd
    await fixture.opened.put_budget(other, Decimal(1), NOON)
    assert await fixture.opened.budget(other) is None


async def test_removed_project_frees_its_name_and_loses_its_codes(identity):
    ours = await identity.found_organization()
    home, owner = ours.organization.id, ours.owner.user_id
    bot, again = new_project("bot", home), new_project("bot", home)
    gone, kept = new_code(bot, owner), new_code(ours.project, owner)
    async with identity.administration.lock(home) as opened:
        await opened.put_project(bot)
        await opened.add_login_code(gone)
        await opened.add_login_code(kept)
    async with identity.administration.lock(home) as opened:
        await opened.remove_project(bot.id, at(1))
        assert await opened.project(bot.id) is None
        await opened.put_project(again)
        assert not await opened.use_login_code(gone.digest)
    with pytest.raises(NotFound):
        await identity.projects.get(home, bot.id)
    assert await identity.projects.get(home, again.id) == again
    assert await identity.directory.login_code(gone.digest) is None
    assert await identity.directory.login_code(kept.digest) == kept


# --- keys ----------------------------------------------------------------------------------------


async def test_key_is_read_in_full_and_authenticates(identity):
    ours = await identity.found_organization()
    key = new_key(
        ours.organization.id,
        created_by=ours.owner.user_id,
        name="Ünïcode 🔑",
        scopes=frozenset({Scope.READ, Scope.EVALUATE}),
        limits=KeyLimits(
            project_ids=frozenset({ours.project.id, ProjectId(uuid.uuid4())}),
            networks=("192.0.2.0/24", "2001:db8::/48"),
        ),
        created_at=at(0.000_001),
        expires_at=at(90),
    )
    async with identity.administration.lock(ours.organization.id) as opened:
        await opened.put_key(key)
        assert await opened.key(key.id) == key
        assert await opened.key(ApiKeyId(uuid.uuid4())) is None
    assert await identity.keys.by_digest(key.digest) == key
    assert await identity.directory.key(ours.organization.id, key.id) == key


async def test_putting_key_again_only_revokes(identity):
    ours = await identity.found_organization()
    home = ours.organization.id
    key = new_key(home)
    await identity.add_key(key)
    async with identity.administration.lock(home) as opened:
        known = await opened.key(key.id)
        await identity.keys.mark_used({key.id: at(3)})  # used meanwhile
        changed = replace(known, revoked_at=at(5), name="other", scopes=frozenset())
        await opened.put_key(changed)
        assert (await opened.key(key.id)).revoked_at == at(5)
    found = await identity.keys.by_digest(key.digest)
    assert replace(found, last_used_at=None) == replace(key, revoked_at=at(5))


async def test_keys_in_use_are_counted(identity):
    ours, theirs = await identity.organization(), await identity.organization()
    for key in (
        new_key(ours),
        new_key(ours, expires_at=at(10)),
        new_key(ours, expires_at=at(5)),
        new_key(ours, revoked_at=at(1)),
        new_key(theirs),
    ):
        await identity.add_key(key)
    async with identity.administration.lock(ours) as opened:
        counts = [await opened.count_active_keys(at(second)) for second in (4, 5, 10)]
        assert counts == [3, 2, 1]
        await opened.put_key(new_key(ours))
        assert await opened.count_active_keys(at(10)) == 2


async def test_key_of_unknown_user_is_not_stored(fixture):
    with pytest.raises(NotFound):
        await fixture.opened.put_key(new_key(fixture.id, created_by=UserId(uuid.uuid4())))


async def test_removed_key_does_not_authenticate(identity):
    ours = await identity.organization()
    gone, kept = new_key(ours), new_key(ours)
    for key in (gone, kept):
        await identity.add_key(key)
        await identity.keys.by_digest(key.digest)
    async with identity.administration.lock(ours) as opened:
        await opened.remove_key(gone.id)
        await opened.remove_key(gone.id)
        assert await opened.key(gone.id) is None
    assert await identity.keys.by_digest(gone.digest) is None
    assert await identity.keys.by_digest(kept.digest) == kept


# --- login codes and the log ---------------------------------------------------------------------


async def test_login_code_is_used_once(identity):
    ours = await identity.found_organization()
    code = new_code(ours.project, ours.owner.user_id, label="Ünïcode 🔑", expires_at=at(-1))
    async with identity.administration.lock(ours.organization.id) as opened:
        await opened.add_login_code(code)
    assert await identity.directory.login_code(code.digest) == code
    async with identity.administration.lock(ours.organization.id) as opened:
        assert await opened.use_login_code(code.digest)
        assert not await opened.use_login_code(code.digest)
        assert not await opened.use_login_code(b"unknown")
    assert await identity.directory.login_code(code.digest) is None


@pytest.mark.parametrize(
    "actor",
    [
        Actor(name="operator"),
        Actor(user_id=UserId(uuid.uuid4()), name="ä@b.c", origin=Origin("192.0.2.1", "Ünï 🔑")),
        Actor(key_id=ApiKeyId(uuid.uuid4()), name="pp_0123456", origin=Origin("2001:db8::1")),
        Actor(name="", origin=Origin(None, "agent")),
    ],
)
async def test_audit_entry_is_read_in_full(identity, actor):
    ours = await identity.organization()
    entry = new_entry(
        ours,
        at=at(5.000_001),
        actor=actor,
        action=AuditAction.LOGIN_CODE_ISSUED,
        resource_id="any text: Ünï 🔑",
        detail={"b": "2", "a": '"quoted" \\ {}', "ü": "🔑", "": ""},
    )
    async with identity.administration.lock(ours) as opened:
        await opened.record(entry)
    log = await identity.directory.audit_log(ours, PageRequest(limit=1))
    assert log.items[0] == entry


# --- another organization ------------------------------------------------------------------------


async def test_contents_of_another_organization_are_not_found(identity):
    ours, theirs = await identity.found_organization(), await identity.found_organization("Theirs")
    here, there, owner = ours.organization.id, theirs.organization.id, theirs.owner.user_id
    key, code = new_key(there, created_by=owner), new_code(theirs.project, owner)
    sent = new_invitation(there, owner)
    async with identity.administration.lock(there) as opened:
        await opened.put_key(key)
        await opened.add_login_code(code)
        await opened.put_invitation(sent)
    async with identity.administration.lock(here) as opened:
        assert await opened.member(owner) is None
        assert owner not in await opened.owners()
        assert await opened.invitation(sent.id) is None
        assert list(await opened.invitations_to(sent.email)) == []
        assert list(await opened.invitations_by(owner)) == []
        assert await opened.project(theirs.project.id) is None
        assert await opened.key(key.id) is None
        assert not await opened.use_login_code(code.digest)
        assert list(await opened.remove_member(owner, at(1))) == []
        await opened.remove_project(theirs.project.id, at(1))
        await opened.remove_key(key.id)
    assert await identity.projects.get(there, theirs.project.id) == theirs.project
    assert await identity.directory.key(there, key.id) == key
    assert await identity.directory.login_code(code.digest) == code
    assert (await identity.directory.invitation(sent.id)).invitation == sent
    assert [one.membership for one in await identity.directory.members(there)] == [theirs.owner]
    assert list(await identity.directory.projects(here)) == [ours.project]
