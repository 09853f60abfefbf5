"""Scopes: the tenants whose rows the statements of a transaction see and write (docs/adr/0036).

Every table with rows of a project or an organization has a policy, which compares the column with
the scope. Transactions set it for themselves, so that a pooler may give the next one another
connection; single statements set it for the session where there is no pooler. A statement without
a scope finds nothing and writes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

from asyncpg import Record

from adapters.postgres.database.pool import Connection, Pool, bounded, is_distributed


@dataclass(frozen=True, slots=True)
class Begin:
    """How a transaction begins: its first statement, and what follows once the scope is set.

    With Citus `hints` are left out: each would be a message of its own, to the workers too.
    """

    statement: str
    then: Sequence[str] = ()
    hints: Sequence[str] = ()


BEGIN: Final = Begin("BEGIN")
# For statements whose plan is the same whatever their arguments are. Otherwise PostgreSQL plans an
# INSERT of few rows each time, because it expects more of an array that it doesn't know.
BEGIN_PLANNED: Final = Begin("BEGIN", hints=("SET LOCAL plan_cache_mode = force_generic_plan",))
BEGIN_READ_ONLY: Final = Begin("BEGIN READ ONLY")
BEGIN_SNAPSHOT_READ: Final = Begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
# Ids of projects and organizations, separated by commas. A project never has the id of an
# organization, because all ids are random.
SET_TENANTS: Final = "SET LOCAL pandaprobe.tenants = '{}'"
SELECT_TENANTS: Final = "SELECT nullif(current_setting('pandaprobe.tenants', true), '')"
ADD_TENANT: Final = """
SELECT set_config('pandaprobe.tenants',
  concat_ws(',', nullif(current_setting('pandaprobe.tenants', true), ''), $1::text), true)
"""
SET_ALL_TENANTS: Final = "SET LOCAL pandaprobe.scope = 'all'"


class AllTenants(Enum):
    """The scope of work across tenants.

    ALL_TENANTS is for what no single tenant asks for (sweeps, schedulers, metrics) and for
    look-ups that tell which tenant a caller belongs to.
    """

    ALL_TENANTS = 1


ALL_TENANTS: Final = AllTenants.ALL_TENANTS
type Scope = UUID | Collection[UUID] | AllTenants
"""A project, an organization, several of them, or ALL_TENANTS."""

VIEWS_OF_SCOPE: Final = {"span_rows": "spans", "span_fragment_rows": "span_fragments"}
"""Views that take the place of a policy, by the tables below them."""

NO_TENANTS: Final[Scope] = ()
"""The scope of statements on tables without tenants."""


def set_scope(scope: Scope) -> str:
    """The statement that sets the scope of the open transaction. Ids are no place for SQL."""
    return SET_ALL_TENANTS if scope is ALL_TENANTS else SET_TENANTS.format(_ids(scope))


def _ids(scope: UUID | Collection[UUID]) -> str:
    tenants = [scope] if isinstance(scope, UUID) else scope
    return ",".join(str(UUID(bytes=one.bytes)) for one in tenants)


@asynccontextmanager
async def scoped_transaction(
    connection: Connection, scope: Scope, begin: Begin = BEGIN, end: str = "COMMIT"
) -> AsyncIterator[None]:
    """Opens a transaction and sets its scope, in one round trip. `end` ends it.

    Citus sends a worker the whole message that a setting came in, so there each statement is one.

    asyncpg can't send anything together with BEGIN, so it doesn't know this transaction as one of
    its own: code inside uses no `connection.transaction()`.
    """
    statements = [begin.statement, set_scope(scope), *begin.then]
    is_one_message = not is_distributed(connection)
    messages = ["; ".join([*statements, *begin.hints])] if is_one_message else statements
    try:
        for message in messages:
            await connection.execute(message)
        yield
    except asyncio.CancelledError:  # while it begins, the server may have begun it
        with suppress(Exception):  # else loops that catch failures would go on
            await connection.execute("ROLLBACK")
        raise
    except BaseException:
        await connection.execute("ROLLBACK")
        raise
    await connection.execute(end)


async def add_tenant(connection: Connection, tenant: UUID) -> None:
    """Adds a tenant to the scope of the open transaction."""
    if not is_distributed(connection):
        await connection.execute(ADD_TENANT, str(tenant))
        return
    # Citus passes SET on to other nodes, and no call of a function.
    known: str | None = await connection.fetchval(SELECT_TENANTS)
    before = [] if known is None else [UUID(one) for one in known.split(",")]
    await connection.execute(set_scope([*before, tenant]))


async def set_tenants(connection: Connection, *tenants: UUID) -> None:
    """Replaces the scope of the open transaction by several tenants."""
    await connection.execute(set_scope(tenants))


@dataclass(frozen=True, slots=True)
class TenantPool:
    """Runs single statements in a scope, each committed by itself."""

    pool: Pool
    scope: Scope

    @asynccontextmanager
    async def transaction(self, begin: Begin = BEGIN) -> AsyncIterator[Connection]:
        async with (
            self.pool.acquire_with_last_scope() as connection,
            scoped_transaction(connection, self.scope, begin),
        ):
            yield connection

    async def fetch(self, sql: str, *values: object) -> list[Record]:
        async with self.statement() as connection:
            return await connection.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: object) -> Record | None:
        async with self.statement() as connection:
            return await connection.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: object) -> Any:
        async with self.statement() as connection:
            return await connection.fetchval(sql, *values)

    async def execute(self, sql: str, *values: object) -> str:
        async with self.statement() as connection:
            return await connection.execute(sql, *values)

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Connection]:
        """A connection for one statement.

        Its session keeps the scope, so the next statement of the same tenants needs one round trip
        in place of three. Through a pooler, where a session is shared, and for all tenants, the
        statement gets a transaction.
        """
        async with self.pool.acquire_with_last_scope() as connection:
            own = bounded(connection)
            if self.scope is ALL_TENANTS or not own.keeps_settings:
                async with scoped_transaction(connection, self.scope):
                    yield connection
            else:
                await own.use_tenants(_ids(self.scope))
                yield connection


def within(pool: Pool, scope: Scope) -> TenantPool:
    return TenantPool(pool, scope)
