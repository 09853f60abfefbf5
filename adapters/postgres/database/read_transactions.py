"""Reads: one snapshot for several statements, and a timeout below that of clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from asyncpg import Record

from adapters.postgres.database.pool import Connection, Pool, translate_errors
from adapters.postgres.database.tenants import (
    BEGIN_READ_ONLY,
    Begin,
    Scope,
    scoped_transaction,
    within,
)
from domain.errors import Unavailable
from domain.ids import ProjectId

READ_TIMEOUT_S: Final = 10  # below the 30 s after which clients give up

# Endings of timeout messages: how the caller can make the read faster.
RETRY_LATER: Final = "try again later"
ASK_FOR_FEWER: Final = "ask for fewer, or try again later"
NARROW_BY_DATE: Final = "narrow date_from and date_to"
NARROW_BY_STATUS: Final = "narrow the list with status, or try again later"

BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Planning for the values of a statement takes two to four times as long as finding rows by a key.
# A statement may select PLAN_BY_VALUE, for those after it.
SET_PLAN_BY_VALUE: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
PLAN_BY_VALUE: Final = "set_config('plan_cache_mode', 'force_custom_plan', true)"
# Puts views in place of the tables for the rest of a snapshot, so that rows of users and sessions
# under erasure are hidden: see `hiding` in the migration. Sent in the same message as BEGIN, so it
# costs no extra round trip.
READ_VIEWS: Final = "SELECT read_views('{}')"
# Whether an erasure is active, for single statements that do not hide its rows.
HAS_ACTIVE_ERASURE: Final = (
    "EXISTS (SELECT 1 FROM erasures WHERE project_id = $1 AND owner IS NOT NULL)"
)


@asynccontextmanager
async def read_connection(
    pool: Pool,
    advice: str,
    scope: Scope,
    timeout_s: float = READ_TIMEOUT_S,
    begin: Begin = BEGIN_READ_ONLY,
) -> AsyncIterator[Connection]:
    """Opens a transaction that reads rows of `scope`.

    Raises Unavailable with `advice` if the block takes longer than `timeout_s`; the running
    statement is cancelled, on the server too.
    """
    async with (
        translate_errors(),
        pool.acquire_with_last_scope() as connection,
        _limit_time(advice, timeout_s),
        scoped_transaction(connection, scope, begin, end="ROLLBACK"),  # it only reads
    ):
        yield connection


@asynccontextmanager
async def _limit_time(advice: str, timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise Unavailable(f"The database took longer than {timeout_s:g} s: {advice}") from error


def read_snapshot(
    pool: Pool,
    advice: str,
    scope: Scope,
    timeout_s: float = READ_TIMEOUT_S,
    *,
    hide_erased_in: ProjectId | None = None,
    plans_by_value: bool = True,
) -> AbstractAsyncContextManager[Connection]:
    """Opens a snapshot for several statements: writes after the first statement stay invisible.

    Plans every statement for its own values: a generic plan is poor if some values are on nearly
    all rows and others on a few. If not `plans_by_value`, plans are kept: for statements that find
    rows by keys. With `hide_erased_in`, statements don't see rows of that project that are being
    erased; the roll-ups still count them. Raises Unavailable.
    """
    # The views first: the statements of the function need no plan by value.
    views = () if hide_erased_in is None else (READ_VIEWS.format(hide_erased_in),)
    plans = (SET_PLAN_BY_VALUE,) if plans_by_value else ()
    return read_connection(pool, advice, scope, timeout_s, Begin(BEGIN_SNAPSHOT, (*views, *plans)))


@dataclass(frozen=True, slots=True)
class PoolReader:
    """Reads from the pool, each time within `timeout_s`. Adapters that read inherit it.

    `advice` ends the message of Unavailable, which is raised if a read takes longer. `scope` are
    the tenants whose rows are read.
    """

    pool: Pool
    timeout_s: float = field(default=READ_TIMEOUT_S, kw_only=True)

    @asynccontextmanager
    async def _statement(self, advice: str, scope: Scope) -> AsyncIterator[Connection]:
        """A connection for one statement, which usually costs one round trip."""
        async with (
            translate_errors(),
            within(self.pool, scope).statement() as connection,
            _limit_time(advice, self.timeout_s),
        ):
            yield connection

    def _snapshot(self, advice: str, scope: Scope) -> AbstractAsyncContextManager[Connection]:
        return read_snapshot(self.pool, advice, scope, self.timeout_s)

    def _visible_snapshot(
        self, advice: str, project: ProjectId, *, plans_by_value: bool = True
    ) -> AbstractAsyncContextManager[Connection]:
        """As `_snapshot`, without rows of the project that are being erased."""
        return read_snapshot(
            self.pool, advice, project, self.timeout_s,
            hide_erased_in=project, plans_by_value=plans_by_value,
        )  # fmt: skip

    def _visible_by_key(
        self, advice: str, project: ProjectId
    ) -> AbstractAsyncContextManager[Connection]:
        """As `_visible_snapshot`, for statements that find rows by keys: their plans are kept."""
        return self._visible_snapshot(advice, project, plans_by_value=False)

    async def _fetch(self, advice: str, scope: Scope, sql: str, *values: object) -> list[Record]:
        """The rows of one statement."""
        async with self._statement(advice, scope) as connection:
            return await connection.fetch(sql, *values)

    async def _fetch_visible(
        self, advice: str, project: ProjectId, sql: str, *values: object
    ) -> list[Record]:
        """As `_fetch`, without rows of the project that are being erased."""
        async with self._visible_snapshot(advice, project) as connection:
            return await connection.fetch(sql, *values)

    async def _fetch_row(
        self, advice: str, scope: Scope, sql: str, *values: object
    ) -> Record | None:
        """The first row of one statement."""
        async with self._statement(advice, scope) as connection:
            return await connection.fetchrow(sql, *values)
