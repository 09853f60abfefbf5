"""Monthly budgets of projects for judge calls."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from domain.evaluation.costs.judge_costs import month_scope, organization_scope
from domain.identity.organization import OrganizationLimits
from domain.ids import OrganizationId, ProjectId

SELECT_BUDGET: Final = f"SELECT monthly_usd FROM judge_budgets WHERE {IN_PROJECT}"
UPSERT_BUDGET: Final = """
INSERT INTO judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (project_id) DO UPDATE
SET monthly_usd = excluded.monthly_usd, updated_at = excluded.updated_at
"""
DELETE_BUDGET: Final = f"DELETE FROM judge_budgets WHERE {IN_PROJECT}"
# Without a budget, only the ledger records spending. A new budget starts from the sum in the
# ledger.
DELETE_SPENDING: Final = f"DELETE FROM judge_spending WHERE {IN_PROJECT} AND scope = $2"


SELECT_LIMITS: Final = """
SELECT monthly_usd, project_monthly_usd, project_retention_days, key_days
FROM organizations WHERE id = $1
"""
UPDATE_LIMITS: Final = """
UPDATE organizations
SET monthly_usd = $2, project_monthly_usd = $3, project_retention_days = $4, key_days = $5
WHERE id = $1
"""
DELETE_SHARED_SPENDING: Final = "DELETE FROM shared_spending WHERE scope = $1"


async def fetch_limits(
    connection: Connection, organization: OrganizationId
) -> OrganizationLimits | None:
    """None if the organization doesn't exist."""
    row = await connection.fetchrow(SELECT_LIMITS, organization)
    return None if row is None else OrganizationLimits(**row)


async def store_limits(
    connection: Connection, organization: OrganizationId, limits: OrganizationLimits, at: datetime
) -> None:
    """As `LockedOrganization.put_limits`, in the transaction of the connection."""
    known = await fetch_limits(connection, organization)
    if limits.monthly_usd is None or known is None or known.monthly_usd is None:
        await connection.execute(DELETE_SHARED_SPENDING, organization_scope(organization, at))
    amounts = (limits.monthly_usd, limits.project_monthly_usd)
    days = (limits.project_retention_days, limits.key_days)
    await connection.execute(UPDATE_LIMITS, organization, *amounts, *days)


async def fetch_budget(connection: Connection, project: ProjectId) -> Decimal | None:
    """As `Budgets.monthly`."""
    usd: Decimal | None = await connection.fetchval(SELECT_BUDGET, project)
    return usd


async def store_budget(
    connection: Connection, project: ProjectId, usd: Decimal | None, now: datetime
) -> None:
    """As `LockedOrganization.put_budget`, in the transaction of the connection."""
    # While a budget exists, its spending and reservations are counted, whatever the budget is.
    if usd is None or await fetch_budget(connection, project) is None:
        await connection.execute(DELETE_SPENDING, project, month_scope(now))
    if usd is None:
        await connection.execute(DELETE_BUDGET, project)
    else:
        await connection.execute(UPSERT_BUDGET, project, usd, now)
