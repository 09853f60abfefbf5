"""Members of an organization: listing them, changing roles, removing them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.organization import Role
from domain.ids import UserId
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    OrganizationMembershipResponse,
    OrganizationPath,
)
from entrypoints.http.endpoint import Injected, endpoint


class MemberPath(OrganizationPath, frozen=True):
    user_id: Annotated[UUID, Meta(description="The member's user id", examples=[examples.USER_ID])]


class UpdateMemberRoleRequest(msgspec.Struct, frozen=True, kw_only=True):
    role: Role


LIST: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="List members",
    description="All members, the oldest membership first.",
    example=[examples.MEMBERSHIP],
)

CHANGE: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Change a member's role",
    description=(
        "For an OWNER, who may change every role except their own. 409 if the organization would "
        "have no OWNER."
    ),
    example=examples.MEMBERSHIP,
    body_example={"role": "MEMBER"},
    error_types=CONFLICT,
)

DELETE: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Remove a member, or leave",
    description=(
        "An OWNER may remove any member, an ADMIN a MEMBER. With your own id you leave. The API "
        "keys that the person created in this organization are revoked. 409 for the last OWNER."
    ),
    error_types=CONFLICT,
)


class MemberController(Controller):
    path = "/organizations/{org_id:str}/members"

    @get("/", **LIST)
    async def list_members(
        self,
        caller: Injected[OrganizationCaller],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> list[OrganizationMembershipResponse]:
        members = await use_cases.identity.directory.members(caller.organization)
        return [OrganizationMembershipResponse.from_domain(member) for member in members]

    @patch("/{user_id:str}", **CHANGE)
    async def change_role(
        self,
        caller: Injected[OrganizationCaller],
        content: Injected[UpdateMemberRoleRequest],
        path: Injected[MemberPath],
        use_cases: Injected[UseCases],
    ) -> OrganizationMembershipResponse:
        member = await use_cases.identity.change_role(
            caller.person,
            caller.organization,
            UserId(path.user_id),
            content.role,
        )
        return OrganizationMembershipResponse.from_domain(member)

    @delete("/{user_id:str}", status_code=204, **DELETE)
    async def remove_member(
        self,
        caller: Injected[OrganizationCaller],
        path: Injected[MemberPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.remove_member(
            caller.person, caller.organization, UserId(path.user_id)
        )
