"""The connection pool, and the translation of driver errors into domain errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, cast

import asyncpg
from asyncpg.protocol.protocol import NO_TIMEOUT, PreparedStatementState
from piccolo.engine.postgres import PostgresEngine

from adapters.postgres.database.connections.connection_failures import (
    CONNECTION_ERRORS,
    connection_failed,
)
from adapters.postgres.database.connections.hosts import STANDBY, WRITABLE, HostSelector
from adapters.postgres.database.connections.url_parameters import connect_timeout, driver_url
from application.tracing.ports import PayloadStore
from domain.errors import Conflict, Invalid, NotFound, Unavailable

type Connection = (
    asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
)

CONNECT_TIMEOUT_S: Final = 5
ACQUIRE_TIMEOUT_S: Final = 10  # for a free connection
SERVER_SILENCE_S: Final = 5  # after the statement timeout, until the server counts as gone
WRITE_TIMEOUT_S: Final = 20  # below the 30 s after which clients give up
IDENTITY_TIMEOUT_S: Final = 4  # two of these and a write stay below the timeout of clients
CLOSE_TIMEOUT_S: Final = 0.5  # for the server to close its connections
CANCEL_TIMEOUT_S: Final = 0.5  # for the server to confirm a cancelled query
QUERIES_PER_CONNECTION_MAX: Final = 50_000  # then the connection is replaced
LOCK_TIMEOUT_MS: Final = 2_000  # longer than any batch takes: after it, a writer hangs
# Settings of each session, unless a pool overrides them. With Citus the role has them on workers.
SESSION_SETTINGS: Final = {
    "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
    "jit": "off",  # compiling costs list queries more than 100 ms
    # No request needs a whole table, since an index reaches the rows of one project.
    # Without this setting the planner scans the table for a project that it has no
    # statistics of, because it estimates half of the table.
    "enable_seqscan": "off",
}
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # the epoch of PostgreSQL
_MICROSECOND: Final = timedelta(microseconds=1)
IDLE_CONNECTION_S: Final = 300  # an idle connection is closed after this time

TOO_LONG: Final = (
    "The database took too long: narrow the request, first its period (started_after, date_from), "
    "or try later"
)

# Errors of the connection or the server, not of the statement: a retry may succeed.
TRANSIENT_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,  # a disk error, which no request causes
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a password that was changed
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidTransactionStateError,  # read-only, as after a failover
)
# PandaProbe's SDK sends a trace four times, so many seconds apart, and then drops it. Three seconds
# bridge a restart or a failover of nine. One second, as for a busy database, would bridge three.
OUTAGE_RETRY_AFTER_S: Final = 3
# Restricts a statement to one project, whose id is $1. The id is in a subquery so that the planner
# assumes a project of average size: for an id that the statistics do not know yet, it would expect
# a single row, treat any index as equally good, and scan all rows of the project. `PLANNING` in the
# migration says how large an average project is. Rows of removed projects are never found, although
# some may exist for a while.
IN_PROJECT: Final = (
    "project_id = (SELECT $1::uuid WHERE NOT EXISTS ("
    "SELECT 1 FROM removals WHERE removals.project_id = $1::uuid AND NOT removals.is_moving))"
)

# The process of the session, and how Citus passes settings on to its workers: null without Citus.
SELECT_SESSION: Final = (
    "SELECT pg_backend_pid(), current_setting('citus.propagate_set_commands', true),"
    " current_setting('search_path')"
)
POOLED_GROUP: Final = (
    "The tables of this organization are in a schema that a pooler doesn't pass on: connect to "
    "PostgreSQL itself"
)


class Unstorable(Exception):  # noqa: N818 - an error of the client, not of ours
    """A value can't be stored, although it is valid."""


# PostgreSQL cannot hold the value: a retry fails too.
UNSTORABLE_ERRORS: Final = (
    Unstorable,
    asyncpg.DataError,
    asyncpg.StatementTooComplexError,
    asyncpg.ProgramLimitExceededError,
)


# Messages of Citus about a worker, or its own node, that ended during a statement, mostly in the
# words of libpq. It has the code of an internal error.
_LOST_WORKER: Final = (
    *("terminating connection", "server closed the connection", "remote node"),
    *("SSL SYSCALL error", "SSL connection has been closed", "connection not open"),
    *("could not receive data", "could not send data", "no connection to the server"),
    *("could not commit transaction for shard", "failed to prepare transaction"),
    *("failure on connection marked as essential", "postmaster was shut down"),
)


