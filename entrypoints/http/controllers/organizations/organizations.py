"""Organizations: making, showing, renaming and removing them."""

from typing import Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch, post

from application.use_cases import UseCases
from domain.identity.caller import Person
from domain.identity.organization import Organization, Role
from entrypoints.http.authentication import OF_ORGANIZATION, SIGNED_IN, Colleague
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import Name, OrganizationPath, check_name
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ShownInstant, instant


class CreateOrganizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: Name

    def __post_init__(self) -> None:
        check_name(self.name)


class UpdateOrganizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out or null stays as it is."""

    name: Name | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)


class OrganizationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: its members, projects and API keys."""

    id: UUID
    name: str
    created_at: ShownInstant

    @classmethod
    def of(cls, organization: Organization) -> Self:
        return cls(
            id=organization.id,
            name=organization.name,
            created_at=instant(organization.created_at),
        )


class MyOrganizationResponse(OrganizationResponse, frozen=True, kw_only=True):
    """An organization, and the caller's role in it."""

    role: Role

    @classmethod
    def to_member(cls, organization: Organization, role: Role) -> Self:
        return cls(
            id=organization.id,
            name=organization.name,
            created_at=instant(organization.created_at),
            role=role,
        )


CREATE: Final = endpoint(
    SIGNED_IN,
    summary="Create an organization",
    description=(
        "You become its OWNER, and it begins with a project `onboarding`. 403 where you own "
        "as many organizations as this service allows."
    ),
    example=examples.ORGANIZATION,
    body_example={"name": "Acme"},
)

LIST: Final = endpoint(
    SIGNED_IN,
    summary="List my organizations",
    description="All organizations that you belong to, newest membership first.",
    example=[examples.MY_ORGANIZATION],
)

READ: Final = endpoint(
    OF_ORGANIZATION,
    summary="Read an organization",
    description="The organization, and your role in it.",
    example=examples.MY_ORGANIZATION,
)

CHANGE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Rename an organization",
    description="For OWNER and ADMIN. A name that is left out or null changes nothing.",
    example=examples.ORGANIZATION,
    body_example={"name": "Acme"},
)

DELETE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Delete an organization",
    description=(
        "For an OWNER. All that is in it is gone for every reader from then on: projects with "
        "their data, members, invitations, API keys."
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
        made = await use_cases.identity.create_organization(caller, content.name)
        return OrganizationResponse.of(made)

    @get("/", **LIST)
    async def list_organizations(
        self,
        caller: Injected[Person],
        use_cases: Injected[UseCases],
    ) -> list[MyOrganizationResponse]:
        found = await use_cases.identity.list_organizations(caller)
        return [MyOrganizationResponse.to_member(*one) for one in found]

    @get("/{org_id:str}", **READ)
    async def read_organization(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> MyOrganizationResponse:
        membership = caller.membership
        found = await use_cases.identity.read_organization(membership)
        return MyOrganizationResponse.to_member(found, membership.role)

    @patch("/{org_id:str}", **CHANGE)
    async def rename_organization(
        self,
        caller: Injected[Colleague],
        content: Injected[UpdateOrganizationRequest],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> OrganizationResponse:
        changed = await use_cases.identity.rename_organization(
            caller.person, caller.organization, content.name
        )
        return OrganizationResponse.of(changed)

    @delete("/{org_id:str}", status_code=204, **DELETE)
    async def delete_organization(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.delete_organization(caller.person, caller.organization)
