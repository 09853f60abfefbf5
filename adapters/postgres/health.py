"""Health checks: the database accepts writes, and its schema fits this version."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from adapters.postgres.database.connections.connection_failures import (
    CONNECTION_ERRORS,
    logged_cause,
    public_cause,
)
from adapters.postgres.database.pool import Pool
from adapters.postgres.schema.pending import pending_migrations
from application.clock import utc_now
from application.ports import HealthStatus
from domain.errors import Failure, Unavailable

TIMEOUT_S: Final = 2
CLOCKS_APART_MAX: Final = timedelta(seconds=30)  # beyond it, leases and tokens don't work
SELECT_STATE: Final = """
SELECT current_setting('transaction_read_only')::bool AS is_read_only, clock_timestamp() AS now
"""

CLOCKS_APART: Final = "clock"  # a cause that was logged

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class PostgresHealthCheck:
    """Ready while the database answers and reports that it accepts writes.

    A standby and a server set to read-only report that they refuse writes. A full disk shows only
    when a write fails. Anyone may read the detail of a check, so the words of the server are in the
    log alone: once until the cause changes. A clock that differs too much from ours is reported
    too, but requests are served nevertheless.
    """

    pool: Pool
    clock: Callable[[], datetime] = utc_now
    _logged: str = field(default="", init=False)

    async def check(self) -> HealthStatus:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                began = self.clock()
                state = await self.pool.fetchrow(SELECT_STATE)
                assert state is not None
        except Exception as error:  # noqa: BLE001 - the health check reports every error
            detail = _error_detail(error)
            if detail != self._logged:
                _log.warning("PostgreSQL isn't ready: %s", _log_detail(error))
            self._logged = detail
            return HealthStatus(ok=False, detail=detail)
        apart = _clocks_apart(began, state["now"], self.clock())
        if apart is not None and self._logged != CLOCKS_APART:
            _log.warning("PostgreSQL: %s", apart)
        self._logged = "" if apart is None else CLOCKS_APART
        if state["is_read_only"]:
            return HealthStatus(ok=False, detail="it is read-only: writes are refused")
        return HealthStatus(ok=True, detail=apart)


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


def _clocks_apart(began: datetime, theirs: datetime, ended: datetime) -> str | None:
    """The fault of an instant that was read between two of ours; None if it has none."""
    behind, ahead = began - theirs, theirs - ended
    if max(behind, ahead) < CLOCKS_APART_MAX:
        return None
    where, seconds = "ahead of" if ahead > behind else "behind", max(ahead, behind).total_seconds()
    return f"its clock is {seconds:.0f} s {where} ours: synchronize both machines by NTP"


def _error_detail(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        return _error_detail(error.__cause__)
    if isinstance(error, Failure):
        return error.message
    return public_cause(error) if isinstance(error, CONNECTION_ERRORS) else type(error).__name__


def _log_detail(error: Exception) -> str:
    is_of_connection = isinstance(error, CONNECTION_ERRORS) and not isinstance(error, TimeoutError)
    return logged_cause(error) if is_of_connection else _error_detail(error)
