"""Invitations into an organization, as its members see them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from msgspec import Meta

from domain.identity.invitation import EMAIL_MAX, EMAIL_MIN, INVITATION_LIFETIME, validate_email
from domain.identity.organization import Role
from domain.ids import InvitationId
from entrypoints.http.authentication import OF_ORGANIZATION
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    OrganizationInvitationResponse,
    OrganizationPath,
    ruled,
)
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body

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


INVITE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Invite somebody",
            description=(
                "An OWNER invites a MEMBER or an ADMIN, an ADMIN a MEMBER; nobody invites an "
                f"OWNER. Good for {INVITATION_LIFETIME.days} days. Nothing is mailed: who "
                "signs in with this address finds it under `/me/invitations`. 409 for your own address, for a "
                "member's, and where one is pending."
            ),
            answer=OrganizationInvitationResponse,
            example=examples.INVITATION,
            body_example={"email": "grace@example.com", "role": "MEMBER"},
            route_class=RouteClass.INVITATIONS,
            answers=CONFLICT,
        ),
    )
    .with_path(OrganizationPath)
    .with_body(Body(CreateInvitationRequest, lambda wire, _: wire))
)

LIST: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="List invitations",
        description="All invitations that were ever sent, whatever became of them, newest first.",
        answer=list[OrganizationInvitationResponse],
        example=[examples.INVITATION],
    ),
).with_path(OrganizationPath)

REVOKE: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Revoke an invitation",
        description="For OWNER and ADMIN. 409 where it isn't pending any more.",
        answer=None,
        answers=CONFLICT,
    ),
).with_path(InvitationPath)


class InvitationController(Controller):
    path = "/organizations/{org_id:str}/invitations"

    @post("/", opt=INVITE.opt)
    async def invite(self, request: HttpRequest) -> Response[bytes]:
        given = await INVITE.read(request)
        sent = await edge_of(request).use_cases.invite(
            given.caller.person, given.caller.organization, given.body.email, given.body.role
        )
        return await answer(request, OrganizationInvitationResponse.of(sent))

    @get("/", opt=LIST.opt)
    async def list_invitations(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await edge_of(request).use_cases.list_invitations(given.caller.membership)
        return await answer(request, [OrganizationInvitationResponse.of(one) for one in found])

    @delete("/{invitation_id:str}", status_code=204, opt=REVOKE.opt)
    async def revoke_invitation(self, request: HttpRequest) -> None:
        given = await REVOKE.read(request)
        await edge_of(request).use_cases.revoke_invitation(
            given.caller.person,
            given.caller.organization,
            InvitationId(given.path.invitation_id),
        )
