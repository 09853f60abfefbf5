"""Organizations: creating, reading, renaming and deleting them."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller

from application.use_cases import UseCases
from domain.identity.caller import Person
from domain.identity.organization import Organization, Role
from entrypoints.http.authentication import ORGANIZATION_MEMBER, SIGNED_IN
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import Name, OrganizationPath
from entrypoints.http.endpoint import delete, get, patch, post
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct


class CreateOrganizationRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    name: Name


class UpdateOrganizationRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Fields that are null or left out stay as they are."""

    name: Name | None = None


class OrganizationResponse(ResponseStruct[Organization], frozen=True, kw_only=True):
    """A tenant with members, projects and API keys."""

    id: UUID
    name: str
    created_at: ResponseInstant


class MyOrganizationResponse(OrganizationResponse, frozen=True, kw_only=True):
    """An organization and the caller's role in it."""

    role: Annotated[Role, GIVEN]


class OrganizationController(Controller):
    path = "/organizations"

    @post("/", SIGNED_IN, example=examples.ORGANIZATION, body_example={"name": "Acme"})
    async def create_organization(
        self, caller: Person, content: CreateOrganizationRequest, use_cases: UseCases
    ) -> OrganizationResponse:
        """Create an organization.

        You become its OWNER, and it starts with a project named `onboarding`. 403 if you already
        own as many organizations as this service allows.
        """
        organization = await use_cases.identity.create_organization(caller, content.name)
        return OrganizationResponse.from_domain(organization)

    @get("/", SIGNED_IN, example=[examples.MY_ORGANIZATION])
    async def list_organizations(
        self, caller: Person, use_cases: UseCases
    ) -> list[MyOrganizationResponse]:
        """List my organizations.

        All organizations that you are a member of, the newest membership first.
        """
        memberships = await use_cases.identity.directory.organizations(caller.user.id)
        return [
            MyOrganizationResponse.from_domain(organization, role=role)
            for organization, role in memberships
        ]

    @get("/{org_id:str}", ORGANIZATION_MEMBER, example=examples.MY_ORGANIZATION)
    async def read_organization(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> MyOrganizationResponse:
        """Read an organization.

        The organization and your role in it.
        """
        membership = caller.membership
        organization = await use_cases.identity.read_organization(membership)
        return MyOrganizationResponse.from_domain(organization, role=membership.role)

    @patch(
        "/{org_id:str}",
        ORGANIZATION_MEMBER,
        example=examples.ORGANIZATION,
        body_example={"name": "Acme"},
    )
    async def rename_organization(
        self,
        caller: OrganizationCaller,
        content: UpdateOrganizationRequest,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> OrganizationResponse:
        """Rename an organization.

        For OWNER and ADMIN. A name that is null or left out changes nothing.
        """
        organization = await use_cases.identity.rename_organization(
            caller.person, caller.organization, content.name
        )
        return OrganizationResponse.from_domain(organization)

    @delete("/{org_id:str}", ORGANIZATION_MEMBER)
    async def delete_organization(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> None:
        """Delete an organization.

        For an OWNER. From then on, no request can read its projects and their data, its members,
        invitations and API keys.
        """
        await use_cases.identity.delete_organization(caller.person, caller.organization)
