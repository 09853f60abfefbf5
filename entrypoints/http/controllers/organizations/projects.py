"""Projects of an organization, and the retention of their traces."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller
from msgspec import UNSET, Meta, UnsetType

from application.use_cases import UseCases
from domain.identity.organization import (
    DESCRIPTION_MAX,
    RETENTION_MAX_DAYS,
    Project,
    validate_description,
)
from domain.ids import ProjectId
from domain.tracing.otel.ingestion_warnings import IngestionWarning
from domain.tracing.project_activity import (
    ACTIVITY_BUCKET,
    ACTIVITY_DAYS,
    ACTIVITY_PROJECTS_MAX,
    RECENT,
    ActivityBucket,
    ProjectActivity,
)
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations import examples
from entrypoints.http.controllers.organizations.schemas import CONFLICT, Name, OrganizationPath
from entrypoints.http.controllers.traces.schemas import UNPRICED, some_of
from entrypoints.http.endpoint import delete, get, patch, post, put
from entrypoints.http.requests.scalar_types import domain_check
from entrypoints.http.requests.wire_types import ResponseInstant, Usd
from entrypoints.http.response_structs import GIVEN, OPTIONAL, ResponseStruct, Source

HOUR: Final = timedelta(hours=1)

type Description = Annotated[
    str,
    Meta(
        extra={"check": domain_check(lambda text: validate_description(text, ""))},
        extra_json_schema={"maxLength": DESCRIPTION_MAX},
    ),
]


class ProjectPath(OrganizationPath, frozen=True):
    project_id: Annotated[
        ProjectId, Meta(description="The project's id", examples=[examples.PROJECT_ID])
    ]


class CreateProjectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    description: Description = ""


class UpdateProjectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields that are null or left out stay as they are."""

    name: Name | None = None
    description: Description | None = None


class RetentionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    days: Annotated[
        Annotated[int, Meta(ge=1, le=RETENTION_MAX_DAYS)] | None,
        Meta(
            description="For how many days traces are kept after they were stored; null: for ever"
        ),
    ]


class ProjectResponse(ResponseStruct[Project], frozen=True, kw_only=True):
    """A project has traces of its own. Projects share no data."""

    id: UUID
    org_id: Annotated[UUID, Source("organization_id")]
    name: str
    description: str
    created_at: ResponseInstant
    retention_days: int | None


class ProjectIncluded(StrEnum):
    """What a list of projects shows beyond the projects themselves."""

    ACTIVITY = "activity"


class ProjectListQuery(msgspec.Struct, frozen=True, kw_only=True):
    include: (
        Annotated[
            str,
            some_of(
                ProjectIncluded,
                "activity",
                f"What else each project shows. `activity`: its traces, failures and costs of the "
                f"last {ACTIVITY_DAYS} days, its last trace and its alerts",
            ),
        ]
        | None
    ) = None


class ActivityBucketResponse(ResponseStruct[ActivityBucket], frozen=True):
    """Traces by their start."""

    bucket: ResponseInstant
    trace_count: int
    error_count: int


class ProjectActivityResponse(ResponseStruct[ProjectActivity], frozen=True, kw_only=True):
    """What happens in a project: traces by their start, costs by the start of spans."""

    started_after: Annotated[ResponseInstant, Source("period.after")]
    started_before: Annotated[
        ResponseInstant,
        Source("period.before"),
        Meta(description="The end of the current hour in UTC"),
    ]
    trace_count: int
    error_count: Annotated[int, Meta(description="Traces with the status ERROR")]
    recent_trace_count: Annotated[
        int, Meta(description=f"Of the last {RECENT // HOUR} hours of the period")
    ]
    recent_error_count: int
    buckets: Annotated[
        list[ActivityBucketResponse],
        Meta(
            description=f"Every {ACTIVITY_BUCKET // HOUR} hours of the period, ascending; also "
            "those without traces"
        ),
    ]
    total_cost: Annotated[Usd, Source("cost")]
    unpriced_span_count: Annotated[int, UNPRICED]
    last_trace_at: Annotated[
        ResponseInstant | None,
        Meta(description="The start of the newest trace, whenever it was; null without traces"),
    ]
    alerting_count: Annotated[int, Meta(description="Alerts that fire now")]


class ProjectListItem(ProjectResponse, frozen=True, kw_only=True):
    """A project in a list."""

    activity: Annotated[
        ProjectActivityResponse | UnsetType | None,
        OPTIONAL,
        Meta(
            description="Only if `include` asks for it; null beyond the newest "
            f"{ACTIVITY_PROJECTS_MAX} projects"
        ),
    ] = UNSET


class ProjectWarningResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What may be wrong with the spans that a project receives."""

    code: IngestionWarning
    message: str


class ProjectDetailResponse(ProjectResponse, frozen=True, kw_only=True):
    """A project, and warnings about the spans that it received within the last day."""

    warnings: Annotated[list[ProjectWarningResponse], GIVEN]


class ProjectController(Controller):
    path = "/organizations/{org_id:str}/projects"

    @post(
        "/",
        ORGANIZATION_MEMBER,
        example=examples.PROJECT,
        body_example=examples.PROJECT_REQUEST,
        error_types=CONFLICT,
    )
    async def create_project(
        self,
        caller: OrganizationCaller,
        content: CreateProjectRequest,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> ProjectResponse:
        """Create a project.

        For OWNER and ADMIN. 409 if the organization has a project of this name.
        """
        project = await use_cases.identity.create_project(
            caller.person, caller.organization, content.name, content.description
        )
        return ProjectResponse.from_domain(project)

    @get("/", ORGANIZATION_MEMBER, example=[examples.PROJECT])
    async def list_projects(
        self,
        caller: OrganizationCaller,
        path: OrganizationPath,
        params: ProjectListQuery,
        use_cases: UseCases,
    ) -> list[ProjectListItem]:
        """List projects.

        All projects of the organization, the newest first. With `include=activity`, each has its
        traces, failures and costs of the last week, its last trace and the number of its alerts
        that fire: one request for a page that shows all projects.
        """
        with_activity = params.include is not None
        found = await use_cases.identity.list_projects(
            caller.organization, with_activity=with_activity
        )
        items = [(ProjectListItem.from_domain(project), activity) for project, activity in found]
        if not with_activity:
            return [item for item, _ in items]
        return [
            msgspec.structs.replace(
                item,
                activity=None if one is None else ProjectActivityResponse.from_domain(one),
            )
            for item, one in items
        ]

    @get("/{project_id:str}", ORGANIZATION_MEMBER, example=examples.PROJECT_DETAIL)
    async def read_project(
        self, caller: OrganizationCaller, path: ProjectPath, use_cases: UseCases
    ) -> ProjectDetailResponse:
        """Read a project.

        One project of the organization. `warnings` has `native_and_otlp` if spans of the last day
        came both through `POST /traces` and by OpenTelemetry: a call that is sent both ways counts
        twice.
        """
        project = await use_cases.identity.projects.get(caller.organization, path.project_id)
        found = await use_cases.tracing.read_ingestion_warnings(project.id)
        warnings = [ProjectWarningResponse(code=one, message=one.message) for one in found]
        return ProjectDetailResponse.from_domain(project, warnings=warnings)

    @patch(
        "/{project_id:str}",
        ORGANIZATION_MEMBER,
        example=examples.PROJECT,
        body_example={"description": examples.PROJECT["description"]},
        error_types=CONFLICT,
    )
    async def change_project(
        self,
        caller: OrganizationCaller,
        content: UpdateProjectRequest,
        path: ProjectPath,
        use_cases: UseCases,
    ) -> ProjectResponse:
        """Change a project.

        For OWNER and ADMIN. Fields that are null or left out stay as they are. 409 if another
        project has the name. Programs identify their project by name: a program that still sends
        the old name creates a new project.
        """
        project = await use_cases.identity.change_project(
            caller.person, caller.organization, path.project_id, content.name, content.description
        )
        return ProjectResponse.from_domain(project)

    @put(
        "/{project_id:str}/retention",
        ORGANIZATION_MEMBER,
        example=examples.PROJECT | {"retention_days": 90},
        body_example={"days": 90},
    )
    async def change_retention(
        self,
        caller: OrganizationCaller,
        content: RetentionRequest,
        path: ProjectPath,
        use_cases: UseCases,
    ) -> ProjectResponse:
        """Set the retention of a project.

        For OWNER and ADMIN. A trace that was stored more than this number of days ago is deleted
        within minutes, with its spans and scores, and can't be restored. The time when it was first
        stored counts, not its start. With null, traces are kept for ever.
        """
        project = await use_cases.identity.change_retention(
            caller.person, caller.organization, path.project_id, content.days
        )
        return ProjectResponse.from_domain(project)

    @delete("/{project_id:str}", ORGANIZATION_MEMBER)
    async def delete_project(
        self, caller: OrganizationCaller, path: ProjectPath, use_cases: UseCases
    ) -> None:
        """Delete a project.

        For an OWNER. From then on, no request can read its traces, spans and scores. API keys stay
        as they are.
        """
        await use_cases.identity.delete_project(caller.person, caller.organization, path.project_id)
