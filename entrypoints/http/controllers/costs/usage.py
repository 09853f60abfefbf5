"""What the judges of an organization cost, and what those of a project may."""

from typing import Final

from litestar import Controller, Response, get, put

from domain.ids import ProjectId
from entrypoints.http.authentication import OF_ORGANIZATION
from entrypoints.http.controllers.costs import examples
from entrypoints.http.controllers.costs.schemas import (
    BudgetRequest,
    BudgetResponse,
    OrganizationUsageResponse,
    UsageQuery,
)
from entrypoints.http.controllers.organizations.projects import ProjectPath
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.operation import Documented, answer, edge_of, operation
from entrypoints.http.requests.json_body import Body

USAGE: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Read what judges cost",
            description=(
                "The requests that providers were sent in a period, and what they cost, over all "
                "projects of the organization: by project, model, metric or day. What a deleted "
                "project took goes with it."
            ),
            answer=OrganizationUsageResponse,
            example=examples.OF_ORGANIZATION,
        ),
    )
    .with_path(OrganizationPath)
    .with_query(UsageQuery)
)

READ: Final = operation(
    OF_ORGANIZATION,
    Documented(
        summary="Read a project's budget",
        description="What its judges may cost in a month, and what they did in this one.",
        answer=BudgetResponse,
        example=examples.BUDGET,
    ),
).with_path(ProjectPath)

SET: Final = (
    operation(
        OF_ORGANIZATION,
        Documented(
            summary="Set a project's budget",
            description=(
                "For OWNER and ADMIN. What its judges may cost in each calendar month, in UTC; "
                "what was spent earlier in this one counts. A question that might exceed it isn't "
                "asked, and its score is skipped."
            ),
            answer=BudgetResponse,
            example=examples.BUDGET,
            body_example={"monthly_usd": 25},
        ),
    )
    .with_path(ProjectPath)
    .with_body(Body(BudgetRequest, BudgetRequest.to_domain))
)


class SpendingController(Controller):
    path = "/organizations/{org_id:str}"

    @get("/usage", opt=USAGE.opt)
    async def read_usage(self, request: HttpRequest) -> Response[bytes]:
        given = await USAGE.read(request)
        query = given.query
        found = await edge_of(request).use_cases.read_usage(
            given.caller.membership, query.date_from, query.date_to, query.by
        )
        return await answer(request, OrganizationUsageResponse.of(query.by, found))

    @get("/projects/{project_id:str}/budget", opt=READ.opt)
    async def read_budget(self, request: HttpRequest) -> Response[bytes]:
        given = await READ.read(request)
        project = ProjectId(given.path.project_id)
        found = await edge_of(request).use_cases.read_budget(given.caller.membership, project)
        return await answer(request, BudgetResponse.of(project, found))

    @put("/projects/{project_id:str}/budget", opt=SET.opt)
    async def set_budget(self, request: HttpRequest) -> Response[bytes]:
        given = await SET.read(request)
        project = ProjectId(given.path.project_id)
        made = await edge_of(request).use_cases.set_budget(
            given.caller.person, given.caller.organization, project, given.body
        )
        return await answer(request, BudgetResponse.of(project, made))
