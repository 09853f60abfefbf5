"""Transactions that write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.pool import WRITE_TIMEOUT_S, Connection, Pool, translate_errors
from adapters.postgres.database.removed_projects import check_not_removed
from adapters.postgres.database.tenants import BEGIN, Begin, Scope, within
from domain.ids import ProjectId


@asynccontextmanager
async def transaction(pool: Pool, scope: Scope, begin: Begin = BEGIN) -> AsyncIterator[Connection]:
    """Opens a transaction, and rolls it back after WRITE_TIMEOUT_S.

    The timeout includes the wait for a connection. Raises Unavailable.
    """
    async with (
        translate_errors(),
        asyncio.timeout(WRITE_TIMEOUT_S),
        within(pool, scope).transaction(begin) as connection,
    ):
        yield connection


@asynccontextmanager
async def project_transaction(
    pool: Pool, lock: AdvisoryLock, project: ProjectId
) -> AsyncIterator[Connection]:
    """As `transaction`, for a request that counts what the project has before it adds to it.

    It waits for the requests before it, which hold `lock`. Raises ProjectRemoved.
    """
    async with transaction(pool, project) as connection:
        await lock_project(connection, lock, project)
        await check_not_removed(connection, project)
        yield connection
