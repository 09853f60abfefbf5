"""Invitations to an organization, and the answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from application.identity.organization_edit import OrganizationEditor, require
from application.identity.ports import Directory
from application.ports import Clock
from domain.errors import Conflict, Forbidden, NotFound
from domain.identity.audit import AuditAction
from domain.identity.caller import Person
from domain.identity.invitation import (
    INVITATION_LIFETIME,
    Invitation,
    InvitationStatus,
    SentInvitation,
    normalize_email,
    validate_email,
)
from domain.identity.organization import TO_INVITE, Action, Membership, Organization, Role
from domain.ids import InvitationId, MembershipId, OrganizationId

INVITATION_NOT_FOUND: Final = "Invitation not found"


@dataclass(frozen=True, slots=True)
class Invite:
    """Sends no mail: the invited person finds the invitation after signing in."""

    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, email: str, role: Role
    ) -> SentInvitation:
        """Raises Invalid for the address, Forbidden, Conflict, Unavailable."""
        address = validate_email(email, "email")
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(TO_INVITE[role])
            now = self.editor.clock()
            if address == normalize_email(person.user.email):
                raise Conflict("This is your own address")
            if await edit.locked.has_member(address):
                raise Conflict("A user with this address is a member already")
            if any(one.is_pending(now) for one in await edit.locked.invitations_to(address)):
                raise Conflict("An invitation to this address is pending already")
            invitation = Invitation(
                id=InvitationId(self.editor.new_id()),
                organization_id=organization,
                email=address,
                role=role,
                invited_by=person.user.id,
                created_at=now,
                expires_at=now + INVITATION_LIFETIME,
            )
            await edit.locked.put_invitation(invitation)
            await edit.record(
                AuditAction.INVITATION_CREATED, invitation.id, {"email": address, "role": role}
            )
            return SentInvitation(
                invitation=invitation,
                organization_name=edit.locked.organization.name,
                inviter_display_name=person.user.display_name,
                inviter_email=person.user.email,
            )


@dataclass(frozen=True, slots=True)
class ListInvitations:
    directory: Directory
    clock: Clock

    async def __call__(self, membership: Membership) -> Sequence[SentInvitation]:
        """The invitations with any status, newest first. Raises Unavailable."""
        now = self.clock()
        sent = await self.directory.invitations(membership.organization_id)
        return [one.as_of(now) for one in sent]


@dataclass(frozen=True, slots=True)
class RevokeInvitation:
    editor: OrganizationEditor

    async def __call__(
        self, person: Person, organization: OrganizationId, invitation: InvitationId
    ) -> None:
        """Raises Forbidden, NotFound, Conflict where it isn't pending, Unavailable."""
        async with self.editor.edit(organization, person) as edit:
            await edit.authorize(Action.REVOKE_INVITATION)
            known = require(await edit.locked.invitation(invitation), INVITATION_NOT_FOUND)
            revoked = known.settled(InvitationStatus.REVOKED, self.editor.clock())
            await edit.locked.put_invitation(revoked)
            await edit.record(AuditAction.INVITATION_REVOKED, known.id, {"email": known.email})


@dataclass(frozen=True, slots=True)
class ListMyInvitations:
    directory: Directory
    clock: Clock

    async def __call__(self, person: Person) -> Sequence[SentInvitation]:
        """The pending invitations to the person's address, newest first.

        None for an unverified address, since it may be another person's.
        """
        if not person.email_verified:
            return []
        return await self.directory.invitations_to(normalize_email(person.user.email), self.clock())


@dataclass(frozen=True, slots=True)
class AcceptInvitation:
    directory: Directory
    editor: OrganizationEditor

    async def __call__(
        self, person: Person, invitation: InvitationId
    ) -> tuple[Organization, Membership]:
        """Raises NotFound, Forbidden for another address, Conflict, Unavailable; in order."""
        organization = await _invited_organization(self.directory, person, invitation)
        not_found = NotFound(INVITATION_NOT_FOUND)
        async with self.editor.edit(organization, person, not_found) as edit:
            known = require(await edit.locked.invitation(invitation), INVITATION_NOT_FOUND)
            now = self.editor.clock()
            accepted = known.settled(InvitationStatus.ACCEPTED, now)
            if await edit.locked.member(person.user.id) is not None:
                raise Conflict("You are a member of this organization already")
            membership = Membership(
                id=MembershipId(self.editor.new_id()),
                organization_id=organization,
                user_id=person.user.id,
                role=known.role,
                created_at=now,
            )
            await edit.locked.put_membership(membership)
            await edit.locked.put_invitation(accepted)
            await edit.record(AuditAction.INVITATION_ACCEPTED, known.id, {"role": known.role})
            return edit.locked.organization, membership


@dataclass(frozen=True, slots=True)
class DeclineInvitation:
    directory: Directory
    editor: OrganizationEditor

    async def __call__(self, person: Person, invitation: InvitationId) -> None:
        """Raises NotFound, Forbidden for another address, Conflict, Unavailable; in order."""
        organization = await _invited_organization(self.directory, person, invitation)
        not_found = NotFound(INVITATION_NOT_FOUND)
        async with self.editor.edit(organization, person, not_found) as edit:
            known = require(await edit.locked.invitation(invitation), INVITATION_NOT_FOUND)
            declined = known.settled(InvitationStatus.DECLINED, self.editor.clock())
            await edit.locked.put_invitation(declined)
            await edit.record(AuditAction.INVITATION_DECLINED, known.id)


async def _invited_organization(
    directory: Directory, person: Person, invitation: InvitationId
) -> OrganizationId:
    """The organization that the person is invited to. Raises NotFound, Forbidden."""
    sent = (await directory.invitation(invitation)).invitation
    if not sent.is_to(person.user.email):
        raise Forbidden("This invitation is for another address")
    if not person.email_verified:
        raise Forbidden("Your identity provider hasn't verified your address yet")
    return sent.organization_id
