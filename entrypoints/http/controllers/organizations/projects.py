"""Projects of an organization."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, patch, post, put
from msgspec import Meta

import domain.identity.organization as organizations
from application.use_cases import UseCases
from domain.identity.organization import DESCRIPTION_MAX, RETENTION_MAX_DAYS, validate_description
from domain.ids import ProjectId
from entrypoints.http.authentication import OF_ORGANIZATION, Colleague
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    Name,
    OrganizationPath,
    check_name,
    ruled,
)
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.wire_types import ShownInstant, instant

check_description: Final = ruled(validate_description)

type Description = Annotated[
    str,
    Meta(extra={"check": check_description}, extra_json_schema={"maxLength": DESCRIPTION_MAX}),
]


class ProjectPath(OrganizationPath, frozen=True):
    project_id: Annotated[
        UUID, Meta(description="The project's id", examples=[examples.PROJECT_ID])
    ]


class CreateProjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: Name
    description: Description = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_description(self.description)


class UpdateProjectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out or null stays as it is."""

    name: Name | None = None
    description: Description | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        if self.description is not None:
            check_description(self.description)


class RetentionRequest(msgspec.Struct, frozen=True, kw_only=True):
    days: Annotated[
        Annotated[int, Meta(ge=1, le=RETENTION_MAX_DAYS)] | None,
        Meta(description="For how many days traces are kept once they are stored; null: for ever"),
    ]


class ProjectResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What traces belong to; nothing crosses from one project to another."""

    id: UUID
    org_id: UUID
    name: str
    description: str
    created_at: ShownInstant
    retention_days: int | None

    @classmethod
    def of(cls, project: organizations.Project) -> Self:
        return cls(
            id=project.id,
            org_id=project.organization_id,
            name=project.name,
            description=project.description,
            created_at=instant(project.created_at),
            retention_days=project.retention_days,
        )


CREATE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Create a project",
    description="For OWNER and ADMIN. 409 where the organization has one of this name.",
    example=examples.PROJECT,
    body_example={
        "name": examples.PROJECT["name"],
        "description": examples.PROJECT["description"],
    },
    answers=CONFLICT,
)

LIST: Final = endpoint(
    OF_ORGANIZATION,
    summary="List projects",
    description="All projects of the organization, newest first.",
    example=[examples.PROJECT],
)

READ: Final = endpoint(
    OF_ORGANIZATION,
    summary="Read a project",
    description="One project of the organization.",
    example=examples.PROJECT,
)

CHANGE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Change a project",
    description=(
        "For OWNER and ADMIN. What is left out or null stays as it is. 409 where another "
        "project has the name. Programs name their project: a renamed one is not found by "
        "its old name, which makes a new one."
    ),
    example=examples.PROJECT,
    body_example={"description": examples.PROJECT["description"]},
    answers=CONFLICT,
)

KEEP: Final = endpoint(
    OF_ORGANIZATION,
    summary="Say how long a project keeps traces",
    description=(
        "For OWNER and ADMIN. A trace that was stored so many days ago is removed within "
        "minutes, with its spans and scores, and can't be brought back. What counts is "
        "when it was first stored, not when it started. Null keeps them for ever."
    ),
    example=examples.PROJECT | {"retention_days": 90},
    body_example={"days": 90},
)

DELETE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Delete a project",
    description=(
        "For an OWNER. Its traces, spans and all that belongs to them are gone for every "
        "reader from then on. API keys stay as they are."
    ),
)


class ProjectController(Controller):
    path = "/organizations/{org_id:str}/projects"

    @post("/", **CREATE)
    async def create_project(
        self,
        caller: Injected[Colleague],
        content: Injected[CreateProjectRequest],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> ProjectResponse:
        made = await use_cases.identity.create_project(
            caller.person,
            caller.organization,
            content.name,
            content.description,
        )
        return ProjectResponse.of(made)

    @get("/", **LIST)
    async def list_projects(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        use_cases: Injected[UseCases],
    ) -> list[ProjectResponse]:
        found = await use_cases.identity.list_projects(caller.membership)
        return [ProjectResponse.of(one) for one in found]

    @get("/{project_id:str}", **READ)
    async def read_project(
        self,
        caller: Injected[Colleague],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> ProjectResponse:
        found = await use_cases.identity.read_project(caller.membership, ProjectId(path.project_id))
        return ProjectResponse.of(found)

    @patch("/{project_id:str}", **CHANGE)
    async def change_project(
        self,
        caller: Injected[Colleague],
        content: Injected[UpdateProjectRequest],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> ProjectResponse:
        changed = await use_cases.identity.change_project(
            caller.person,
            caller.organization,
            ProjectId(path.project_id),
            content.name,
            content.description,
        )
        return ProjectResponse.of(changed)

    @put("/{project_id:str}/retention", **KEEP)
    async def change_retention(
        self,
        caller: Injected[Colleague],
        content: Injected[RetentionRequest],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> ProjectResponse:
        changed = await use_cases.identity.change_retention(
            caller.person,
            caller.organization,
            ProjectId(path.project_id),
            content.days,
        )
        return ProjectResponse.of(changed)

    @delete("/{project_id:str}", status_code=204, **DELETE)
    async def delete_project(
        self,
        caller: Injected[Colleague],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> None:
        await use_cases.identity.delete_project(
            caller.person, caller.organization, ProjectId(path.project_id)
        )
