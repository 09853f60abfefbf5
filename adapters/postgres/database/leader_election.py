"""Who leads, in Postgres: whoever has a lock; the port.

On a connection of its own, outside of any pool: the lock goes with it, whatever ends it. It is a
lock of a transaction that stays open, and not one of the session, since a pooler in between may
give each transaction another session. It has no snapshot and writes nothing, so that vacuum isn't
held up by it.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import CONNECT_TIMEOUT_S

LEADER: Final = "pandaprobe scheduler"  # the name of its connection
ASK_TIMEOUT_S: Final = 5
CLOSE_TIMEOUT_S: Final = 1
# Of a host that went without a word, the server hears no more: it asks, and gives up after 25 s.
BEGIN: Final = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL tcp_keepalives_idle = 10;
SET LOCAL tcp_keepalives_interval = 5;
SET LOCAL tcp_keepalives_count = 3
"""
TAKE: Final = "SELECT pg_try_advisory_xact_lock($1)"
# It isn't open, once anything went wrong in it. Said in the simple protocol, it leaves no snapshot
# behind, as it does away with that of the statement before it.
IS_OPEN: Final = "SELECT"


@dataclass(slots=True)
class PostgresLeaderElection:
    """Of everybody who asks the database at `url`, one leads. `close` gives that up."""

    url: str = field(repr=False)  # it holds a password
    key: int = AdvisoryLock.SCHEDULER_LEADER
    _held: "asyncpg.Connection[asyncpg.Record] | None" = field(default=None, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def is_leader(self) -> bool:
        async with self._turn:
            is_leader = False
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S + ASK_TIMEOUT_S):
                    is_leader = await self._asked()
            except Exception:  # noqa: BLE001 - whatever it is: what can't be found out is no leadership
                is_leader = False
            finally:
                if not is_leader:
                    await self.close()
            return is_leader

    async def _asked(self) -> bool:
        if self._held is not None:
            await self._held.execute(IS_OPEN)
            return True
        self._held = await asyncpg.connect(
            self.url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=ASK_TIMEOUT_S,
            server_settings={"application_name": LEADER},
        )
        await self._held.execute(BEGIN)
        is_leader: bool = await self._held.fetchval(TAKE, self.key)
        await self._held.execute(IS_OPEN)
        return is_leader

    async def close(self) -> None:
        """Lets others lead. Never raises, and takes CLOSE_TIMEOUT_S at most."""
        held, self._held = self._held, None
        if held is not None:
            with contextlib.suppress(Exception):
                await held.close(timeout=CLOSE_TIMEOUT_S)
            held.terminate()
