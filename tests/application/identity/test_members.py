"""Members: their roles, leaving, and their keys afterwards."""

import uuid

import pytest

from domain.errors import Conflict, Forbidden, NotFound, Unauthenticated
from domain.identity.api_key import ALL_SCOPES, Expiration
from domain.identity.audit import UNKNOWN_ORIGIN, AuditAction
from domain.identity.invitation import InvitationStatus
from domain.identity.organization import Role
from domain.ids import UserId
from tests.support.builders.values import at

OWNER, ADMIN, MEMBER = Role.OWNER, Role.ADMIN, Role.MEMBER


# --- listing -------------------------------------------------------------------------------------


async def test_members_are_listed_oldest_first_with_name_and_address(world, ours, ada):
    people = [ada]
    for name in ("zoe", "bob"):
        world.forward(seconds=1)
        people.append(await world.member(ours, name))
    reported = await world.do.identity.directory.members(ours)
    assert [one.membership.user_id for one in reported] == [one.user.id for one in people]
    assert [(one.display_name, one.email) for one in reported] == [
        ("Ada", "ada@example.com"),
        ("Zoe", "zoe@example.com"),
        ("Bob", "bob@example.com"),
    ]
    assert [one.membership.role for one in reported] == [OWNER, MEMBER, MEMBER]


# --- roles ---------------------------------------------------------------------------------------


async def test_changed_role_applies_immediately(world, ours, ada):
    bob = await world.member(ours, "bob")
    changed = await world.do.identity.change_role(ada, ours, bob.user.id, ADMIN)
    assert (changed.membership.role, changed.email) == (ADMIN, bob.user.email)
    assert await world.membership(ours, bob) == changed.membership
    await world.do.identity.rename_organization(bob, ours, "Theirs")
    entry = (await world.log(ours))[1]
    assert (entry.action, entry.detail) == (
        AuditAction.MEMBER_ROLE_CHANGED,
        {"from": "MEMBER", "to": "ADMIN"},
    )


async def test_role_change_keeps_membership_id_and_creation_time(world, ours, ada):
    bob = await world.member(ours, "bob")
    before = await world.membership(ours, bob)
    world.forward(days=1)
    await world.do.identity.change_role(ada, ours, bob.user.id, OWNER)
    after = await world.membership(ours, bob)
    assert (after.id, after.created_at) == (before.id, before.created_at)


async def test_owner_can_demote_another_owner(world, ours, ada):
    bob = await world.member(ours, "bob")
    await world.do.identity.change_role(ada, ours, bob.user.id, OWNER)
    await world.do.identity.change_role(bob, ours, ada.user.id, MEMBER)
    assert await world.roles(ours) == {ada.user.id: MEMBER, bob.user.id: OWNER}
    with pytest.raises(Forbidden):
        await world.do.identity.change_role(ada, ours, bob.user.id, MEMBER)


@pytest.mark.parametrize("mine", Role)
async def test_changing_the_own_role_is_refused_first(world, ours, mine):
    """Not for lack of a right, though a MEMBER and an ADMIN lack it too."""
    someone = await world.member(ours, "someone", mine)
    with pytest.raises(Forbidden, match="own role"):
        await world.do.identity.change_role(someone, ours, someone.user.id, OWNER)


@pytest.mark.parametrize("mine", [ADMIN, MEMBER])
async def test_rights_are_checked_before_the_target_member(world, ours, mine):
    someone = await world.member(ours, "someone", mine)
    with pytest.raises(Forbidden, match="Only OWNER"):
        await world.do.identity.change_role(someone, ours, UserId(uuid.uuid4()), MEMBER)


async def test_membership_is_checked_before_the_own_role(world, ours):
    stranger = await world.person("stranger")
    with pytest.raises(Forbidden, match="not a member"):
        await world.do.identity.change_role(stranger, ours, stranger.user.id, OWNER)


