"""Budgets of judges, and what of them is used, in Postgres: the port."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool, translated
from adapters.postgres.identity.project_budgets import read_budget
from application.evaluation.ports.judging import Reservation
from domain.evaluation.costs.judge_costs import month_scope, month_start, run_scope
from domain.ids import ProjectId, RunId

SPENT_IN_MONTH: Final = f"""
SELECT coalesce(sum(usd), 0) FROM judge_calls WHERE {OF_PROJECT} AND created_at >= $2
"""
BEGUN: Final = f"SELECT EXISTS (SELECT FROM judge_spending WHERE {OF_PROJECT} AND scope = $2)"
BEGIN: Final = """
INSERT INTO judge_spending (project_id, scope, usd, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, scope) DO NOTHING
"""
RESERVE: Final = f"""
UPDATE judge_spending SET usd = usd + $3 WHERE {OF_PROJECT} AND scope = $2 AND usd + $3 <= $4
RETURNING usd
"""
SETTLE: Final = f"""
UPDATE judge_spending SET usd = usd + $3 WHERE {OF_PROJECT} AND scope = $2
"""


class _TooDear(Exception):  # noqa: N818 - it is no error: it takes back what was set aside
    pass


@dataclass(frozen=True, slots=True)
class PostgresBudgets:
    pool: Pool

    async def monthly(self, project: ProjectId) -> Decimal | None:
        async with translated(), self.pool.acquire() as connection:
            return await read_budget(connection, project)

    async def reserve(
        self, project: ProjectId, run: RunId, of_run: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        limits = {run_scope(run): of_run, month_scope(now): await self.monthly(project)}
        known = {scope: limit for scope, limit in limits.items() if limit is not None}
        if not known:
            return Reservation((), usd)
        with suppress(_TooDear):
            async with translated(), self.pool.acquire() as connection, connection.transaction():
                # In one order for all: the run's first, then the month's.
                for scope, limit in known.items():
                    await _begun(connection, project, scope, now)
                    if await connection.fetchval(RESERVE, project, scope, usd, limit) is None:
                        raise _TooDear
                return Reservation(tuple(known), usd)
        return None

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        if not reservation.scopes:
            return
        async with translated(), self.pool.acquire() as connection, connection.transaction():
            for scope in reservation.scopes:
                await connection.execute(SETTLE, project, scope, usd - reservation.usd)


async def _begun(connection: Connection, project: ProjectId, scope: str, now: datetime) -> None:
    """Makes sure that there's a row to count in, with what was spent before it."""
    if await connection.fetchval(BEGUN, project, scope):
        return
    spent = Decimal(0)
    if scope == month_scope(now):
        spent = await connection.fetchval(SPENT_IN_MONTH, project, month_start(now))
    await connection.execute(BEGIN, project, scope, spent, now)
