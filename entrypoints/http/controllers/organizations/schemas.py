"""Wire schemas of organizations, memberships and invitations that several endpoints share."""

from collections.abc import Callable
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.errors import Invalid
from domain.identity.invitation import InvitationStatus, SentInvitation
from domain.identity.organization import (
    NAME_MAX,
    NAME_RULE,
    Member,
    Membership,
    Role,
    validate_name,
)
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.requests.scalar_types import InvalidValue
from entrypoints.http.requests.wire_types import ResponseInstant, format_instant

CONFLICT: Final = {409: ErrorResponse}


def domain_check(rule: Callable[[str, str], object]) -> Callable[[str], None]:
    """A rule of the domain for a text as a check of wire types, which raises InvalidValue."""

    def check(text: str) -> None:
        try:
            rule(text, "")
        except Invalid as invalid:
            raise InvalidValue(invalid.errors[0].message) from invalid

    return check


check_name: Final = domain_check(validate_name)

# The rule counts characters without surrounding blanks; so the bounds are only documented here.
type Name = Annotated[
    str,
    Meta(
        description=NAME_RULE,
        extra={"check": check_name},
        extra_json_schema={"minLength": 1, "maxLength": NAME_MAX},
    ),
]
"""The name of an organization or project."""


class OrganizationPath(msgspec.Struct, frozen=True):
    org_id: Annotated[
        UUID, Meta(description="The organization's id", examples=[examples.ORGANIZATION_ID])
    ]


class OrganizationMembershipResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A person's membership in an organization."""

    id: UUID
    user_id: UUID
    org_id: UUID
    role: Role
    display_name: str
    email: str
    created_at: ResponseInstant

    @classmethod
    def from_domain(cls, member: Member) -> Self:
        return cls.from_membership(member.membership, member.display_name, member.email)

    @classmethod
    def from_membership(cls, membership: Membership, display_name: str, email: str) -> Self:
        return cls(
            id=membership.id,
            user_id=membership.user_id,
            org_id=membership.organization_id,
            role=membership.role,
            display_name=display_name,
            email=email,
            created_at=format_instant(membership.created_at),
        )


class MyMembershipResponse(OrganizationMembershipResponse, frozen=True, kw_only=True):
    """The caller's membership in an organization."""


class OrganizationInvitationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation to an organization, and its sender."""

    id: UUID
    org_id: UUID
    org_name: str
    email: str
    role: Role
    status: InvitationStatus
    invited_by: UUID
    inviter_display_name: str
    inviter_email: str
    created_at: ResponseInstant
    expires_at: ResponseInstant

    @classmethod
    def from_domain(cls, sent: SentInvitation) -> Self:
        invitation = sent.invitation
        return cls(
            id=invitation.id,
            org_id=invitation.organization_id,
            org_name=sent.organization_name,
            email=invitation.email,
            role=invitation.role,
            status=invitation.status,
            invited_by=invitation.invited_by,
            inviter_display_name=sent.inviter_display_name,
            inviter_email=sent.inviter_email,
            created_at=format_instant(invitation.created_at),
            expires_at=format_instant(invitation.expires_at),
        )


class MyInvitationResponse(OrganizationInvitationResponse, frozen=True, kw_only=True):
    """A pending invitation of the caller."""
