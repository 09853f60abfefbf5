"""Whether the database does its work, and whether its schema is what this version needs."""

import asyncio
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import Pool, translated
from adapters.postgres.schema.pending import pending
from application.ports import HealthStatus
from domain.errors import Failure

TIMEOUT_S: Final = 2
IS_READ_ONLY: Final = "SELECT current_setting('transaction_read_only')::bool"


@dataclass(frozen=True, slots=True)
class PostgresHealthCheck:
    """Ready while the database answers, and takes writes as far as it knows.

    A standby, and a server that was told so, know that they don't; a full disk nobody knows of
    before a write fails.
    """

    pool: Pool

    async def check(self) -> HealthStatus:
        try:
            async with asyncio.timeout(TIMEOUT_S), translated():
                is_read_only = await self.pool.fetchval(IS_READ_ONLY)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return HealthStatus(ok=False, detail=_told(error))
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
                due = await pending(self.pool)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return HealthStatus(ok=False, detail=_told(error))
        if due:
            return HealthStatus(
                ok=False, detail=f"{len(due)} pending: run pandaprobe-server migrate"
            )
        return HealthStatus(ok=True)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    return error.message if isinstance(error, Failure) else type(error).__name__
