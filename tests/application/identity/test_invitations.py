"""Invitations: rights, the order of refusals, and the answers."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity.audit import AuditAction
from domain.identity.invitation import InvitationStatus
from domain.identity.organization import Role
from domain.ids import InvitationId

WEEK = timedelta(days=7)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def bob(world):
    return await world.person("bob")


@pytest.fixture
async def sent(world, ours, ada, bob):
    """An invitation to Bob."""
    return await world.do.identity.invite(ada, ours, bob.user.email, Role.ADMIN)


async def statuses(world, ours, ada) -> list[InvitationStatus]:
    """As the organization sees them, newest first."""
    reported = await world.do.identity.list_invitations(await world.membership(ours, ada))
    return [one.invitation.status for one in reported]


# --- inviting ------------------------------------------------------------------------------------


async def test_invitation_is_returned_whole(world, ours, ada):
    sent = await world.do.identity.invite(ada, ours, "  New@Example.COM ", Role.MEMBER)
    asked = sent.invitation
    assert (asked.organization_id, asked.email) == (ours, "new@example.com")
    assert (asked.role, asked.status) == (Role.MEMBER, InvitationStatus.PENDING)
    assert (asked.invited_by, asked.created_at) == (ada.user.id, world.now)
    assert asked.expires_at == world.now + WEEK
    assert sent.organization_name == "Ours"
    assert (sent.inviter_display_name, sent.inviter_email) == ("Ada", "ada@example.com")
    assert await world.do.identity.list_invitations(await world.membership(ours, ada)) == [sent]
    entry = (await world.log(ours))[0]
    assert entry.detail == {"email": "new@example.com", "role": "MEMBER"}


@pytest.mark.parametrize("email", ["", "ab", " ab ", "x" * 321])
async def test_address_length_is_checked_before_rights(world, ours, email):
    member = await world.member(ours, "member")
    with pytest.raises(Invalid) as refused:
        await world.do.identity.invite(member, ours, email, Role.MEMBER)
    assert [error.field for error in refused.value.errors] == ["email"]


async def test_rights_are_checked_before_the_address(world, ours, ada):
    member = await world.member(ours, "member")
    admin = await world.member(ours, "admin", Role.ADMIN)
    for who, email, role in (
        (member, member.user.email, Role.MEMBER),
        (admin, ada.user.email, Role.ADMIN),
        (ada, ada.user.email, Role.OWNER),
    ):
        with pytest.raises(Forbidden):
            await world.do.identity.invite(who, ours, email, role)


async def test_own_address_is_refused_in_any_case(world, ours, ada):
    for email in ("ada@example.com", " ADA@Example.com "):
        with pytest.raises(Conflict, match="own address"):
            await world.do.identity.invite(ada, ours, email, Role.MEMBER)
    assert await statuses(world, ours, ada) == []


async def test_inviting_a_member_is_a_conflict(world, ours, ada):
    await world.member(ours, "cid")
    with pytest.raises(Conflict, match="member already"):
        await world.do.identity.invite(ada, ours, "CID@example.com", Role.MEMBER)


async def test_current_address_of_a_member_counts(world, ours, ada):
    """The email follows the token."""
    cid = await world.member(ours, "cid")
    user = replace(cid.user, email="Cid@Other.example")
    world.ports.identity.users.store.users[user.id] = user
    await world.do.identity.invite(ada, ours, "cid@example.com", Role.MEMBER)
    with pytest.raises(Conflict, match="member already"):
        await world.do.identity.invite(ada, ours, "cid@other.example", Role.MEMBER)


async def test_second_pending_invitation_to_an_address_is_a_conflict(world, ours, ada, sent):
    world.now = sent.invitation.expires_at - MOMENT
    with pytest.raises(Conflict, match="pending"):
        await world.do.identity.invite(ada, ours, "BOB@example.com", Role.MEMBER)
    world.now = sent.invitation.expires_at
    again = await world.do.identity.invite(ada, ours, "bob@example.com", Role.MEMBER)
    assert again.invitation.id != sent.invitation.id
    pending, expired = InvitationStatus.PENDING, InvitationStatus.EXPIRED
    assert await statuses(world, ours, ada) == [pending, expired]


async def test_invitation_conflict_precedence_is_own_address_member_pending(world, ours, ada):
    """Own address, then member, then pending: an own address is a member's too."""
    admin = await world.member(ours, "admin", Role.ADMIN)
    pending = await world.do.identity.invite(ada, ours, "cid@example.com", Role.MEMBER)
    cid = await world.member(ours, "cid")
    assert pending.invitation.email == cid.user.email
    with pytest.raises(Conflict, match="own address"):
        await world.do.identity.invite(admin, ours, admin.user.email, Role.MEMBER)
    with pytest.raises(Conflict, match="member already"):
        await world.do.identity.invite(admin, ours, "cid@example.com", Role.MEMBER)


