"""Invitations to an organization, by email."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from domain.errors import Conflict, Invalid
from domain.identity.organization import Role
from domain.ids import InvitationId, OrganizationId, UserId
from domain.plain_text import validate_plain

INVITATION_LIFETIME: Final = timedelta(days=7)
EMAIL_MIN: Final = 3
EMAIL_MAX: Final = 320
_KELVIN: Final = "\N{KELVIN SIGN}"


class InvitationStatus(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Invites the owner of an email address to join.

        PENDING ──▶ ACCEPTED, DECLINED or REVOKED; past `expires_at` it counts as EXPIRED

    `email` is in lower case. A final status never changes. EXPIRED is never stored.
    """

    id: InvitationId
    organization_id: OrganizationId
    email: str
    role: Role
    status: InvitationStatus = InvitationStatus.PENDING
    invited_by: UserId
    created_at: datetime
    expires_at: datetime

    def as_of(self, now: datetime) -> Self:
        """The invitation with its status at `now`."""
        if self.status is InvitationStatus.PENDING and self.expires_at <= now:
            return replace(self, status=InvitationStatus.EXPIRED)
        return self

    def is_pending(self, now: datetime) -> bool:
        return self.as_of(now).status is InvitationStatus.PENDING

    def settled(self, status: InvitationStatus, now: datetime) -> Self:
        """The invitation with a final status. Raises Conflict if it isn't PENDING at `now`."""
        current = self.as_of(now).status
        if current is not InvitationStatus.PENDING:
            raise Conflict(f"This invitation is {current} already")
        return replace(self, status=status)

    def is_to(self, email: str) -> bool:
        return self.email == normalize_email(email)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInvitation:
    """An invitation, with display data of its sender and organization."""

    invitation: Invitation
    organization_name: str
    inviter_display_name: str
    inviter_email: str

    def as_of(self, now: datetime) -> Self:
        return replace(self, invitation=self.invitation.as_of(now))


def normalize_email(text: str) -> str:
    """Addresses are compared without case and surrounding whitespace."""
    # The Kelvin sign is the only non-ASCII character whose lower case is ASCII. It must not
    # become a k.
    return _KELVIN.join(part.lower() for part in text.strip().split(_KELVIN))


def validate_email(text: str, field: str) -> str:
    """The address of an invitation. Raises Invalid, naming `field`.

    Checks no more of the syntax than this: people see the address, so it has no invisible
    characters.
    """
    email = normalize_email(text)
    if not EMAIL_MIN <= len(email) <= EMAIL_MAX:
        raise Invalid.field(field, f"must be {EMAIL_MIN} to {EMAIL_MAX} characters")
    return validate_plain(email, field)
