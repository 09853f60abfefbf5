"""The judge costs of an organization, and the budgets of its projects."""

from decimal import Decimal
from typing import Annotated

from litestar import Controller

from application.use_cases import UseCases
from domain.identity.organization import OrganizationLimits
from entrypoints.http.authentication import ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.costs import examples
from entrypoints.http.controllers.costs.schemas import (
    BudgetRequest,
    BudgetResponse,
    LimitsRequest,
    LimitsResponse,
    OrganizationUsageResponse,
    UsageQuery,
)
from entrypoints.http.controllers.organizations.projects import ProjectPath
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.endpoint import get, put
from entrypoints.http.requests.json_body import Body

NewLimits = Annotated[OrganizationLimits, Body(LimitsRequest, LimitsRequest.to_domain)]
NewBudget = Annotated[Decimal | None, Body(BudgetRequest, BudgetRequest.to_domain)]


class UsageController(Controller):
    path = "/organizations/{org_id:str}"

    @get("/usage", ORGANIZATION_MEMBER, example=examples.ORGANIZATION_USAGE)
    async def read_usage(
        self,
        caller: OrganizationCaller,
        path: OrganizationPath,
        params: UsageQuery,
        use_cases: UseCases,
    ) -> OrganizationUsageResponse:
        """Read judge costs.

        The requests that were sent to providers in a period and their cost, over all projects of
        the organization, by project, model, metric or day. The costs of deleted projects are not
        included.
        """
        usage = await use_cases.costs.read_usage(
            caller.membership, params.date_from, params.date_to, params.by
        )
        return OrganizationUsageResponse.from_domain(usage, by=params.by)

    @get("/projects/{project_id:str}/budget", ORGANIZATION_MEMBER, example=examples.BUDGET)
    async def read_budget(
        self, caller: OrganizationCaller, path: ProjectPath, use_cases: UseCases
    ) -> BudgetResponse:
        """Read a project's budget.

        The monthly budget for its judges, and their cost in this month.
        """
        project = path.project_id
        budget = await use_cases.costs.read_budget(caller.membership, project)
        return BudgetResponse.from_domain(budget, project_id=project)

    @put(
        "/projects/{project_id:str}/budget",
        ORGANIZATION_MEMBER,
        example=examples.BUDGET,
        body_example={"monthly_usd": 25},
    )
    async def set_budget(
        self, caller: OrganizationCaller, content: NewBudget, path: ProjectPath, use_cases: UseCases
    ) -> BudgetResponse:
        """Set a project's budget.

        For OWNER and ADMIN. The budget for its judges per calendar month in UTC; the cost so far in
        this month counts. A judge call that might exceed the budget isn't made, and its score is
        skipped.
        """
        project = path.project_id
        budget = await use_cases.costs.set_budget(
            caller.person, caller.organization, project, content
        )
        return BudgetResponse.from_domain(budget, project_id=project)

    @get("/limits", ORGANIZATION_MEMBER, example=examples.LIMITS)
    async def read_limits(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> LimitsResponse:
        """Read an organization's limits.

        The monthly budget for the judges of all its projects together, and what a new project
        starts with.
        """
        limits = await use_cases.costs.read_limits(caller.organization)
        return LimitsResponse.from_domain(limits, org_id=caller.organization)

    @put(
        "/limits",
        ORGANIZATION_MEMBER,
        example=examples.LIMITS,
        body_example=examples.LIMITS_REQUEST,
    )
    async def set_limits(
        self,
        caller: OrganizationCaller,
        content: NewLimits,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> LimitsResponse:
        """Set an organization's limits.

        For OWNER and ADMIN. A judge call that might exceed the budget of the organization isn't
        made; the cost so far in this month counts, and that of a deleted project stays counted.
        Each project that is created from now on, also by the first request that names it, starts
        with the other two. Existing projects stay as they are.
        """
        limits = await use_cases.costs.set_limits(caller.person, caller.organization, content)
        return LimitsResponse.from_domain(limits, org_id=caller.organization)
