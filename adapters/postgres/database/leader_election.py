"""Leader election by an advisory lock.

The lock is held on a separate connection outside the pool, so PostgreSQL releases it whenever the
connection ends. It belongs to a transaction that stays open, not to the session, because a pooler
may give each transaction another session. The transaction has no snapshot and writes nothing, so it
does not hold up vacuum.

A leader uses the slots of monitors by its clock. A clock that is a day ahead for a moment would use
those of that day, and no monitor would run for the rest of it. So a process whose clock differs too
much from that of PostgreSQL doesn't lead.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.connections.hosts import HostSelector
from adapters.postgres.database.pool import CONNECT_TIMEOUT_S
from application.clock import utc_now
from application.ports import Clock
from domain.evaluation.monitors.schedule import RUN_GAP_MIN

LEADER_APPLICATION_NAME: Final = "pandaprobe scheduler"  # the name of the connection of the leader
QUERY_TIMEOUT_S: Final = 5
CLOSE_TIMEOUT_S: Final = 1
# If the host of the leader disappears, the server probes the connection and closes it after 25 s.
BEGIN_LEADER_TRANSACTION: Final = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL tcp_keepalives_idle = 10;
SET LOCAL tcp_keepalives_interval = 5;
SET LOCAL tcp_keepalives_count = 3
"""
TRY_LEADER_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"
SELECT_NOW: Final = "SELECT clock_timestamp()"
# Fails if the transaction has failed or ended. Sent by the simple protocol, an empty SELECT keeps
# no snapshot, and it releases the snapshot of the statement before it.
CHECK_TRANSACTION: Final = "SELECT"
CLOCKS_APART_MAX: Final = RUN_GAP_MIN  # as far ahead, the next slot is used early, and none is lost

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class PostgresLeaderElection:
    """Competes with all other processes at the database `url`; one of them is the leader.

    `close` gives up the leadership.
    """

    url: str = field(repr=False)  # it holds a password
    key: int = AdvisoryLock.SCHEDULER_LEADER
    clock: Clock = utc_now
    _hosts: HostSelector = field(init=False, repr=False)
    _held: "asyncpg.Connection[asyncpg.Record] | None" = field(default=None, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _is_logged: bool = field(default=False, init=False)  # that the clock differs too much

    def __post_init__(self) -> None:
        self._hosts = HostSelector(self.url)

    async def is_leader(self) -> bool:
        async with self._turn:
            is_leader = False
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S + QUERY_TIMEOUT_S):
                    is_leader = await self._has_lock()
            except Exception:  # noqa: BLE001 - any error makes the leadership uncertain
                is_leader = False
            finally:
                if not is_leader:
                    await self.close()
            return is_leader

    async def _has_lock(self) -> bool:
        if self._held is not None:
            is_right = await self._is_clock_right(self._held)
            await self._held.execute(CHECK_TRANSACTION)
            return is_right
        self._held = await self._hosts.connect(
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=QUERY_TIMEOUT_S,
            server_settings={"application_name": LEADER_APPLICATION_NAME},
        )
        if not await self._is_clock_right(self._held):
            return False
        await self._held.execute(BEGIN_LEADER_TRANSACTION)
        is_leader: bool = await self._held.fetchval(TRY_LEADER_LOCK, self.key)
        await self._held.execute(CHECK_TRANSACTION)
        return is_leader

    async def _is_clock_right(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        apart = abs(self.clock() - await connection.fetchval(SELECT_NOW))
        is_right: bool = apart <= CLOCKS_APART_MAX
        if not is_right and not self._is_logged:
            seconds = apart.total_seconds()
            _log.error("this process runs no monitors: PostgreSQL's clock is %.0f s off", seconds)
        self._is_logged = not is_right
        return is_right

    async def close(self) -> None:
        """Lets another process lead. Never raises, and takes at most CLOSE_TIMEOUT_S."""
        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(Exception):
                await held.close(timeout=CLOSE_TIMEOUT_S)
            held.terminate()
