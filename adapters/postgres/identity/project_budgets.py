"""Monthly budgets of projects for judge calls."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from domain.evaluation.costs.judge_costs import month_scope
from domain.ids import ProjectId

SELECT_BUDGET: Final = f"SELECT monthly_usd FROM judge_budgets WHERE {OF_PROJECT}"
UPSERT_BUDGET: Final = """
INSERT INTO judge_budgets (project_id, monthly_usd, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (project_id) DO UPDATE
SET monthly_usd = excluded.monthly_usd, updated_at = excluded.updated_at
"""
DELETE_BUDGET: Final = f"DELETE FROM judge_budgets WHERE {OF_PROJECT}"
# Without a budget, only the ledger records spending. A new budget starts from the sum in the
# ledger.
DELETE_SPENDING: Final = f"DELETE FROM judge_spending WHERE {OF_PROJECT} AND scope = $2"


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
