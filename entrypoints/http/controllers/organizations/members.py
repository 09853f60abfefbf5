"""Members of an organization: who they are, their roles, their leaving."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch
from msgspec import Meta

from domain.identity.organization import Role
from domain.ids import UserId
from entrypoints.http.authentication import OF_ORGANIZATION
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    OrganizationMembershipResponse,
    OrganizationPath,
)
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body


class MemberPath(OrganizationPath, frozen=True):
    user_id: Annotated[UUID, Meta(description="The member's user id", examples=[examples.USER_ID])]


class UpdateMemberRoleRequest(msgspec.Struct, frozen=True, kw_only=True):
    role: Role


LIST: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="List members",
        description="All members, oldest membership first.",
        answer=list[OrganizationMembershipResponse],
        example=[examples.MEMBERSHIP],
    ),
).with_path(OrganizationPath)

CHANGE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Change a member's role",
            description=(
                "For an OWNER, who may change every role but their own. 409 where nobody would "
                "be OWNER any more."
            ),
            answer=OrganizationMembershipResponse,
            example=examples.MEMBERSHIP,
            body_example={"role": "MEMBER"},
            answers=CONFLICT,
        ),
    )
    .with_path(MemberPath)
    .with_body(Body(UpdateMemberRoleRequest, lambda wire, _: wire))
)

DELETE: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Remove a member, or leave",
        description=(
            "An OWNER removes anybody, an ADMIN a MEMBER; with your own id you leave. The API keys "
            "that the person made here are revoked. 409 for the last OWNER."
        ),
        answer=None,
        answers=CONFLICT,
    ),
).with_path(MemberPath)


class MemberController(Controller):
    path = "/organizations/{org_id:str}/members"

    @get("/", opt=LIST.opt)
    async def list_members(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await edge_of(request).use_cases.list_members(given.caller.membership)
        return await answer(request, [OrganizationMembershipResponse.of(one) for one in found])

    @patch("/{user_id:str}", opt=CHANGE.opt)
    async def change_role(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        changed = await edge_of(request).use_cases.change_role(
            given.caller.person,
            given.caller.organization,
            UserId(given.path.user_id),
            given.body.role,
        )
        return await answer(request, OrganizationMembershipResponse.of(changed))

    @delete("/{user_id:str}", status_code=204, opt=DELETE.opt)
    async def remove_member(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.remove_member(
            given.caller.person, given.caller.organization, UserId(given.path.user_id)
        )