async def test_target_that_is_not_a_member_is_not_found(world, ours, ada):
    stranger = await world.person("stranger")
    for user in (stranger.user.id, UserId(uuid.uuid4())):
        with pytest.raises(NotFound):
            await world.do.identity.change_role(ada, ours, user, ADMIN)
    assert await world.roles(ours) == {ada.user.id: OWNER}


# --- leaving and removing ------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
async def test_any_member_can_leave_if_an_owner_remains(world, ours, ada, role):
    bob = await world.member(ours, "bob", role)
    await world.do.identity.remove_member(bob, ours, bob.user.id)
    assert await world.roles(ours) == {ada.user.id: OWNER}
    entry = (await world.log(ours))[0]
    assert (entry.action, entry.actor, entry.resource_id) == (
        AuditAction.MEMBER_LEFT,
        bob.actor,
        str(bob.user.id),
    )
    assert entry.detail == {"role": role, "revoked_keys": "0"}


async def test_last_owner_cannot_leave(world, ours, ada):
    await world.member(ours, "bob", ADMIN)
    with pytest.raises(Conflict):
        await world.do.identity.remove_member(ada, ours, ada.user.id)
    assert (await world.roles(ours))[ada.user.id] is OWNER
    bob = await world.member(ours, "co-owner", OWNER)
    await world.do.identity.remove_member(ada, ours, ada.user.id)
    assert ada.user.id not in await world.roles(ours)
    with pytest.raises(Conflict):
        await world.do.identity.remove_member(bob, ours, bob.user.id)


async def test_missing_target_is_not_found_before_the_role_is_checked(world, ours):
    member = await world.member(ours, "member")
    stranger = await world.person("stranger")
    with pytest.raises(NotFound):
        await world.do.identity.remove_member(member, ours, stranger.user.id)
    with pytest.raises(Forbidden):
        await world.do.identity.remove_member(stranger, ours, UserId(uuid.uuid4()))


async def test_role_is_checked_before_the_last_owner(world, ours, ada):
    admin = await world.member(ours, "admin", ADMIN)
    with pytest.raises(Forbidden):
        await world.do.identity.remove_member(admin, ours, ada.user.id)


async def test_removed_member_has_no_access(world, ours, ada):
    bob = await world.member(ours, "bob", OWNER)
    await world.do.identity.remove_member(ada, ours, bob.user.id)
    with pytest.raises(Forbidden):
        await world.membership(ours, bob)
    assert [one.id for one, _ in await world.do.identity.directory.organizations(bob.user.id)] != [
        ours
    ]
    with pytest.raises(NotFound):
        await world.do.identity.remove_member(ada, ours, bob.user.id)


async def test_returning_member_has_a_new_membership(world, ours, ada):
    bob = await world.member(ours, "bob")
    before = await world.membership(ours, bob)
    await world.do.identity.remove_member(ada, ours, bob.user.id)
    world.forward(days=1)
    sent = await world.do.identity.invite(ada, ours, bob.user.email, ADMIN)
    _, after = await world.do.identity.accept_invitation(bob, sent.invitation.id)
    assert after.id != before.id
    assert (after.role, after.created_at) == (ADMIN, world.now)


# --- the keys of who goes ------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [True, False])
async def test_keys_of_a_removed_member_are_revoked(world, ours, ada, leaves):
    do = world.do
    bob = await world.member(ours, "bob")
    made = [
        await do.identity.create_key(bob, ours, f"k{n}", Expiration.NEVER, ALL_SCOPES)
        for n in range(2)
    ]
    made.append(await do.identity.create_key(bob, ours, "90", Expiration.DAYS_90, ALL_SCOPES))
    hers = await do.identity.create_key(ada, ours, "hers", Expiration.NEVER, ALL_SCOPES)
    early, _ = await do.identity.create_key(bob, ours, "early", Expiration.NEVER, ALL_SCOPES)
    await do.identity.revoke_key(ada, ours, early.id)
    world.forward(hours=1)
    await do.identity.remove_member(bob if leaves else ada, ours, bob.user.id)
    keys = {one.id: one for one in await do.identity.directory.keys(ours)}
    assert [keys[key.id].revoked_at for key, _ in made] == [at(3600)] * 3
    assert keys[hers[0].id].revoked_at is None
    assert keys[early.id].revoked_at == at(0)
    for key, secret in made:
        with pytest.raises(Unauthenticated):
            await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
        assert not keys[key.id].is_active(world.now)
    await do.identity.authenticate_key(hers[1], "bot", UNKNOWN_ORIGIN)
    entry = next(one for one in await world.log(ours) if one.action.resource == "member")
    assert entry.detail == {"role": "MEMBER", "revoked_keys": "3"}


