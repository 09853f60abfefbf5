"""Projects of an organization."""

from typing import Annotated, Final, Self
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post, put
from msgspec import Meta

import domain.identity.organization as organizations
from domain.identity.organization import DESCRIPTION_MAX, RETENTION_MAX_DAYS, validate_description
from domain.ids import ProjectId
from entrypoints.http.authentication import OF_ORGANIZATION
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import (
    CONFLICT,
    Name,
    OrganizationPath,
    check_name,
    ruled,
)
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body
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


CREATE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Create a project",
            description="For OWNER and ADMIN. 409 where the organization has one of this name.",
            answer=ProjectResponse,
            example=examples.PROJECT,
            body_example={
                "name": examples.PROJECT["name"],
                "description": examples.PROJECT["description"],
            },
            answers=CONFLICT,
        ),
    )
    .with_path(OrganizationPath)
    .with_body(Body(CreateProjectRequest, lambda wire, _: wire))
)

LIST: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="List projects",
        description="All projects of the organization, newest first.",
        answer=list[ProjectResponse],
        example=[examples.PROJECT],
    ),
).with_path(OrganizationPath)

READ: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Read a project",
        description="One project of the organization.",
        answer=ProjectResponse,
        example=examples.PROJECT,
    ),
).with_path(ProjectPath)

CHANGE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Change a project",
            description=(
                "For OWNER and ADMIN. What is left out or null stays as it is. 409 where another "
                "project has the name. Programs name their project: a renamed one is not found by "
                "its old name, which makes a new one."
            ),
            answer=ProjectResponse,
            example=examples.PROJECT,
            body_example={"description": examples.PROJECT["description"]},
            answers=CONFLICT,
        ),
    )
    .with_path(ProjectPath)
    .with_body(Body(UpdateProjectRequest, lambda wire, _: wire))
)

KEEP: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Say how long a project keeps traces",
            description=(
                "For OWNER and ADMIN. A trace that was stored so many days ago is removed within "
                "minutes, with its spans and scores, and can't be brought back. What counts is "
                "when it was first stored, not when it started. Null keeps them for ever."
            ),
            answer=ProjectResponse,
            example=examples.PROJECT | {"retention_days": 90},
            body_example={"days": 90},
        ),
    )
    .with_path(ProjectPath)
    .with_body(Body(RetentionRequest, lambda wire, _: wire))
)

DELETE: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Delete a project",
        description=(
            "For an OWNER. Its traces, spans and all that belongs to them are gone for every "
            "reader from then on. API keys stay as they are."
        ),
        answer=None,
    ),
).with_path(ProjectPath)


class ProjectController(Controller):
    path = "/organizations/{org_id:str}/projects"

    @post("/", opt=CREATE.opt)
    async def create_project(self, request: HttpRequest) -> Response[bytes]:
        given = await CREATE.read(request)
        made = await edge_of(request).use_cases.create_project(
            given.caller.person,
            given.caller.organization,
            given.body.name,
            given.body.description,
        )
        return await answer(request, ProjectResponse.of(made))

    @get("/", opt=LIST.opt)
    async def list_projects(self, request: HttpRequest) -> Response[bytes]:
        given = await LIST.read(request)
        found = await edge_of(request).use_cases.list_projects(given.caller.membership)
        return await answer(request, [ProjectResponse.of(one) for one in found])

    @get("/{project_id:str}", opt=READ.opt)
    async def read_project(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        found = await edge_of(request).use_cases.read_project(
            given.caller.membership, ProjectId(given.path.project_id)
        )
        return await answer(request, ProjectResponse.of(found))

    @patch("/{project_id:str}", opt=CHANGE.opt)
    async def change_project(self, request: HttpRequest) -> Response[bytes]:
        given = await CHANGE.read(request)
        changed = await edge_of(request).use_cases.change_project(
            given.caller.person,
            given.caller.organization,
            ProjectId(given.path.project_id),
            given.body.name,
            given.body.description,
        )
        return await answer(request, ProjectResponse.of(changed))

    @put("/{project_id:str}/retention", opt=KEEP.opt)
    async def change_retention(self, request: HttpRequest) -> Response[bytes]:
        given = await KEEP.read(request)
        changed = await edge_of(request).use_cases.change_retention(
            given.caller.person,
            given.caller.organization,
            ProjectId(given.path.project_id),
            given.body.days,
        )
        return await answer(request, ProjectResponse.of(changed))

    @delete("/{project_id:str}", status_code=204, opt=DELETE.opt)
    async def delete_project(self, request: HttpRequest) -> None:
        given = await DELETE.read(request)
        await edge_of(request).use_cases.delete_project(
            given.caller.person, given.caller.organization, ProjectId(given.path.project_id)
        )