@pytest.mark.parametrize("answer", ["accept", "decline", "revoke"])
async def test_answered_invitation_allows_another(world, ours, ada, bob, sent, answer):
    do = world.do
    if answer == "revoke":
        await do.identity.revoke_invitation(ada, ours, sent.invitation.id)
    elif answer == "decline":
        await do.identity.decline_invitation(bob, sent.invitation.id)
    else:
        await do.identity.accept_invitation(bob, sent.invitation.id)
        await do.identity.remove_member(ada, ours, bob.user.id)
    again = await do.identity.invite(ada, ours, bob.user.email, Role.MEMBER)
    assert await do.identity.list_my_invitations(bob) == [again]


async def test_other_organizations_invite_the_same_address(world, ours, ada, bob, sent):
    theirs = (await world.do.identity.create_organization(ada, "Second")).id
    world.forward(seconds=1)
    second = await world.do.identity.invite(ada, theirs, bob.user.email, Role.MEMBER)
    assert await world.do.identity.list_my_invitations(bob) == [second, sent]
    _, membership = await world.do.identity.accept_invitation(bob, sent.invitation.id)
    assert membership.organization_id == ours
    assert await world.do.identity.list_my_invitations(bob) == [second]


# --- what is shown -------------------------------------------------------------------------------


async def test_invitations_are_listed_newest_first_with_any_status(world, ours, ada, bob):
    do = world.do
    asked = []
    for n in range(5):
        world.forward(seconds=1)
        email = bob.user.email if n in {1, 2} else f"{n}@example.com"
        asked.append((await do.identity.invite(ada, ours, email, Role.MEMBER)).invitation)
        if n == 1:
            await do.identity.decline_invitation(bob, asked[1].id)
        if n == 2:
            await do.identity.accept_invitation(bob, asked[2].id)
    await do.identity.revoke_invitation(ada, ours, asked[3].id)
    reported = await do.identity.list_invitations(await world.membership(ours, ada))
    assert [one.invitation.id for one in reported] == [one.id for one in reversed(asked)]
    kept = ["PENDING", "REVOKED", "ACCEPTED", "DECLINED"]
    assert await statuses(world, ours, ada) == [*kept, "PENDING"]
    world.now = asked[0].expires_at
    assert await statuses(world, ours, ada) == [*kept, "EXPIRED"]
    world.forward(days=8)
    assert await statuses(world, ours, ada) == ["EXPIRED", *kept[1:], "EXPIRED"]


async def test_invitation_is_listed_for_its_address_until_it_expires(world, bob, sent):
    shouting = replace(bob, user=replace(bob.user, email="BOB@Example.com"))
    for who in (bob, shouting):
        assert await world.do.identity.list_my_invitations(who) == [sent]
    world.now = sent.invitation.expires_at - MOMENT
    assert await world.do.identity.list_my_invitations(bob) == [sent]
    world.now = sent.invitation.expires_at
    assert await world.do.identity.list_my_invitations(bob) == []


async def test_invitation_is_hidden_from_other_addresses(world, ada, sent):
    assert await world.do.identity.list_my_invitations(ada) == []
    assert await world.do.identity.list_my_invitations(await world.person("bobby")) == []


async def test_invitation_of_a_deleted_organization_is_hidden(world, ours, ada, bob, sent):
    await world.do.identity.delete_organization(ada, ours)
    assert await world.do.identity.list_my_invitations(bob) == []
    with pytest.raises(NotFound):
        await world.do.identity.accept_invitation(bob, sent.invitation.id)


async def test_invitation_shows_new_name_of_renamed_organization(world, ours, ada, bob, sent):
    await world.do.identity.rename_organization(ada, ours, "Renamed")
    [reported] = await world.do.identity.list_my_invitations(bob)
    assert reported == replace(sent, organization_name="Renamed")


# --- answering -----------------------------------------------------------------------------------


async def test_accepting_creates_a_membership_with_the_offered_role(world, ours, bob, sent):
    world.forward(hours=1)
    organization, membership = await world.do.identity.accept_invitation(bob, sent.invitation.id)
    assert (organization.id, organization.name) == (ours, "Ours")
    assert (membership.organization_id, membership.user_id) == (ours, bob.user.id)
    assert (membership.role, membership.created_at) == (Role.ADMIN, world.now)
    assert await world.membership(ours, bob) == membership
    assert await world.do.identity.list_my_invitations(bob) == []
    entry = (await world.log(ours))[0]
    assert (entry.action, entry.actor) == (AuditAction.INVITATION_ACCEPTED, bob.actor)


