"""Health checks: the database accepts writes, and its schema fits this version."""

import asyncio
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import Pool, translate_errors
from adapters.postgres.schema.pending import pending_migrations
from application.ports import HealthStatus
from domain.errors import Failure

TIMEOUT_S: Final = 2
IS_READ_ONLY: Final = "SELECT current_setting('transaction_read_only')::bool"


@dataclass(frozen=True, slots=True)
class PostgresHealthCheck:
    """Ready while the database answers and reports that it accepts writes.

    A standby and a server set to read-only report that they refuse writes. A full disk shows only
    when a write fails.
    """

    pool: Pool

    async def check(self) -> HealthStatus:
        try:
            async with asyncio.timeout(TIMEOUT_S), translate_errors():
                is_read_only = await self.pool.fetchval(IS_READ_ONLY)
        except Exception as error:  # noqa: BLE001 - the health check reports every error
            return HealthStatus(ok=False, detail=_error_detail(error))
        if is_read_only:
            return HealthStatus(ok=False, detail="it is read-only: writes are refused")
        return HealthStatus(ok=True)


@dataclass(frozen=True, slots=True)
class MigrationsHealthCheck:
    """Ready while no migration is pending."""

    pool: Pool

    async def check(self) -> HealthStatus:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                due = await pending_migrations(self.pool)
        except Exception as error:  # noqa: BLE001 - the health check reports every error
            return HealthStatus(ok=False, detail=_error_detail(error))
        if due:
            return HealthStatus(
                ok=False, detail=f"{len(due)} pending: run pandaprobe-server migrate"
            )
        return HealthStatus(ok=True)


def _error_detail(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    return error.message if isinstance(error, Failure) else type(error).__name__
