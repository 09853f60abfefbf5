"""Members of an organization: who they are, their roles, their leaving."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch
from msgspec import Meta

from application.use_cases import UseCases
from domain.identity.organization import Role
from domain.ids import UserId
from entrypoints.http.authentication import OF_ORGANIZATION, Colleague
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
    OF_ORGANIZATION,
    summary="List members",
    description="All members, oldest membership first.",
    example=[examples.MEMBERSHIP],
)

CHANGE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Change a member's role",
    description=(
        "For an OWNER, who may change every role but their own. 409 where nobody would "
        "be OWNER any more."
    ),
    example=examples.MEMBERSHIP,
    body_example={"role": "MEMBER"},
    answers=CONFLICT,
)

DELETE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Remove a member, or leave",
    description=(
        "An OWNER removes anybody, an ADMIN a MEMBER; with your own id you leave. The API keys "
        "that the person made here are revoked. 409 for the last OWNER."
    ),
    answers=CONFLICT,
)


class MemberController(Controller):
    path = "/organizations/{org_id:str}/members"

    @get("/", **LIST)
    async def list_members(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> list[OrganizationMembershipResponse]:
        found = await use_cases.identity.list_members(caller.membership)
        return [OrganizationMembershipResponse.of(one) for one in found]

    @patch("/{user_id:str}", **CHANGE)
    async def change_role(
        self,
        caller: Injected[Colleague],
        content: Injected[UpdateMemberRoleRequest],
        path: Injected[MemberPath],
        use_cases: Injected[UseCases],
    ) -> OrganizationMembershipResponse:
        changed = await use_cases.identity.change_role(
            caller.person,
            caller.organization,
            UserId(path.user_id),
            content.role,
        )
        return OrganizationMembershipResponse.of(changed)

    @delete("/{user_id:str}", status_code=204, **DELETE)
    async def remove_member(
        self,
        caller: Injected[Colleague],
        path: Injected[MemberPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.remove_member(
            caller.person, caller.organization, UserId(path.user_id)
        )
