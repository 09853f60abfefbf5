"""Members of an organization: listing them, changing roles, removing them."""

from typing import Annotated

import msgspec
from litestar import Controller
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
from entrypoints.http.endpoint import delete, get, patch


class MemberPath(OrganizationPath, frozen=True):
    user_id: Annotated[
        UserId, Meta(description="The member's user id", examples=[examples.USER_ID])
    ]


class UpdateMemberRoleRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    role: Role


class MemberController(Controller):
    path = "/organizations/{org_id:str}/members"

    @get("/", ORGANIZATION_MEMBER, example=[examples.MEMBERSHIP])
    async def list_members(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> list[OrganizationMembershipResponse]:
        """List members.

        All members, the oldest membership first.
        """
        members = await use_cases.identity.directory.members(caller.organization)
        return [OrganizationMembershipResponse.from_domain(member) for member in members]

    @patch(
        "/{user_id:str}",
        ORGANIZATION_MEMBER,
        example=examples.MEMBERSHIP,
        body_example={"role": "MEMBER"},
        error_types=CONFLICT,
    )
    async def change_role(
        self,
        caller: OrganizationCaller,
        content: UpdateMemberRoleRequest,
        path: MemberPath,
        use_cases: UseCases,
    ) -> OrganizationMembershipResponse:
        """Change a member's role.

        For an OWNER, who may change every role except their own. 409 if the organization would have
        no OWNER.
        """
        member = await use_cases.identity.change_role(
            caller.person, caller.organization, path.user_id, content.role
        )
        return OrganizationMembershipResponse.from_domain(member)

    @delete("/{user_id:str}", ORGANIZATION_MEMBER, error_types=CONFLICT)
    async def remove_member(
        self, caller: OrganizationCaller, path: MemberPath, use_cases: UseCases
    ) -> None:
        """Remove a member, or leave.

        An OWNER may remove any member, an ADMIN a MEMBER. With your own id you leave. The API keys
        that the person created in this organization are revoked, and the invitations that they
        sent. 409 for the last OWNER.
        """
        await use_cases.identity.remove_member(caller.person, caller.organization, path.user_id)
