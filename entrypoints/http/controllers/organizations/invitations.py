"""Invitations to an organization: creating, listing and revoking them."""

from typing import Annotated

import msgspec
from litestar import Controller
from msgspec import Meta

from application.identity.ports import LISTED_MAX
from application.use_cases import UseCases
from domain.identity.invitation import EMAIL_MAX, EMAIL_MIN, INVITATION_LIFETIME, validate_email
from domain.identity.organization import Role
from domain.ids import InvitationId
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    OrganizationInvitationResponse,
    OrganizationPath,
)
from entrypoints.http.endpoint import delete, get, post
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.requests.scalar_types import domain_check


class InvitationPath(OrganizationPath, frozen=True):
    invitation_id: Annotated[
        InvitationId, Meta(description="The invitation's id", examples=[examples.INVITATION_ID])
    ]


class CreateInvitationRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The address to invite and its role. Case and surrounding blanks are ignored."""

    email: Annotated[
        str,
        Meta(
            extra={"check": domain_check(lambda text: validate_email(text, ""))},
            extra_json_schema={"minLength": EMAIL_MIN, "maxLength": EMAIL_MAX},
        ),
    ]
    role: Role = Role.MEMBER


class InvitationController(Controller):
    path = "/organizations/{org_id:str}/invitations"

    @post(
        "/",
        ORGANIZATION_MEMBER,
        description=(
            "An OWNER may invite a MEMBER or an ADMIN, an ADMIN a MEMBER. An OWNER can't be "
            f"invited. The invitation is valid for {INVITATION_LIFETIME.days} days. No email is "
            "sent: a person who signs in with this address finds it under `/me/invitations`. 409 "
            "for your own address, for that of a member, and if an invitation is pending."
        ),
        example=examples.INVITATION,
        body_example={"email": "grace@example.com", "role": "MEMBER"},
        route_class=RouteClass.INVITATIONS,
        error_types=CONFLICT,
    )
    async def invite(
        self,
        caller: OrganizationCaller,
        content: CreateInvitationRequest,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> OrganizationInvitationResponse:
        """Invite a person."""
        invitation = await use_cases.identity.invite(
            caller.person, caller.organization, content.email, content.role
        )
        return OrganizationInvitationResponse.from_domain(invitation)

    @get(
        "/",
        ORGANIZATION_MEMBER,
        description=(
            "All invitations in any status, the newest first. If there are more than "
            f"{LISTED_MAX:,}, the oldest that aren't pending any more are left out."
        ),
        example=[examples.INVITATION],
    )
    async def list_invitations(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> list[OrganizationInvitationResponse]:
        """List invitations."""
        invitations = await use_cases.identity.list_invitations(caller.membership)
        return [
            OrganizationInvitationResponse.from_domain(invitation) for invitation in invitations
        ]

    @delete("/{invitation_id:str}", ORGANIZATION_MEMBER, error_types=CONFLICT)
    async def revoke_invitation(
        self, caller: OrganizationCaller, path: InvitationPath, use_cases: UseCases
    ) -> None:
        """Revoke an invitation.

        For OWNER and ADMIN. 409 if it isn't pending any more.
        """
        await use_cases.identity.revoke_invitation(
            caller.person, caller.organization, path.invitation_id
        )
