"""A standby that serves reads in place of the main database, and finds all that it would find.

A connection to the standby is handed out once the standby has replayed what the main database had
committed when it was asked for. So a client that got a 2xx reads its write, what is being erased is
hidden, and a schema that isn't there yet is never met. If the standby doesn't get so far within the
allowed lag, or is away, the read goes to the main database.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, repeat
from typing import Any, Final, cast

import asyncpg

from adapters.postgres.database.connections.connection_failures import (
    CONNECTION_ERRORS,
    connection_failed,
)
from adapters.postgres.database.pool import Connection, Pool, translate_errors
from application.ports import HealthStatus
from domain.errors import Failure, Unavailable

CHECK_EVERY_S: Final = 1.0
ANSWER_MAX_S: Final = 2.0  # for the replica to connect and answer a check
RETRY_AWAY_S: Final = 5.0  # until a replica that was away is asked again
POLLS_S: Final = (0.001, 0.002, 0.004, 0.008, 0.016)  # between two looks; then the last one
STREAM_PAUSE_S: Final = 600.0  # exports read the main database after one was interrupted

# Acknowledged commits are on disk. Without synchronous_commit they may be behind this position.
SELECT_COMMITTED: Final = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"
SELECT_REPLAYED: Final = """
SELECT pg_is_in_recovery() AS follows, (pg_last_wal_replay_lsn() - '0/0')::bigint AS position
"""
SELECT_IDENTITY: Final = """
SELECT system_identifier, current_database() AS database, current_user AS role
FROM pg_control_system()
"""
SELECT_WAITS_FOR_DISK: Final = "SELECT current_setting('synchronous_commit') <> 'off'"

_log: Final = logging.getLogger(__name__)


class ReadOutcome(StrEnum):
    """The server of a read: the replica, or, for one of these reasons, the main database."""

    REPLICA = "replica"
    LAGGING = "lagging"
    AWAY = "away"  # also if the server isn't a standby of the main database
    CONFLICT = "conflict"  # replaying the log interrupted the read
    FAILED = "failed"  # by another error, which is logged, or the main database gave no position


class NotUsable(Unavailable):
    """The replica can't be read from now. The message says why, for operators."""

    def __init__(self, outcome: ReadOutcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


type OnRead = Callable[[ReadOutcome], object]


@dataclass(slots=True, kw_only=True)
class Replica:
    """Decides for each read whether the replica serves it.

    `checks` is a pool of its own for one connection, so that busy reads don't look like an absence.
    `lag_max_s` is how long a read waits for the replica. `problem` says why it isn't used, and
    `pools` are those whose connections are terminated once it is away: a server that hangs would
    hold their statements until their timeouts.
    """

    url: str = field(repr=False)  # it contains a password
    main: Pool
    checks: Pool
    lag_max_s: float
    on_read: OnRead = lambda _: None
    answer_max_s: float = ANSWER_MAX_S
    pools: list[Pool] = field(default_factory=list)
    problem: NotUsable | None = field(
        default_factory=lambda: NotUsable(ReadOutcome.AWAY, "it wasn't checked yet"), init=False
    )
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)  # of checks
    _replayed: int = field(default=0, init=False)  # the furthest position that was seen
    _no_streams_until: float = field(default=0.0, init=False)

    async def run[T](
        self, on_replica: Callable[[], Awaitable[T]], on_main: Callable[[], Awaitable[T]]
    ) -> T:
        """The result of `on_replica`; of `on_main` if the replica can't be used."""
        if self.problem is not None:
            self.on_read(self.problem.outcome)
            return await on_main()
        try:
            result = await on_replica()
        except Unavailable as error:
            if not self.should_repeat(error):
                raise
            return await on_main()
        self.on_read(ReadOutcome.REPLICA)
        return result

    def should_repeat(self, error: Unavailable) -> bool:
        """Whether the main database should repeat a read that failed on the replica. Counts it."""
        outcome = self._outcome_of(error)
        self.on_read(outcome or ReadOutcome.REPLICA)
        if outcome is ReadOutcome.FAILED and not isinstance(error, NotUsable):
            _log.warning("a read failed on the replica, and is repeated", exc_info=error)
        if outcome in {ReadOutcome.AWAY, ReadOutcome.LAGGING} and self.problem is None:
            lost = NotUsable(outcome, "a connection to it was lost")
            self._set_problem(error if isinstance(error, NotUsable) else lost)
        return outcome is not None

    def _outcome_of(self, error: Unavailable) -> ReadOutcome | None:
        """None if the read took too long: it would take as long on the main database."""
        match error if isinstance(error, NotUsable) else error.__cause__:
            case NotUsable(outcome=outcome):
                return outcome
            case asyncpg.QueryCanceledError() | TimeoutError():
                return None if self.problem is None else self.problem.outcome
            case asyncpg.TransactionRollbackError():
                return ReadOutcome.CONFLICT
            case (
                OSError()
                | asyncpg.PostgresConnectionError()
                | asyncpg.InterfaceError()
                | asyncpg.InternalClientError()
                | asyncpg.OperatorInterventionError()
            ):
                return ReadOutcome.AWAY
            case _:
                return ReadOutcome.FAILED

    @property
    def takes_streams(self) -> bool:
        """Whether exports may read from it: not for a while after one was interrupted."""
        loop = asyncio.get_running_loop()
        return self.problem is None and loop.time() >= self._no_streams_until

    def pause_streams(self) -> None:
        self._no_streams_until = asyncio.get_running_loop().time() + STREAM_PAUSE_S

    async def wait_until_current(self, connection: Connection) -> None:
        """Waits until the server of the connection has replayed what is committed now.

        Raises NotUsable.
        """
        # What was replayed before the question: meanwhile other reads see the standby go on.
        replayed_before = self._replayed
        try:
            async with translate_errors(), self.main.acquire_with_last_scope() as main:
                committed = await main.fetchval(SELECT_COMMITTED)
        except (Failure, asyncpg.PostgresError) as error:
            raise NotUsable(ReadOutcome.FAILED, "the main database gave no position") from error
        if committed < replayed_before:
            raise NotUsable(ReadOutcome.AWAY, "it is ahead: it follows another database")
        try:
            async with asyncio.timeout(self.lag_max_s):
                for pause_s in chain(POLLS_S, repeat(POLLS_S[-1])):
                    replayed = await self._fetch_replayed(connection)
                    if replayed >= committed:
                        return
                    await asyncio.sleep(pause_s)
        except TimeoutError as error:
            # One that doesn't answer is found by the next check.
            lag = f"it lags by more than {self.lag_max_s * 1_000:g} ms"
            raise NotUsable(ReadOutcome.LAGGING, lag) from error

    async def _fetch_replayed(self, connection: Connection) -> int:
        row = await connection.fetchrow(SELECT_REPLAYED)
        assert row is not None
        if not row["follows"] or row["position"] is None:
            raise NotUsable(ReadOutcome.AWAY, "it isn't a standby")
        replayed: int = row["position"]
        self._replayed = max(self._replayed, replayed)
        return replayed

    # --- checks --------------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Checks the replica from time to time during the block."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait({watch})

    async def _watch(self) -> None:
        while True:
            await self.check()
            is_away = self.problem is not None and self.problem.outcome is ReadOutcome.AWAY
            await asyncio.sleep(RETRY_AWAY_S if is_away else CHECK_EVERY_S)

    async def check(self) -> None:
        """Sets `problem`. Never raises."""
        try:
            async with self._turn:
                await self._check()
        except NotUsable as problem:
            self._set_problem(problem)
        except Failure as error:
            if isinstance(error.__cause__, CONNECTION_ERRORS):
                error = connection_failed(self.url, error.__cause__)
            self._set_problem(NotUsable(ReadOutcome.AWAY, error.message))
        except Exception as error:  # noqa: BLE001 - the watch goes on
            _log.exception("the check of the replica failed")
            self._set_problem(NotUsable(ReadOutcome.FAILED, type(error).__name__))
        else:
            self._set_problem(None)

    async def _check(self) -> None:
        async with (
            translate_errors(),
            asyncio.timeout(self.answer_max_s) as limit,
            self.checks.acquire_with_last_scope() as connection,
        ):
            if self.problem is not None:
                await self._check_identity(connection)
            await self._fetch_replayed(connection)
            limit.reschedule(None)
            await self.wait_until_current(connection)

    async def _check_identity(self, connection: Connection) -> None:
        async with self.main.acquire_with_last_scope() as main:
            if not await main.fetchval(SELECT_WAITS_FOR_DISK):
                raise NotUsable(ReadOutcome.AWAY, "synchronous_commit is off in the main database")
            ours = await main.fetchrow(SELECT_IDENTITY)
        theirs = await connection.fetchrow(SELECT_IDENTITY)
        assert ours is not None
        assert theirs is not None
        for name, noun in (
            ("system_identifier", "cluster"), ("database", "database"), ("role", "role")
        ):  # fmt: skip
            if ours[name] != theirs[name]:
                raise NotUsable(
                    ReadOutcome.AWAY,
                    f"its URL leads to another {noun}",
                )

    def _set_problem(self, problem: NotUsable | None) -> None:
        before, self.problem = self.problem, problem
        if problem is None:
            if before is not None:
                _log.info("reads use the replica")
            return
        if before is None or before.message != problem.message:
            _log.warning("reads don't use the replica: %s", problem.message)
        if problem.outcome is ReadOutcome.AWAY:
            self._replayed = 0
            for pool in (self.checks, *self.pools):
                pool.terminate_all()


class ReplicaReads:
    """An adapter whose methods `names` read from `copy`, the same adapter over a replica."""

    def __init__(self, main: object, copy: object, replica: Replica, *names: str) -> None:
        self._main = main
        for name in names:
            setattr(self, name, _preferring(replica, getattr(copy, name), getattr(main, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._main, name)


def reading_replica[Port](main: Port, copy: Port, replica: Replica, *names: str) -> Port:
    """The port over `main`, whose methods `names` read from `copy` if the replica can be used."""
    return cast("Port", ReplicaReads(main, copy, replica, *names))


def _preferring[**P, T](
    replica: Replica,
    on_copy: Callable[P, Coroutine[Any, Any, T]],
    on_main: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        return await replica.run(lambda: on_copy(*args, **kwargs), lambda: on_main(*args, **kwargs))

    return read


@dataclass(frozen=True, slots=True)
class ReplicaHealthCheck:
    """Always ok, because the main database serves the reads of a replica that can't be used."""

    replica: Replica

    async def check(self) -> HealthStatus:
        problem = self.replica.problem
        return HealthStatus(
            ok=True, detail=None if problem is None else f"not used: {problem.message}"
        )