async def test_command_line_key_of_a_removed_member_is_revoked(world, ours, ada):
    do, bob = world.do, await world.member(ours, "bob")
    project = await world.project(ours)
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    code = await do.identity.issue_login_code(bob, ours, project, challenge, "laptop")
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    key, secret, _ = await do.identity.exchange_login_code(code, verifier, UNKNOWN_ORIGIN)
    await do.identity.remove_member(ada, ours, bob.user.id)
    with pytest.raises(Unauthenticated):
        await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    membership = await world.membership(ours, ada)
    assert (
        await do.identity.directory.key(membership.organization_id, key.id)
    ).revoked_at == world.now


@pytest.mark.parametrize("leaves", [True, False])
async def test_invitations_of_a_removed_member_are_revoked(world, ours, ada, leaves):
    do, bob = world.do, await world.member(ours, "bob", ADMIN)
    cid = await world.person("cid")
    sent = (await do.identity.invite(bob, ours, cid.user.email, MEMBER)).invitation
    kept = (await do.identity.invite(ada, ours, "dan@example.com", MEMBER)).invitation
    await do.identity.remove_member(bob if leaves else ada, ours, bob.user.id)
    with pytest.raises(Conflict, match="REVOKED"):
        await do.identity.accept_invitation(cid, sent.id)
    listed = await do.identity.list_invitations(await world.membership(ours, ada))
    assert {one.invitation.id: one.invitation.status for one in listed} == {
        sent.id: InvitationStatus.REVOKED,
        kept.id: InvitationStatus.PENDING,
    }
    assert (await world.log(ours))[0].detail == {
        "role": ADMIN,
        "revoked_keys": "0",
        "revoked_invitations": "1",
    }


async def test_invitations_beyond_a_lower_role_are_revoked(world, ours, ada):
    do, bob = world.do, await world.member(ours, "bob", OWNER)
    for name, role in (("cid", ADMIN), ("dan", MEMBER)):
        await do.identity.invite(bob, ours, f"{name}@example.com", role)

    async def pending() -> set[Role]:
        listed = await do.identity.list_invitations(await world.membership(ours, ada))
        sent = [one.invitation for one in listed]
        return {one.role for one in sent if one.status is InvitationStatus.PENDING}

    await do.identity.change_role(ada, ours, bob.user.id, ADMIN)
    assert await pending() == {MEMBER}
    await do.identity.change_role(ada, ours, bob.user.id, MEMBER)
    assert await pending() == set()


async def test_keys_in_other_organizations_stay_valid(world, ours, ada):
    do, bob = world.do, await world.member(ours, "bob")
    elsewhere = (await do.identity.create_organization(bob, "Elsewhere")).id
    _, secret = await do.identity.create_key(bob, elsewhere, "k", Expiration.NEVER, ALL_SCOPES)
    await do.identity.remove_member(ada, ours, bob.user.id)
    caller = await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
    assert caller.organization_id == elsewhere


async def test_keys_stay_revoked_after_their_creator_returns(world, ours, ada):
    do, bob = world.do, await world.member(ours, "bob")
    _, secret = await do.identity.create_key(bob, ours, "k", Expiration.NEVER, ALL_SCOPES)
    await do.identity.remove_member(ada, ours, bob.user.id)
    await world.join(ours, bob, MEMBER)
    with pytest.raises(Unauthenticated):
        await do.identity.authenticate_key(secret, "bot", UNKNOWN_ORIGIN)
