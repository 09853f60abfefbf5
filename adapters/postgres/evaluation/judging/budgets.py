"""Budgets for judging, and the spending that counts towards them."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool, translate_errors
from adapters.postgres.identity.project_budgets import fetch_budget
from application.evaluation.ports.judging import Reservation
from domain.evaluation.costs.judge_costs import month_scope, month_start, run_scope
from domain.ids import ProjectId, RunId

SUM_MONTH_SPENDING: Final = f"""
SELECT coalesce(sum(usd), 0) FROM judge_calls WHERE {OF_PROJECT} AND created_at >= $2
"""
HAS_SPENDING_ROW: Final = (
    f"SELECT EXISTS (SELECT FROM judge_spending WHERE {OF_PROJECT} AND scope = $2)"
)
INSERT_SPENDING: Final = """
INSERT INTO judge_spending (project_id, scope, usd, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, scope) DO NOTHING
"""
RESERVE_SPENDING: Final = f"""
UPDATE judge_spending SET usd = usd + $3 WHERE {OF_PROJECT} AND scope = $2 AND usd + $3 <= $4
RETURNING usd
"""
SETTLE_SPENDING: Final = f"""
UPDATE judge_spending SET usd = usd + $3 WHERE {OF_PROJECT} AND scope = $2
"""


class _BudgetExceeded(Exception):  # noqa: N818 - not an error: it rolls back the reservations
    pass


@dataclass(frozen=True, slots=True)
class PostgresBudgets:
    pool: Pool

    async def monthly(self, project: ProjectId) -> Decimal | None:
        async with translate_errors(), self.pool.acquire() as connection:
            return await fetch_budget(connection, project)

    async def reserve(
        self, project: ProjectId, run: RunId, of_run: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        limits = {run_scope(run): of_run, month_scope(now): await self.monthly(project)}
        known = {scope: limit for scope, limit in limits.items() if limit is not None}
        if not known:
            return Reservation((), usd)
        with suppress(_BudgetExceeded):
            async with (
                translate_errors(),
                self.pool.acquire() as connection,
                connection.transaction(),
            ):
                # Same lock order in all transactions: the row of the run first, then that of the
                # month.
                for scope, limit in known.items():
                    await _ensure_spending_row(connection, project, scope, now)
                    if (
                        await connection.fetchval(RESERVE_SPENDING, project, scope, usd, limit)
                        is None
                    ):
                        raise _BudgetExceeded
                return Reservation(tuple(known), usd)
        return None

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        if not reservation.scopes:
            return
        async with translate_errors(), self.pool.acquire() as connection, connection.transaction():
            for scope in reservation.scopes:
                await connection.execute(SETTLE_SPENDING, project, scope, usd - reservation.usd)


async def _ensure_spending_row(
    connection: Connection, project: ProjectId, scope: str, now: datetime
) -> None:
    """Inserts the row that counts the spending, with what was spent before, unless it exists."""
    if await connection.fetchval(HAS_SPENDING_ROW, project, scope):
        return
    spent = Decimal(0)
    if scope == month_scope(now):
        spent = await connection.fetchval(SUM_MONTH_SPENDING, project, month_start(now))
    await connection.execute(INSERT_SPENDING, project, scope, spent, now)
