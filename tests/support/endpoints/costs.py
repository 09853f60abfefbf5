"""Budgets, and the usage of an organization."""

from tests.support.endpoints.spec import ADMINS, ALL_ROLES, Audit, EndpointSpec, beyond_contract

BUDGET = "/organizations/{org_id}/projects/{project_id}/budget"
ENDPOINTS = beyond_contract(
    EndpointSpec("GET /organizations/{org_id}/usage", ALL_ROLES, 200, query="by=metric"),
    EndpointSpec(f"GET {BUDGET}", ALL_ROLES, 200),
    EndpointSpec(
        f"PUT {BUDGET}",
        ADMINS,
        200,
        body={"monthly_usd": 9},
        constrained=("monthly_usd",),
        audit=Audit("project.budget_changed", "project_id"),
    ),
)
