"""Invitations into an organization, as its members see them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.invitation import EMAIL_MAX, EMAIL_MIN, INVITATION_LIFETIME, validate_email
from domain.identity.organization import Role
from domain.ids import InvitationId
from entrypoints.http.authentication import OF_ORGANIZATION, Colleague
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    OrganizationInvitationResponse,
    OrganizationPath,
    ruled,
)
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.middleware.rate_limits import RouteClass

check_email: Final = ruled(validate_email)


class InvitationPath(OrganizationPath, frozen=True):
    invitation_id: Annotated[
        UUID, Meta(description="The invitation's id", examples=[examples.INVITATION_ID])
    ]


class CreateInvitationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to invite, and as what. Case of the address and blanks around it don't count."""

    email: Annotated[
        str,
        Meta(
            extra={"check": check_email},
            extra_json_schema={"minLength": EMAIL_MIN, "maxLength": EMAIL_MAX},
        ),
    ]
    role: Role = Role.MEMBER

    def __post_init__(self) -> None:
        check_email(self.email)


INVITE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Invite a person",
    description=(
        "An OWNER invites a MEMBER or an ADMIN, an ADMIN invites a MEMBER. An OWNER can't be "
        f"invited. It is valid for {INVITATION_LIFETIME.days} days. No mail is sent: the person "
        "who signs in with this address finds it under `/me/invitations`. 409 for your own "
        "address, for a member's, and if an invitation is pending."
    ),
    example=examples.INVITATION,
    body_example={"email": "grace@example.com", "role": "MEMBER"},
    route_class=RouteClass.INVITATIONS,
    answers=CONFLICT,
)

LIST: Final = endpoint(
    OF_ORGANIZATION,
    summary="List invitations",
    description="All invitations that were ever sent, whatever became of them, newest first.",
    example=[examples.INVITATION],
)

REVOKE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Revoke an invitation",
    description="For OWNER and ADMIN. 409 where it isn't pending any more.",
    answers=CONFLICT,
)


class InvitationController(Controller):
    path = "/organizations/{org_id:str}/invitations"

    @post("/", **INVITE)
    async def invite(
        self,
        caller: Injected[Colleague],
        content: Injected[CreateInvitationRequest],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> OrganizationInvitationResponse:
        sent = await use_cases.identity.invite(
            caller.person, caller.organization, content.email, content.role
        )
        return OrganizationInvitationResponse.of(sent)

    @get("/", **LIST)
    async def list_invitations(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> list[OrganizationInvitationResponse]:
        found = await use_cases.identity.list_invitations(caller.membership)
        return [OrganizationInvitationResponse.of(one) for one in found]

    @delete("/{invitation_id:str}", status_code=204, **REVOKE)
    async def revoke_invitation(
        self,
        caller: Injected[Colleague],
        path: Injected[InvitationPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.revoke_invitation(
            caller.person,
            caller.organization,
            InvitationId(path.invitation_id),
        )
