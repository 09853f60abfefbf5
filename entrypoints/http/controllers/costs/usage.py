"""What the judges of an organization cost, and what those of a project may."""

from decimal import Decimal
from typing import Annotated, Final

from litestar import Controller, get, put

from application.use_cases import UseCases
from domain.ids import ProjectId
from entrypoints.http.authentication import OF_ORGANIZATION, Colleague
from entrypoints.http.controllers.costs import examples
from entrypoints.http.controllers.costs.schemas import (
    BudgetRequest,
    BudgetResponse,
    OrganizationUsageResponse,
    UsageQuery,
)
from entrypoints.http.controllers.organizations.projects import ProjectPath
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.endpoint import Injected, endpoint
from entrypoints.http.requests.json_body import Body

USAGE: Final = endpoint(
    OF_ORGANIZATION,
    summary="Read what judges cost",
    description=(
        "The requests that providers were sent in a period, and what they cost, over all "
        "projects of the organization: by project, model, metric or day. What a deleted "
        "project took goes with it."
    ),
    example=examples.OF_ORGANIZATION,
)

READ: Final = endpoint(
    OF_ORGANIZATION,
    summary="Read a project's budget",
    description="What its judges may cost in a month, and what they did in this one.",
    example=examples.BUDGET,
)

NewBudget = Annotated[Decimal | None, Body(BudgetRequest, BudgetRequest.to_domain)]

SET: Final = endpoint(
    OF_ORGANIZATION,
    summary="Set a project's budget",
    description=(
        "For OWNER and ADMIN. What its judges may cost in each calendar month, in UTC; "
        "what was spent earlier in this one counts. A question that might exceed it isn't "
        "asked, and its score is skipped."
    ),
    example=examples.BUDGET,
    body_example={"monthly_usd": 25},
)


class SpendingController(Controller):
    path = "/organizations/{org_id:str}"

    @get("/usage", **USAGE)
    async def read_usage(
        self,
        caller: Injected[Colleague],
        path: Injected[OrganizationPath],
        params: Injected[UsageQuery],
        use_cases: Injected[UseCases],
    ) -> OrganizationUsageResponse:
        query = params
        found = await use_cases.costs.read_usage(
            caller.membership, query.date_from, query.date_to, query.by
        )
        return OrganizationUsageResponse.of(query.by, found)

    @get("/projects/{project_id:str}/budget", **READ)
    async def read_budget(
        self,
        caller: Injected[Colleague],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> BudgetResponse:
        project = ProjectId(path.project_id)
        found = await use_cases.costs.read_budget(caller.membership, project)
        return BudgetResponse.of(project, found)

    @put("/projects/{project_id:str}/budget", **SET)
    async def set_budget(
        self,
        caller: Injected[Colleague],
        content: Injected[NewBudget],
        path: Injected[ProjectPath],
        use_cases: Injected[UseCases],
    ) -> BudgetResponse:
        project = ProjectId(path.project_id)
        made = await use_cases.costs.set_budget(
            caller.person, caller.organization, project, content
        )
        return BudgetResponse.of(project, made)