async def test_declining_creates_no_membership(world, ours, ada, bob, sent):
    assert await world.do.identity.decline_invitation(bob, sent.invitation.id) is None
    assert bob.user.id not in await world.roles(ours)
    assert await statuses(world, ours, ada) == [InvitationStatus.DECLINED]
    entry = (await world.log(ours))[0]
    assert (entry.action, entry.actor) == (AuditAction.INVITATION_DECLINED, bob.actor)


ANSWERS = {
    "accept": lambda do, who, invitation: do.identity.accept_invitation(who, invitation),
    "decline": lambda do, who, invitation: do.identity.decline_invitation(who, invitation),
}
answers = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


@answers
async def test_unknown_invitation_is_not_found(world, bob, answer):
    with pytest.raises(NotFound):
        await answer(world.do, replace(bob, email_verified=False), InvitationId(uuid.uuid4()))


@answers
async def test_invitation_to_another_address_is_forbidden_with_any_status(
    world, ours, ada, bob, sent, answer
):
    other = await world.person("other")
    reported = set()
    with pytest.raises(Forbidden) as refused:
        await answer(world.do, other, sent.invitation.id)
    reported.add(refused.value.message)
    await world.do.identity.decline_invitation(bob, sent.invitation.id)
    with pytest.raises(Forbidden) as refused:
        await answer(world.do, other, sent.invitation.id)
    assert reported == {refused.value.message}
    assert other.user.id not in await world.roles(ours)


@answers
async def test_unverified_address_is_forbidden_before_invitation_state_is_checked(
    world, ours, ada, bob, sent, answer
):
    unverified = replace(bob, email_verified=False)
    assert await world.do.identity.list_my_invitations(unverified) == []
    with pytest.raises(Forbidden, match="verified"):
        await answer(world.do, unverified, sent.invitation.id)
    assert await statuses(world, ours, ada) == [InvitationStatus.PENDING]
    await world.do.identity.revoke_invitation(ada, ours, sent.invitation.id)
    with pytest.raises(Forbidden, match="verified"):
        await answer(world.do, unverified, sent.invitation.id)


@answers
async def test_invitation_is_answered_by_its_address_in_any_case(
    world, ours, ada, bob, sent, answer
):
    shouting = replace(bob, user=replace(bob.user, email="BOB@EXAMPLE.COM"))
    await answer(world.do, shouting, sent.invitation.id)
    assert await statuses(world, ours, ada) != [InvitationStatus.PENDING]


@answers
async def test_invitation_expires_to_the_microsecond(world, ours, ada, bob, sent, answer):
    world.now = sent.invitation.expires_at
    with pytest.raises(Conflict, match="EXPIRED"):
        await answer(world.do, bob, sent.invitation.id)
    assert await statuses(world, ours, ada) == [InvitationStatus.EXPIRED]
    world.now -= MOMENT
    await answer(world.do, bob, sent.invitation.id)


@answers
@pytest.mark.parametrize("before", ["accept", "decline", "revoke"])
async def test_invitation_is_answered_once(world, ours, ada, bob, sent, answer, before):
    if before == "revoke":
        await world.do.identity.revoke_invitation(ada, ours, sent.invitation.id)
    else:
        await ANSWERS[before](world.do, bob, sent.invitation.id)
    roles, log = await world.roles(ours), await world.log(ours)
    with pytest.raises(Conflict):
        await answer(world.do, bob, sent.invitation.id)
    assert (await world.roles(ours), await world.log(ours)) == (roles, log)


async def test_member_can_decline_but_not_accept_an_invitation(world, ours, ada, bob, sent):
    await world.join(ours, bob, Role.MEMBER)
    with pytest.raises(Conflict, match="member"):
        await world.do.identity.accept_invitation(bob, sent.invitation.id)
    assert (await world.roles(ours))[bob.user.id] is Role.MEMBER
    await world.do.identity.decline_invitation(bob, sent.invitation.id)
    assert await statuses(world, ours, ada) == [InvitationStatus.DECLINED]


async def test_two_people_with_one_address_and_one_invitation(world, ours, bob, sent):
    twin = await world.person("bob")
    assert twin.user.id != bob.user.id
    await world.do.identity.accept_invitation(twin, sent.invitation.id)
    with pytest.raises(Conflict):
        await world.do.identity.accept_invitation(bob, sent.invitation.id)
    assert bob.user.id not in await world.roles(ours)


# --- revoking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["accept", "decline", "revoke", "expire"])
async def test_only_pending_invitations_are_revoked(world, ours, ada, bob, sent, before):
    if before == "expire":
        world.now = sent.invitation.expires_at
    elif before == "revoke":
        await world.do.identity.revoke_invitation(ada, ours, sent.invitation.id)
    else:
        await ANSWERS[before](world.do, bob, sent.invitation.id)
    known = await statuses(world, ours, ada)
    with pytest.raises(Conflict):
        await world.do.identity.revoke_invitation(ada, ours, sent.invitation.id)
    assert await statuses(world, ours, ada) == known
