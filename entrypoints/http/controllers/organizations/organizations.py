"""Organizations: making, showing, renaming and removing them."""

from typing import Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post

from domain.identity.organization import Organization, Role
from entrypoints.http.authentication import OF_ORGANIZATION, SIGNED_IN
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import Name, OrganizationPath, check_name
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body
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


CREATE: Final = operation(
    SIGNED_IN,
    Documented(
        summary="Create an organization",
        description=(
            "You become its OWNER, and it begins with a project `onboarding`. 403 where you own "
            "as many organizations as this service allows."
        ),
        answer=OrganizationResponse,
        example=examples.ORGANIZATION,
        body_example={"name": "Acme"},
    ),
).with_body(Body(CreateOrganizationRequest, lambda wire, _: wire))

LIST: Final = operation(
    SIGNED_IN,
    Documented(
        summary="List my organizations",
        description="All organizations that you belong to, newest membership first.",
        answer=list[MyOrganizationResponse],
        example=[examples.MY_ORGANIZATION],
    ),
)

READ: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Read an organization",
        description="The organization, and your role in it.",
        answer=MyOrganizationResponse,
        example=examples.MY_ORGANIZATION,
    ),
).with_path(OrganizationPath)

CHANGE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Rename an organization",
            description="For OWNER and ADMIN. A name that is left out or null changes nothing.",
            answer=OrganizationResponse,
            example=examples.ORGANIZATION,
            body_example={"name": "Acme"},
        ),
    )
    .with_path(OrganizationPath)
    .with_body(Body(UpdateOrganizationRequest, lambda wire, _: wire))
)

DELETE: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Delete an organization",
        description=(
            "For an OWNER. All that is in it is gone for every reader from then on: projects with "
            "their data, members, invitations, API keys."
        ),
        answer=None,
    ),
).with_path(OrganizationPath)


class OrganizationController(Controller):
    path = "/organizations"

    @post("/", opt=CREATE.opt)
    async def create_organization(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        made = await edge_of(request).use_cases.create_organization(given.caller, given.body.name)
        return await answer(request, OrganizationResponse.of(made))

    @get("/", opt=LIST.opt)
    async def list_organizations(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await edge_of(request).use_cases.list_organizations(given.caller)
        return await answer(request, [MyOrganizationResponse.to_member(*one) for one in found])

    @get("/{org_id:str}", opt=READ.opt)
    async def read_organization(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        membership = given.caller.membership
        found = await edge_of(request).use_cases.read_organization(membership)
        return await answer(request, MyOrganizationResponse.to_member(found, membership.role))

    @patch("/{org_id:str}", opt=CHANGE.opt)
    async def rename_organization(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        changed = await edge_of(request).use_cases.rename_organization(
            given.caller.person, given.caller.organization, given.body.name
        )
        return await answer(request, OrganizationResponse.of(changed))

    @delete("/{org_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_organization(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.delete_organization(
            given.caller.person, given.caller.organization
        )
