"""Budgets, and the usage of an organization."""

from tests.support.endpoints.spec import ADMINS, ALL_ROLES, Audit, EndpointSpec, beyond_contract

BUDGET = "/organizations/{org_id}/projects/{project_id}/budget"
LIMITS = "/organizations/{org_id}/limits"
ENDPOINTS = beyond_contract(
    EndpointSpec("GET /organizations/{org_id}/usage", ALL_ROLES, 200, query="by=metric"),
    EndpointSpec(f"GET {LIMITS}", ALL_ROLES, 200),
    EndpointSpec(
        f"PUT {LIMITS}",
        ADMINS,
        200,
        body={
            "monthly_usd": 9,
            "project_monthly_usd": 3,
            "project_retention_days": 30,
            "key_days": 90,
        },
        constrained=("monthly_usd", "project_monthly_usd"),
        audit=Audit("organization.limits_changed", "org_id"),
    ),
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
