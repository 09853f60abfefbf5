"""Budgets for judging, and the spending that counts towards them."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection, Pool, translate_errors
from adapters.postgres.database.table_groups import SELECT_PROJECTS_OF_OTHERS, fetch_groups
from adapters.postgres.database.tenants import ALL_TENANTS, Scope, within
from adapters.postgres.identity.project_budgets import fetch_budget
from application.evaluation.ports.judging import Reservation
from domain.evaluation.costs.judge_costs import (
    is_shared,
    month_scope,
    month_start,
    organization_scope,
    run_scope,
    server_scope,
)
from domain.ids import OrganizationId, ProjectId, RunId

SUM_MONTH_SPENDING: Final = f"""
SELECT coalesce(sum(usd), 0) FROM judge_calls WHERE {IN_PROJECT} AND created_at >= $2
"""
HAS_SPENDING_ROW: Final = (
    f"SELECT EXISTS (SELECT 1 FROM judge_spending WHERE {IN_PROJECT} AND scope = $2)"
)
INSERT_SPENDING: Final = """
INSERT INTO judge_spending (project_id, scope, usd, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, scope) DO NOTHING
"""
RESERVE_SPENDING: Final = f"""
UPDATE judge_spending SET usd = usd + $3 WHERE {IN_PROJECT} AND scope = $2 AND usd + $3 <= $4
RETURNING created_at
"""
# If the row was inserted after the reservation, it hasn't counted the reservation.
_SETTLED: Final = (
    "usd + {spent}::numeric - CASE WHEN created_at = {since} THEN {reserved}::numeric ELSE 0 END"
)
SETTLE_SPENDING: Final = f"""
UPDATE judge_spending SET usd = {_SETTLED.format(spent="$3", reserved="$4", since="$5")}
WHERE {IN_PROJECT} AND scope = $2
"""


SELECT_ORGANIZATION_LIMIT: Final = """
SELECT o.id, o.monthly_usd FROM projects AS p JOIN organizations AS o ON o.id = p.organization_id
WHERE p.id = $1
"""
SELECT_SIBLINGS: Final = """
SELECT ours.id FROM projects JOIN projects AS ours USING (organization_id) WHERE projects.id = $1
"""
SUM_MONTH_OF_PROJECTS: Final = """
SELECT coalesce(sum(usd), 0) FROM judge_calls
WHERE created_at >= $2 AND project_id = ANY($1::uuid[])
"""
# Each group has a ledger of its own. The first one is where the list of the groups is.
SELECT_FIRST_SCHEMA: Final = """
SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'table_groups'::regclass
"""
SUM_MONTH_BY_PROJECT: Final = """
SELECT project_id, sum(usd) AS usd FROM {schema}.judge_calls WHERE created_at >= $1
GROUP BY project_id
"""
SELECT_SHARED_SPENDING: Final = "SELECT usd FROM shared_spending WHERE scope = $1"
HAS_SHARED_ROW: Final = "SELECT EXISTS (SELECT 1 FROM shared_spending WHERE scope = $1)"
INSERT_SHARED_SPENDING: Final = """
INSERT INTO shared_spending (scope, usd, created_at) VALUES ($1, $2, $3)
ON CONFLICT (scope) DO NOTHING
"""
# The ledger doesn't contain reservations yet: the row has never less, unless it wasn't counted in.
RAISE_SHARED_SPENDING: Final = """
INSERT INTO shared_spending (scope, usd, created_at) VALUES ($1, $2, $3)
ON CONFLICT (scope) DO UPDATE SET usd = excluded.usd WHERE shared_spending.usd < excluded.usd
"""
RESERVE_SHARED_SPENDING: Final = """
UPDATE shared_spending SET usd = usd + $2 WHERE scope = $1 AND usd + $2 <= $3 RETURNING created_at
"""
SETTLE_SHARED_SPENDING: Final = f"""
UPDATE shared_spending SET usd = {_SETTLED.format(spent="$2", reserved="$3", since="$4")}
WHERE scope = $1
"""


class _BudgetExceeded(Exception):  # noqa: N818 - not an error: it rolls back the reservations
    pass


@dataclass(frozen=True, slots=True)
class PostgresBudgets:
    """`server_usd` is the monthly limit of all projects together; None: no limit."""

    pool: Pool
    server_usd: Decimal | None = None
    _raised: set[str] = field(default_factory=set, init=False, compare=False)  # months

    async def monthly(self, project: ProjectId) -> Decimal | None:
        async with translate_errors(), within(self.pool, project).transaction() as connection:
            return await fetch_budget(connection, project)

    async def organization_spending(self, organization: OrganizationId, now: datetime) -> Decimal:
        async with translate_errors():
            usd: Decimal | None = await within(self.pool, organization).fetchval(
                SELECT_SHARED_SPENDING, organization_scope(organization, now)
            )
        return usd or Decimal(0)

    async def reserve(
        self, project: ProjectId, run: RunId, run_limit: Decimal | None, usd: Decimal, now: datetime
    ) -> Reservation | None:
        # All transactions lock in this order: run, month, organization, server.
        limits = {run_scope(run): run_limit, month_scope(now): await self.monthly(project)}
        limits |= await self._organization_limit(project, now)
        limits[server_scope(now)] = self.server_usd
        known = {scope: limit for scope, limit in limits.items() if limit is not None}
        if not known:
            return Reservation({}, usd)
        # Shared spending is summed over other projects.
        if self.server_usd is not None and server_scope(now) not in self._raised:
            await self._raise_spending_of_server(now)
        scope: Scope = ALL_TENANTS if any(map(is_shared, known)) else project
        with suppress(_BudgetExceeded):
            async with translate_errors(), within(self.pool, scope).transaction() as connection:
                since = {
                    counted: await _reserve_in(connection, project, counted, usd, limit, now)
                    for counted, limit in known.items()
                }
                return Reservation(since, usd)
        return None

    async def settle(self, project: ProjectId, reservation: Reservation, usd: Decimal) -> None:
        if not reservation.scopes:
            return
        async with translate_errors(), within(self.pool, project).transaction() as connection:
            for scope, since in reservation.scopes.items():
                amounts = (usd, reservation.usd, since)
                if is_shared(scope):
                    await connection.execute(SETTLE_SHARED_SPENDING, scope, *amounts)
                else:
                    await connection.execute(SETTLE_SPENDING, project, scope, *amounts)

    async def _raise_spending_of_server(self, now: datetime) -> None:
        """Counts what was spent while the processes had no limit, once in each month."""
        everyone = within(self.pool, ALL_TENANTS)
        async with translate_errors(), everyone.transaction() as connection:
            spent = await _sum_month_of_server(connection, month_start(now))
            await connection.execute(RAISE_SHARED_SPENDING, server_scope(now), spent, now)
        self._raised.add(server_scope(now))

    async def _organization_limit(
        self, project: ProjectId, now: datetime
    ) -> dict[str, Decimal | None]:
        async with translate_errors():
            everyone = within(self.pool, ALL_TENANTS)  # the organization isn't known yet
            row = await everyone.fetchrow(SELECT_ORGANIZATION_LIMIT, project)
        return {} if row is None else {organization_scope(row["id"], now): row["monthly_usd"]}


async def _reserve_in(  # noqa: PLR0917 - the columns of a row
    connection: Connection,
    project: ProjectId,
    scope: str,
    usd: Decimal,
    limit: Decimal,
    now: datetime,
) -> datetime:
    """Since when the spending is counted. Raises _BudgetExceeded."""
    if is_shared(scope):
        await _ensure_shared_row(connection, project, scope, now)
        since = await connection.fetchval(RESERVE_SHARED_SPENDING, scope, usd, limit)
    else:
        await _ensure_spending_row(connection, project, scope, now)
        since = await connection.fetchval(RESERVE_SPENDING, project, scope, usd, limit)
    if since is None:
        raise _BudgetExceeded
    counted: datetime = since
    return counted


async def _ensure_shared_row(
    connection: Connection, project: ProjectId, scope: str, now: datetime
) -> None:
    """Inserts the row with what the ledger has of the month, unless it exists."""
    if await connection.fetchval(HAS_SHARED_ROW, scope):
        return
    if scope == server_scope(now):
        spent = await _sum_month_of_server(connection, month_start(now))
    else:
        ours = [row[0] for row in await connection.fetch(SELECT_SIBLINGS, project)]
        spent = await connection.fetchval(SUM_MONTH_OF_PROJECTS, ours, month_start(now))
    await connection.execute(INSERT_SHARED_SPENDING, scope, spent, now)


async def _sum_month_of_server(connection: Connection, since: datetime) -> Decimal:
    """The sum of the ledgers of all groups. Rows that a move leaves elsewhere count once."""
    first: str = await connection.fetchval(SELECT_FIRST_SCHEMA)
    spent = Decimal(0)
    for group in await fetch_groups(connection):
        sql = SUM_MONTH_BY_PROJECT.format(schema=group.schema or first)
        by_project = {row[0]: row[1] for row in await connection.fetch(sql, since)}
        for row in await connection.fetch(SELECT_PROJECTS_OF_OTHERS, [*by_project], group.number):
            del by_project[row[0]]
        spent += sum(by_project.values(), Decimal(0))
    return spent


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
