"""Contract of Directory, run against every adapter."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, product
from typing import Any

import pytest

from domain.errors import NotFound
from domain.identity.audit import OPERATOR, Actor, AuditAction, AuditEntry, AuditFilter
from domain.identity.invitation import InvitationStatus, SentInvitation
from domain.identity.organization import Member, Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, UserId
from domain.page import PageRequest, Position
from tests.support.builders.values import NOON, at
from tests.support.fixtures.data_plane import read_all_pages
from tests.support.fixtures.identities import (
    Identity,
    new_code,
    new_entry,
    new_invitation,
    new_key,
    new_membership,
    new_project,
)

# Instants of the listed items: neither ascending nor descending, and some are equal.
INSTANTS = [at(second) for second in (20, 10, 30, 10, 10, 40)]


def newest_first(items: Sequence[Any]) -> list[Any]:
    """Sorts by creation, then id, both descending."""
    return sorted(items, key=lambda one: (one.created_at, one.id), reverse=True)


async def put(identity: Identity, organization: OrganizationId, method: str, *items: Any) -> None:
    async with identity.administration.lock(organization) as opened:
        for item in items:
            await getattr(opened, method)(item)


# --- organizations -------------------------------------------------------------------------------


async def test_organization_is_found_by_id(identity):
    ours = (await identity.found_organization("O'Brien", at(0.000_001))).organization
    assert await identity.directory.organization(ours.id) == ours
    with pytest.raises(NotFound):
        await identity.directory.organization(OrganizationId(uuid.uuid4()))


async def test_organizations_are_listed_by_newest_membership_with_role(identity):
    person = await identity.person()
    assert list(await identity.directory.organizations(person.id)) == []
    joined = []
    for n, instant in enumerate(INSTANTS):
        # The age of the organization does not matter.
        organization = (await identity.found_organization(f"N{n}", at(-n))).organization
        role = list(Role)[n % 3]
        membership = new_membership(organization.id, person.id, role, instant)
        await put(identity, organization.id, "put_membership", membership)
        joined.append((membership, organization))
    joined.sort(key=lambda one: (one[0].created_at, one[0].id), reverse=True)
    found = await identity.directory.organizations(person.id)
    assert list(found) == [(organization, one.role) for one, organization in joined]
    assert list(await identity.directory.organizations(UserId(uuid.uuid4()))) == []


# --- members -------------------------------------------------------------------------------------


async def test_members_are_listed_oldest_first_with_name_and_email(identity):
    ours = await identity.found_organization(at=at(25))
    home = ours.organization.id
    members = [Member(membership=ours.owner, display_name="", email="ada@example.com")]
    for n, instant in enumerate(INSTANTS):
        person = await identity.person(f"P{n}@Example.com", f"Pérson {n}")
        membership = new_membership(home, person.id, list(Role)[n % 3], instant)
        await put(identity, home, "put_membership", membership)
        members.append(
            Member(membership=membership, display_name=f"Pérson {n}", email=f"P{n}@Example.com")
        )
    members.sort(key=lambda one: (one.membership.created_at, one.membership.id))
    assert list(await identity.directory.members(home)) == members
    assert list(await identity.directory.members(OrganizationId(uuid.uuid4()))) == []


# --- invitations ---------------------------------------------------------------------------------


async def test_invitations_are_listed_newest_first_with_stored_status(identity):
    ours = await identity.found_organization("O'Brien")
    home, inviter = ours.organization.id, await identity.person("Inviter@b.c", "Ïnviter")
    stored = [one for one in InvitationStatus if one is not InvitationStatus.EXPIRED]
    asked = [
        new_invitation(
            home,
            inviter.id,
            f"{n}@example.com",
            status=stored[n % 4],
            created_at=instant,
            expires_at=at(-100),  # the reader decides whether it has expired
        )
        for n, instant in enumerate(INSTANTS)
    ]
    await put(identity, home, "put_invitation", *asked)
    found = await identity.directory.invitations(home)
    assert list(found) == [
        SentInvitation(
            invitation=one,
            organization_name="O'Brien",
            inviter_display_name="Ïnviter",
            inviter_email="Inviter@b.c",
        )
        for one in newest_first(asked)
    ]
    for one in found:
        assert await identity.directory.invitation(one.invitation.id) == one
    with pytest.raises(NotFound):
        await identity.directory.invitation(InvitationId(uuid.uuid4()))
    assert list(await identity.directory.invitations(await identity.organization())) == []


async def test_oldest_settled_invitations_are_left_out_of_a_long_list(identity):
    home, inviter = await identity.organization(), await identity.person()
    pending = [new_invitation(home, inviter.id, "a@b.c", created_at=at(n)) for n in range(2)]
    declined = InvitationStatus.DECLINED
    settled = [
        new_invitation(home, inviter.id, "a@b.c", created_at=at(n + 10), status=declined)
        for n in range(3)
    ]
    await put(identity, home, "put_invitation", *settled, *pending)
    for most, listed in ((4, [*pending, *settled[1:]]), (1, pending[1:])):
        found = await replace(identity.directory, listed_max=most).invitations(home)
        assert [one.invitation for one in found] == newest_first(listed)


async def test_newest_invitations_to_an_email_are_listed(identity):
    email, sent = f"{uuid.uuid4().hex}@example.com", []
    for n in range(3):
        home, inviter = await identity.organization(), await identity.person()
        sent.append(new_invitation(home, inviter.id, email, created_at=at(n)))
        await put(identity, home, "put_invitation", sent[-1])
    found = await replace(identity.directory, listed_max=2).invitations_to(email, at(3))
    assert [one.invitation for one in found] == sent[:0:-1]


async def test_pending_invitations_are_listed_for_their_email(identity):
    email, waiting = f"{uuid.uuid4().hex}@example.com", []
    for n, instant in enumerate(INSTANTS):
        ours = await identity.found_organization(f"N{n}")
        home, owner = ours.organization.id, ours.owner.user_id
        one = new_invitation(home, owner, email, created_at=instant, expires_at=at(60))
        others = [
            new_invitation(home, owner, email, expires_at=at(50)),
            new_invitation(home, owner, email + "x", expires_at=at(60)),
            *(
                new_invitation(home, owner, email, status=status, expires_at=at(60))
                for status in InvitationStatus
                if status not in {InvitationStatus.PENDING, InvitationStatus.EXPIRED}
            ),
        ]
        await put(identity, home, "put_invitation", one, *others)
        waiting.append(one)
    moment = timedelta(microseconds=1)
    found = await identity.directory.invitations_to(email, at(50))
    assert [one.invitation for one in found] == newest_first(waiting)
    assert {one.organization_name for one in found} == {f"N{n}" for n in range(len(INSTANTS))}
    assert len(await identity.directory.invitations_to(email, at(50) - moment)) == 12
    assert len(await identity.directory.invitations_to(email, at(60) - moment)) == 6
    assert list(await identity.directory.invitations_to(email, at(60))) == []
    assert list(await identity.directory.invitations_to("nobody@example.com", NOON)) == []


# --- projects and keys ---------------------------------------------------------------------------


async def test_projects_are_listed_newest_first(identity):
    ours = await identity.found_organization(at=at(25))
    home = ours.organization.id
    made = [new_project(f"p{n}", home, f"Ünï {n}", instant) for n, instant in enumerate(INSTANTS)]
    await put(identity, home, "put_project", *made)
    assert list(await identity.directory.projects(home)) == newest_first([ours.project, *made])
    other = await identity.found_organization()
    assert list(await identity.directory.projects(other.organization.id)) == [other.project]


async def test_oldest_revoked_keys_are_left_out_of_a_long_list(identity):
    home = (await identity.found_organization()).organization.id
    usable = [new_key(home, created_at=at(n)) for n in range(2)]
    revoked = [replace(new_key(home, created_at=at(n + 10)), revoked_at=at(20)) for n in range(3)]
    for key in (*revoked, *usable):
        await identity.add_key(key)
    for most, listed in ((4, [*usable, *revoked[1:]]), (1, usable[1:])):
        found = await replace(identity.directory, listed_max=most).keys(home)
        assert list(found) == newest_first(listed)


async def test_keys_are_listed_newest_first_in_any_state(identity):
    ours, theirs = await identity.found_organization(), await identity.found_organization()
    home = ours.organization.id
    keys = [
        new_key(home, created_at=instant, created_by=ours.owner.user_id if n % 2 else None)
        for n, instant in enumerate(INSTANTS)
    ]
    keys[0] = replace(keys[0], revoked_at=at(1))
    keys[1] = replace(keys[1], expires_at=at(-1))
    keys[2] = replace(keys[2], last_used_at=at(3), scopes=frozenset())
    for key in (*keys, foreign := new_key(theirs.organization.id)):
        await identity.add_key(key)
    assert list(await identity.directory.keys(home)) == newest_first(keys)
    for key in keys:
        assert await identity.directory.key(home, key.id) == key
    for unknown in (ApiKeyId(uuid.uuid4()), foreign.id):
        with pytest.raises(NotFound):
            await identity.directory.key(home, unknown)


async def test_login_code_is_found_also_when_expired(identity):
    ours = await identity.found_organization()
    codes = [
        new_code(ours.project, ours.owner.user_id, label="Ünï 🔑", challenge="c" * 43),
        new_code(ours.project, ours.owner.user_id, expires_at=at(-1_000)),
    ]
    await put(identity, ours.organization.id, "add_login_code", *codes)
    for code in codes:
        assert await identity.directory.login_code(code.digest) == code
    for unknown in (b"", b"unknown", codes[0].digest[:-1]):
        assert await identity.directory.login_code(unknown) is None


# --- the audit log -------------------------------------------------------------------------------


async def create_log(identity: Identity) -> tuple[OrganizationId, list[AuditEntry]]:
    """Creates an organization with an audit log, and returns that log newest first."""
    ours, theirs = await identity.found_organization(at=at(15)), await identity.found_organization()
    home = ours.organization.id
    entries = [
        new_entry(home, at=instant, detail={"n": str(n)}) for n, instant in enumerate(INSTANTS * 3)
    ]
    await put(identity, home, "record", *entries)
    await put(identity, theirs.organization.id, "record", new_entry(theirs.organization.id))
    every = [ours.entry, *entries]
    return home, sorted(every, key=lambda one: (one.at, one.id), reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 5, 18, 19, 20, 200])
async def test_log_is_newest_first_by_offset_and_cursor(identity, limit):
    home, entries = await create_log(identity)
    by_position, by_offset = await read_all_pages(
        lambda window: identity.directory.audit_log(home, window), limit
    )
    assert by_position == by_offset == entries


async def test_end_of_page_is_position_of_last_entry(identity):
    home, entries = await create_log(identity)
    page = await identity.directory.audit_log(home, PageRequest(limit=4, offset=3))
    assert list(page.items) == entries[3:7]
    assert page.end == Position(entries[6].at, entries[6].id)
    assert page.total == len(entries)


async def test_offset_past_end_returns_total_only(identity):
    home, entries = await create_log(identity)
    for offset in (len(entries), 1_000, 2**63 - 1):
        page = await identity.directory.audit_log(home, PageRequest(offset=offset))
        assert (list(page.items), page.total, page.end) == ([], len(entries), None)


async def test_cursor_walk_repeats_no_entry(identity):
    """Entries are added meanwhile, and they are newer."""
    home, entries = await create_log(identity)
    seen: list[AuditEntry] = []
    after: Position | None = None
    while True:
        page = await identity.directory.audit_log(home, PageRequest(limit=3, after=after))
        seen += page.items
        await put(identity, home, "record", new_entry(home, at=at(1_000)))
        if (after := page.end) is None:
            break
    assert seen == entries


async def test_cursor_need_not_be_an_entry(identity):
    home, entries = await create_log(identity)
    for one, other in pairwise(entries):
        between = Position(one.at, uuid.UUID(int=(one.id.int + other.id.int) // 2))
        if one.at == other.at:
            page = await identity.directory.audit_log(home, PageRequest(limit=1, after=between))
            assert list(page.items) == [other]


async def test_unknown_organization_has_no_log(identity):
    page = await identity.directory.audit_log(OrganizationId(uuid.uuid4()), PageRequest())
    assert (list(page.items), page.total, page.end) == ([], 0, None)


async def test_log_is_filtered_by_actor_action_and_time(identity):
    home, other = await identity.organization(), await identity.organization()
    person, key = UserId(uuid.uuid4()), ApiKeyId(uuid.uuid4())
    actors = [Actor(user_id=person, name="a"), Actor(key_id=key, name="k"), OPERATOR]
    actions = [AuditAction.PROJECT_CREATED, AuditAction.API_KEY_USED]
    written = [
        replace(new_entry(home, at=at(second)), actor=actor, action=action)
        for second, actor, action in product((1, 2, 3), actors, actions)
    ]
    await put(identity, home, "record", *written)
    elsewhere = replace(new_entry(other, at=at(2)), actor=actors[0], action=actions[0])
    await put(identity, other, "record", elsewhere)
    for action, actor_id, after, before in product(
        (None, *actions, AuditAction.RUN_DELETED),
        (None, person, key, uuid.uuid4()),
        (None, at(2)),
        (None, at(3)),
    ):
        matching = AuditFilter(action=action, actor_id=actor_id, after=after, before=before)
        expected = sorted(
            (one for one in written if matching.matches(one)),
            key=lambda one: (one.at, one.id),
            reverse=True,
        )
        # The creation of the organization is in the log as well.
        found, _ = await read_all_pages(
            lambda window, of=matching: identity.directory.audit_log(home, window, of), 4
        )
        assert [one for one in found if one in written] == expected


async def test_log_outlives_its_organization(identity):
    home, entries = await create_log(identity)
    last = new_entry(home, at=at(100))
    async with identity.administration.lock(home) as opened:
        await opened.record(last)
        await opened.remove(at(100))
    page = await identity.directory.audit_log(home, PageRequest(limit=200))
    assert list(page.items) == [last, *entries]


async def test_page_and_total_come_from_one_snapshot(identity):
    """Read while entries are added."""
    await identity.warm()
    home = await identity.organization()

    async def write() -> None:
        for n in range(10):
            await put(identity, home, "record", *(new_entry(home, at=at(n)) for _ in range(3)))

    async def read() -> None:
        for _ in range(10):
            page = await identity.directory.audit_log(home, PageRequest(limit=200))
            assert page.total == len(page.items)
            assert page.total % 3 == 1

    await asyncio.gather(write(), read(), read())
