"""Organizations: creating, reading, renaming and deleting them."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch, post

from application.use_cases import UseCases
from domain.identity.caller import Person
from domain.identity.organization import Organization, Role
from entrypoints.http.authentication import ORGANIZATION_MEMBER, SIGNED_IN
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import Name, OrganizationPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ResponseInstant
from entrypoints.http.response_structs import GIVEN, ResponseStruct


class CreateOrganizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: Name


class UpdateOrganizationRequest(msgspec.Struct, frozen=True, kw_only=True):
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


CREATE: Final = endpoint(
    SIGNED_IN,
    summary="Create an organization",
    description=(
        "You become its OWNER, and it starts with a project named `onboarding`. 403 if you already "
        "own as many organizations as this service allows."
    ),
    example=examples.ORGANIZATION,
    body_example={"name": "Acme"},
)

LIST: Final = endpoint(
    SIGNED_IN,
    summary="List my organizations",
    description="All organizations that you are a member of, the newest membership first.",
    example=[examples.MY_ORGANIZATION],
)

READ: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Read an organization",
    description="The organization and your role in it.",
    example=examples.MY_ORGANIZATION,
)

CHANGE: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Rename an organization",
    description="For OWNER and ADMIN. A name that is null or left out changes nothing.",
    example=examples.ORGANIZATION,
    body_example={"name": "Acme"},
)

DELETE: Final = endpoint(
    ORGANIZATION_MEMBER,
    summary="Delete an organization",
    description=(
        "For an OWNER. From then on, no request can read its projects and their data, its members, "
        "invitations and API keys."
    ),
)


class OrganizationController(Controller):
    path = "/organizations"

    @post("/", **CREATE)
    async def create_organization(
        self,
        caller: Injected[Person],
        content: Injected[CreateOrganizationRequest],
        use_cases: Injected[UseCases],
    ) -> OrganizationResponse:
        organization = await use_cases.identity.create_organization(caller, content.name)
        return OrganizationResponse.from_domain(organization)

    @get("/", **LIST)
    async def list_organizations(
        self,
        caller: Injected[Person],
        use_cases: Injected[UseCases],
    ) -> list[MyOrganizationResponse]:
        memberships = await use_cases.identity.directory.organizations(caller.user.id)
        return [
            MyOrganizationResponse.from_domain(organization, role=role)
            for organization, role in memberships
        ]

    @get("/{org_id:str}", **READ)
    async def read_organization(
        self,
        caller: Injected[OrganizationCaller],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> MyOrganizationResponse:
        membership = caller.membership
        organization = await use_cases.identity.read_organization(membership)
        return MyOrganizationResponse.from_domain(organization, role=membership.role)

    @patch("/{org_id:str}", **CHANGE)
    async def rename_organization(
        self,
        caller: Injected[OrganizationCaller],
        content: Injected[UpdateOrganizationRequest],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> OrganizationResponse:
        organization = await use_cases.identity.rename_organization(
            caller.person, caller.organization, content.name
        )
        return OrganizationResponse.from_domain(organization)

    @delete("/{org_id:str}", status_code=204, **DELETE)
    async def delete_organization(
        self,
        caller: Injected[OrganizationCaller],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.delete_organization(caller.person, caller.organization)