def is_lost_worker(error: BaseException) -> bool:
    """Whether a node of Citus ended during the statement: a retry may succeed."""
    return isinstance(error, asyncpg.InternalServerError) and any(
        words in str(error) for words in _LOST_WORKER
    )


type Connect = Callable[..., Awaitable[Any]]
"""Opens a connection, with the options of asyncpg and `timeout`, in seconds."""
type OnAcquire = Callable[[Connection], Awaitable[object]]
"""Is awaited with each connection before it is handed out, and may refuse it by an error."""


class BoundedPool(asyncpg.Pool):
    """A pool with a bounded wait for a connection, which hands out only idle connections.

    `acquire` gives a connection without a scope. The scope of a single statement stays on the
    connection for the next statement of the same tenants: see `acquire_with_last_scope`.

    The last message of a server that shuts down arrives some milliseconds before the end of its
    connection. asyncpg then treats the connection as busy but hands it out all the same; after a
    COPY its state is worse, and it is still returned to the pool.
    """

    __slots__ = ("on_acquire", "payload_store")
    on_acquire: OnAcquire | None
    payload_store: PayloadStore | None

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=ACQUIRE_TIMEOUT_S if timeout is None else timeout)

    @asynccontextmanager
    async def acquire_with_last_scope(self) -> AsyncIterator[Any]:
        """A connection that may have the scope of its last use, for callers that set a scope."""
        connection = await self._acquire_idle(ACQUIRE_TIMEOUT_S)
        try:
            yield connection
        finally:
            await self.release(connection)

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's own
        connection = await self._acquire_idle(timeout)
        try:
            await bounded(connection).use_tenants("")
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def _acquire_idle(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's own
        connection = await self._acquire_open(timeout)
        if self.on_acquire is not None:
            try:
                await self.on_acquire(connection)
            except BaseException:
                await self.release(connection)
                raise
        return connection

    async def _acquire_open(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's own
        for _ in range(self.get_max_size()):  # each may be broken; a new one is idle
            connection = await super()._acquire(timeout)  # type: ignore[misc]  # not in its stubs
            if await self._is_idle(connection):
                return connection
        return await super()._acquire(timeout)  # type: ignore[misc]  # not in its stubs

    def terminate_others(self, connection: object) -> None:
        """Terminates all connections to other servers than that of `connection`.

        After a failover the old primary may hang, and would hold statements until their timeouts.
        """
        address = getattr(connection, "_addr", None)
        for other in self._connections():
            if other._addr != address:  # noqa: SLF001 - asyncpg's own
                other.terminate()

    def terminate_all(self) -> None:
        """Terminates all connections. Their statements fail; later ones open new connections."""
        for connection in self._connections():
            connection.terminate()

    def _connections(self) -> list[Any]:
        holders = self._holders  # type: ignore[attr-defined]  # not in its stubs
        return [holder._con for holder in holders if holder._con is not None]  # noqa: SLF001 - asyncpg's own

    @staticmethod
    async def _is_idle(connection: Any) -> bool:
        """Whether the connection can be used. Terminates it if not."""
        try:
            await bounded(connection).check_idle()
        except BaseException as error:
            with suppress(asyncpg.InterfaceError):  # already closed
                connection.terminate()
            if not isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
                raise
            return False
        return True


type Pool = BoundedPool


class BoundedConnection(asyncpg.Connection):
    """A connection that is terminated if the server doesn't confirm a cancelled query.

    asyncpg itself waits as long as for a result. Everything that releases the connection would wait
    too: a rollback, the pool, the end of the process.
    """

    # Whether settings last until they are changed: not through a pooler that gives each transaction
    # another connection, and not to the workers of Citus, which get those of transactions only.
    # Whether the tables are distributed by Citus, which passes a setting on as the whole message
    # that it came in. The search path of the session. And the tenants that the session is set to;
    # None: unknown.
    __slots__ = ("is_distributed", "keeps_settings", "payload_store", "search_path", "tenants")
    is_distributed: bool
    keeps_settings: bool
    payload_store: PayloadStore | None
    search_path: str
    tenants: str | None
    _protocol: Any  # not in its stubs

    async def use_tenants(self, tenants: str) -> None:
        """Sets the scope of the session, in a round trip of its own unless it is set already.

        `tenants` are ids, separated by commas.
        """
        if self.tenants != tenants:
            self.tenants = None  # unknown, if the statement is interrupted
            await self.execute(f"SET pandaprobe.tenants = '{tenants}'")
            self.tenants = tenants

    async def check_idle(self) -> None:
        """Raises InterfaceError or InternalClientError if another statement can't begin.

        `executemany` with no rows sends nothing but runs the state checks of asyncpg: a check in 4
        µs. Preparing a statement would open a transaction.
        """
        self._check_open()  # type: ignore[attr-defined]  # not in its stubs
        nothing = PreparedStatementState("", "", self._protocol, asyncpg.Record, False)
        await self._protocol.bind_execute_many(nothing, (), "", NO_TIMEOUT, False)
        # asyncpg stops the timer of a statement one turn of the event loop later. Without this
        # sleep it would stop the timer of the next statement.
        await asyncio.sleep(0)
        self._check_open()  # type: ignore[attr-defined]  # it may be lost meanwhile

    async def _do_execute(self, *values: Any, **options: Any) -> Any:
        try:
            return await super()._do_execute(*values, **options)  # type: ignore[misc]  # not in its stubs
        except AttributeError as error:
            if self._protocol is not None:
                raise
            # Terminated while the statement was prepared, which asyncpg doesn't expect.
            raise asyncpg.ConnectionDoesNotExistError("the connection was terminated") from error

    async def _cancel(self, *waiters: Any) -> None:
        # asyncpg treats a cancellation by this timeout as the end of the process and notifies the
        # waiters. None of them runs before the next line.
        async with asyncio.timeout(CANCEL_TIMEOUT_S) as limit:
            await super()._cancel(*waiters)  # type: ignore[misc]  # not in its stubs
        if limit.expired():
            self.terminate()


class Engine(PostgresEngine):
    """Piccolo's engine, but it does not connect when it is created."""

    async def check_version(self) -> None:
        return None

    async def prep_database(self) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How to reach the database. `size` is the maximum number of connections of one process."""

    url: str
    size: int = 10
    least: int = 1  # minimum number of open connections
    statement_timeout_ms: int = 30_000
    lock_timeout_ms: int = LOCK_TIMEOUT_MS  # 0: none
    payload_store: PayloadStore | None = None  # where blocks of payloads lie if not in the database
    application_name: str = "pandaprobe"
    is_replica: bool = False  # of several hosts, one that follows another is connected to
    search_path: str | None = None  # None: that of the role
    connect: Connect | None = None  # None: to the host of `url`

    @property
    def session_settings(self) -> dict[str, str]:
        """Settings of every connection.

        A pooler may not pass them on: see docs/operation/operations.md.
        """
        return {
            "statement_timeout": str(self.statement_timeout_ms),
            **SESSION_SETTINGS,
            "lock_timeout": str(self.lock_timeout_ms),
            # New blocks of payloads wait for the worker that moves them.
            **({} if self.payload_store is None else {"pandaprobe.payload_store": "on"}),
            **({} if self.search_path is None else {"search_path": self.search_path}),
        }


@asynccontextmanager
async def open_pool(
    engine: Engine, settings: PoolSettings, on_acquire: OnAcquire | None = None
) -> AsyncIterator[Pool]:
    """Opens the pool of `engine`, which Piccolo's migrations use too.

    Connections are made when they are first needed. Raises Unavailable, whose message says why.
    """
    url = driver_url(settings.url)
    before = (engine.config, engine.pool)  # nested blocks use their own database
    engine.config, engine.pool = {"dsn": url}, None
    hosts = HostSelector(url, STANDBY if settings.is_replica else WRITABLE)
    pool = BoundedPool(
        url,
        min_size=settings.least,
        max_size=settings.size,
        max_queries=QUERIES_PER_CONNECTION_MAX,
        max_inactive_connection_lifetime=IDLE_CONNECTION_S,
        connect=settings.connect or hosts.connect,  # type: ignore[arg-type]  # the stubs want asyncpg's own arguments
        setup=None,
        init=partial(_initialize, settings),
        reset=_reset,
        loop=None,
        connection_class=BoundedConnection,
        record_class=asyncpg.Record,
        timeout=connect_timeout(settings.url, CONNECT_TIMEOUT_S),
        # For a server that no longer responds and so can't enforce its own timeout.
        command_timeout=settings.statement_timeout_ms / 1_000 + SERVER_SILENCE_S,
        server_settings={
            "application_name": settings.application_name,
            "timezone": "UTC",
            **settings.session_settings,
        },
    )
    pool.payload_store, pool.on_acquire = settings.payload_store, on_acquire
    hosts.on_change = pool.terminate_others
    try:
        try:
            await pool
        except CONNECTION_ERRORS as error:
            raise connection_failed(url, error) from error
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
    """Skips the reset query of asyncpg, which costs a round trip.

    asyncpg itself rolls back open transactions.

    Nothing else needs a reset: the scope of the session is set before the next use, other settings
    are local to transactions, and code that takes a session lock undoes it.
    """


async def _initialize(settings: PoolSettings, connection: BoundedConnection) -> None:
    """Prepares a new connection. Raises Unavailable if it has another search path than asked for.

    A pooler may drop it, and statements would find the tables of the first group of organizations.
    """
    connection.payload_store = settings.payload_store
    await set_codecs(connection)
    # A pooler makes up the process id that it tells its clients.
    session = await connection.fetchrow(SELECT_SESSION)
    assert session is not None
    own, passed_on, path = session
    connection.search_path = path
    connection.is_distributed = passed_on == "local"  # as `distribute` sets it
    is_pooled = own != connection.get_server_pid()
    connection.keeps_settings = not is_pooled and not connection.is_distributed
    if settings.search_path is not None and (is_pooled or path != settings.search_path):
        raise Unavailable(POOLED_GROUP)
    connection.tenants = ""


async def set_codecs(connection: Connection) -> None:
    """Sets the codecs: JSON as bytes, undecoded, so that payloads keep every digit.

    Timestamps are microseconds: asyncpg itself maps the smallest and the largest datetime of Python
    to minus and plus infinity.
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
async def translate_errors() -> AsyncIterator[None]:
    """Translates errors of asyncpg into the errors of the ports.

    The original error stays the cause, for the log.
    """
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise Unavailable(TOO_LONG) from error
    except asyncpg.UniqueViolationError as error:
        raise Conflict("already exists") from error
    except UNSTORABLE_ERRORS as error:
        raise Invalid("the database cannot hold this value") from error
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable("The database is busy; try again") from error
    except (asyncpg.ReadOnlySQLTransactionError, asyncpg.DiskFullError) as error:
        raise _out_of_service("The database refuses writes; try again") from error
    except TRANSIENT_ERRORS as error:
        raise _out_of_service("The database cannot be reached; try again") from error
    except asyncpg.InternalServerError as error:
        if not is_lost_worker(error):
            raise
        raise _out_of_service("The database cannot be reached; try again") from error


def _out_of_service(message: str) -> Unavailable:
    return Unavailable(message, retry_after_s=OUTAGE_RETRY_AFTER_S)


@asynccontextmanager
async def identity_lookup(within_s: float = IDENTITY_TIMEOUT_S) -> AsyncIterator[None]:
    """As `translate_errors`, for the few rows that identify the caller of a request.

    Raises Unavailable after `within_s`, while the caller still waits.
    """
    async with translate_errors(), asyncio.timeout(within_s):
        yield


def bounded(connection: Connection) -> BoundedConnection:
    """A connection of the pool, by its own type.

    Raises InterfaceError if it was lost since then: its attributes would be missing.
    """
    connection.is_closed()  # what was lost refuses every method of asyncpg
    return cast("BoundedConnection", connection)


def is_distributed(connection: Connection) -> bool:
    """Whether Citus distributes the tables, which takes less than PostgreSQL."""
    return getattr(connection, "is_distributed", False)


def affected_rows(status: str) -> int:
    """The number of rows in a command tag such as `DELETE 12`.

    Not of an INSERT from a SELECT with ON CONFLICT: Citus counts the rows that it leaves out too.
    """
    return int(status.rpartition(" ")[2])


def require_row[Row](row: Row | None, message: str) -> Row:
    """The row. Raises NotFound with `message` if there is none."""
    if row is None:
        raise NotFound(message)
    return row
