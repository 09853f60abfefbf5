"""The connection pool, transactions, and the driver's errors told in our words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from asyncpg.protocol.protocol import NO_TIMEOUT, PreparedStatementState
from piccolo.engine.postgres import PostgresEngine

from domain.errors import Conflict, Invalid, Unavailable

type Pool = asyncpg.Pool[asyncpg.Record]
type Connection = (
    asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
)

CONNECT_TIMEOUT_S: Final = 5
ACQUIRE_TIMEOUT_S: Final = 10  # for a free connection; who waits longer had better come back
SILENCE_S: Final = 5  # beyond the statement timeout, before a server counts as gone
WRITE_TIMEOUT_S: Final = 20  # clients give up after 30: they are told first
PROMPT_S: Final = 4  # twice of it and a write: still before clients give up
CLOSE_TIMEOUT_S: Final = 0.5  # for a server to take leave of its connections
CANCEL_TIMEOUT_S: Final = 0.5  # for a server to confirm that it gave up a query
QUERIES_MAX: Final = 50_000  # of one connection, which is then replaced
LOCK_TIMEOUT_MS: Final = 2_000  # longer than any batch; a wait beyond it is somebody's fault
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # what Postgres counts from
_MICROSECOND: Final = timedelta(microseconds=1)
IDLE_S: Final = 300  # a connection that nobody wants for so long is closed

# What the connection or the server did, and not what was asked of it: worth another try.
OUT_OF_REACH: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,  # its disk failed it, which no request is to blame for
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that was changed
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidTransactionStateError,  # read-only, as after a failover
)
# What statements on one project are bound by; $1 is its id. In a subquery, so that it is planned
# for as a project of average size: of one that the statistics don't know yet the planner would
# expect a single row, take any index to be as good as any other, and look at all of it. Nothing
# of a project that was removed is found, though rows of it may be left.
OF_PROJECT: Final = (
    "project_id = (SELECT $1::uuid"
    " WHERE NOT EXISTS (SELECT FROM removals WHERE removals.project_id = $1::uuid))"
)
# What no other try will change: Postgres can't hold the value.
UNSTORABLE: Final = (
    asyncpg.DataError,
    asyncpg.StatementTooComplexError,
    asyncpg.ProgramLimitExceededError,
)


class BoundedPool(asyncpg.Pool):
    """A pool whose callers don't wait for a connection for ever, and get one that is idle.

    What a server says last, as when it is told to shut down, is read some milliseconds before the
    end of its connection is. asyncpg takes such a connection for one in the middle of something,
    and hands it out all the same; a COPY leaves it worse, and gives it back.
    """

    __slots__ = ()

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=ACQUIRE_TIMEOUT_S if timeout is None else timeout)

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's own
        for _ in range(self.get_max_size()):  # all of them may be lost; a new one is idle
            connection = await super()._acquire(timeout)  # type: ignore[misc]  # not in its stubs
            if await self._is_idle(connection):
                return connection
        return await super()._acquire(timeout)  # type: ignore[misc]  # not in its stubs

    @staticmethod
    async def _is_idle(connection: Any) -> bool:
        """Whether it can be used; it is terminated where it can't."""
        try:
            await connection.check_idle()
        except BaseException as error:
            with suppress(asyncpg.InterfaceError):  # its end was read meanwhile: it is nobody's
                connection.terminate()
            if not isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
                raise
            return False
        return True


class BoundedConnection(asyncpg.Connection):
    """A connection that is given up where a server doesn't confirm a cancelled query.

    asyncpg itself waits as long as for an answer, and so would everybody who lets go of it: a
    rollback, the pool, the end of the process.
    """

    __slots__ = ()
    _protocol: Any  # not in its stubs

    async def check_idle(self) -> None:
        """Raises InterfaceError, InternalClientError where another statement can't begin.

        To execute a statement no times sends nothing, not even the statement, and is refused as
        any other would be (4 µs). A statement that is only prepared would open a transaction.
        """
        self._check_open()  # type: ignore[attr-defined]  # not in its stubs
        nothing = PreparedStatementState("", "", self._protocol, asyncpg.Record, False)
        await self._protocol.bind_execute_many(nothing, (), "", NO_TIMEOUT, False)
        # One turn of the loop after a statement asyncpg ends the time limit of the current one:
        # without it, that of the next.
        await asyncio.sleep(0)

    async def _cancel(self, *waiters: Any) -> None:
        # asyncpg's own takes the cancellation by this time limit for the end of the process, and
        # tells the waiters: none of them runs before the next line.
        async with asyncio.timeout(CANCEL_TIMEOUT_S) as limit:
            await super()._cancel(*waiters)  # type: ignore[misc]  # not in its stubs
        if limit.expired():
            self.terminate()


