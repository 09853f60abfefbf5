"""Wire schemas of organizations, memberships and invitations that several endpoints share."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.identity.invitation import InvitationStatus, SentInvitation
from domain.identity.organization import NAME_MAX, NAME_RULE, Member, Role, validate_name
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.error_responses import ErrorResponse
from entrypoints.http.requests.scalar_types import domain_check
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import ResponseStruct, Source

CONFLICT: Final = {409: ErrorResponse}


# The rule counts characters without surrounding blanks; so the bounds are only documented here.
type Name = Annotated[
    str,
    Meta(
        description=NAME_RULE,
        extra={"check": domain_check(lambda text: validate_name(text, ""))},
        extra_json_schema={"minLength": 1, "maxLength": NAME_MAX},
    ),
]
"""The name of an organization or project."""


class OrganizationPath(msgspec.Struct, frozen=True):
    org_id: Annotated[
        UUID, Meta(description="The organization's id", examples=[examples.ORGANIZATION_ID])
    ]


class OrganizationMembershipResponse(ResponseStruct[Member], frozen=True, kw_only=True):
    """A person's membership in an organization."""

    id: Annotated[UUID, Source("membership.id")]
    user_id: Annotated[UUID, Source("membership.user_id")]
    org_id: Annotated[UUID, Source("membership.organization_id")]
    role: Annotated[Role, Source("membership.role")]
    display_name: str
    email: str
    created_at: Annotated[ResponseInstant, Source("membership.created_at")]


class MyMembershipResponse(OrganizationMembershipResponse, frozen=True, kw_only=True):
    """The caller's membership in an organization."""


class OrganizationInvitationResponse(ResponseStruct[SentInvitation], frozen=True, kw_only=True):
    """An invitation to an organization, and its sender."""

    id: Annotated[UUID, Source("invitation.id")]
    org_id: Annotated[UUID, Source("invitation.organization_id")]
    org_name: Annotated[str, Source("organization_name")]
    email: Annotated[str, Source("invitation.email")]
    role: Annotated[Role, Source("invitation.role")]
    status: Annotated[InvitationStatus, Source("invitation.status")]
    invited_by: Annotated[UUID, Source("invitation.invited_by")]
    inviter_display_name: str
    inviter_email: str
    created_at: Annotated[ResponseInstant, Source("invitation.created_at")]
    expires_at: Annotated[ResponseInstant, Source("invitation.expires_at")]


class MyInvitationResponse(OrganizationInvitationResponse, frozen=True, kw_only=True):
    """A pending invitation of the caller."""