class Engine(PostgresEngine):
    """Piccolo's engine without its habit of connecting when it is made."""

    async def check_version(self) -> None:
        return None

    async def prep_database(self) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How to reach the database. `size` connections at most, for one process."""

    url: str
    size: int = 10
    least: int = 1  # kept open
    statement_timeout_ms: int = 30_000
    application_name: str = "pandaprobe"

    @property
    def of_sessions(self) -> dict[str, str]:
        """Settings of every connection, which a pooler in between may not pass on.

        docs/operations.md says what to do there.
        """
        return {
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "jit": "off",  # compiling costs list queries more than 100 ms
            # Nothing needs a whole table: one project's rows are reached by an index, also while
            # the planner takes a project that it has no statistics of for half of the table.
            "enable_seqscan": "off",
        }


@asynccontextmanager
async def opened(engine: Engine, settings: PoolSettings) -> AsyncIterator[Pool]:
    """The pool of `engine`, open inside the block; Piccolo's queries use it too.

    Connections are made when they are first needed. Raises Unavailable.
    """
    before = (engine.config, engine.pool)  # one block inside another uses its own database
    engine.config, engine.pool = {"dsn": settings.url}, None
    pool = BoundedPool(
        settings.url,
        min_size=settings.least,
        max_size=settings.size,
        max_queries=QUERIES_MAX,
        max_inactive_connection_lifetime=IDLE_S,
        connect=None,
        setup=None,
        init=prepare,
        reset=_reset,
        loop=None,
        connection_class=BoundedConnection,
        record_class=asyncpg.Record,
        timeout=CONNECT_TIMEOUT_S,
        # For a server that no longer answers, and so can't keep its own time limit.
        command_timeout=settings.statement_timeout_ms / 1_000 + SILENCE_S,
        server_settings={
            "application_name": settings.application_name,
            "timezone": "UTC",
            **settings.of_sessions,
        },
    )
    try:
        async with translated():
            await pool
        engine.pool = pool
        yield pool
    finally:
        engine.config, engine.pool = before
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def _reset(_connection: Connection) -> None:
    """Saves each use of a connection a round trip. asyncpg itself rolls back what was left open.

    Nobody leaves anything else behind: settings are local to transactions, and who takes a lock
    or a setting of the connection gives it back.
    """


async def prepare(connection: Connection) -> None:
    """JSON in and out as bytes, undecoded: payloads pass through, digit by digit.

    Instants in and out as microseconds: asyncpg itself takes the first and the last instant that
    Python knows for minus and plus infinity.
    """
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda instant: ((instant - _EPOCH) // _MICROSECOND,),
        decoder=lambda data: _EPOCH + timedelta(microseconds=data[0]),
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes
    )


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turns what asyncpg raises into what the ports promise; the cause is kept for the log."""
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise Unavailable("The database took too long: narrow the request, or try later") from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict("already exists") from error
    except UNSTORABLE as error:
        raise Invalid("the database cannot hold this value") from error
    except OUT_OF_REACH as error:
        raise Unavailable("The database cannot be reached; try again") from error


@asynccontextmanager
async def prompt(within_s: float = PROMPT_S) -> AsyncIterator[None]:
    """As `translated`, for the few rows by which a request finds out who asks.

    Where they don't come `within_s`, the request is told while its caller still listens.
    """
    async with translated(), asyncio.timeout(within_s):
        yield


def affected(status: str) -> int:
    """The number in what Postgres says of a command, such as `DELETE 12`."""
    return int(status.rpartition(" ")[2])
