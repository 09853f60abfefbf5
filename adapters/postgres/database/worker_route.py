"""Connects a pool to the worker of Citus that holds the tables of a group (docs/adr/0067).

Citus takes statements on every node. On the worker, those on the tables of the group don't pass the
coordinator. Citus itself reaches the tables on the coordinator, in the same transaction.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from adapters.postgres.database.connections.host_urls import on_host
from adapters.postgres.database.connections.hosts import (
    ATTEMPT_ERRORS,
    QUICK_TIMEOUT_S,
    HostSelector,
)
from adapters.postgres.database.connections.url_parameters import driver_url
from adapters.postgres.database.pool import Connection, Pool, translate_errors
from domain.errors import Failure

FOLLOW_EVERY_S: Final = 15.0

# The tables that all groups share and workers don't know, with the columns that their policy
# compares.
SELECT_UNSHARED: Final = """
SELECT c.relname::text AS name, array(
  SELECT a.attname::text FROM pg_policy AS p
  JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
  JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE p.polrelid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
  ORDER BY a.attnum
) AS tenants
FROM pg_class AS c
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('organizations'))
  AND c.relkind = 'r' AND c.relname <> 'migration' AND NOT relation_is_a_known_shard(c.oid)
  AND NOT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = c.oid)
  AND NOT EXISTS (
    SELECT 1 FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attname = 'project_id' AND NOT a.attisdropped
  )
ORDER BY c.relname
"""
# Columns of which each node would give out numbers of its own.
SELECT_UNNUMBERED: Final = """
SELECT p.logicalrelid::text AS name, a.attname::text AS column
FROM pg_dist_partition AS p JOIN pg_attribute AS a ON a.attrelid = p.logicalrelid
WHERE a.attidentity <> '' AND NOT a.attisdropped AND NOT EXISTS (
  SELECT 1 FROM pg_trigger
  WHERE tgrelid = p.logicalrelid AND tgname = 'number_' || a.attname || '_by_time'
)
ORDER BY 1
"""
HAS_CITUS: Final = "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')"
# The worker of the group of the connection.
SELECT_WORKER: Final = """
SELECT n.nodename AS host, n.nodeport AS port
FROM pg_dist_shard AS s JOIN pg_dist_placement AS p USING (shardid)
JOIN pg_dist_node AS n ON n.groupid = p.groupid AND n.noderole = 'primary'
WHERE s.logicalrelid = to_regclass('traces') AND n.groupid <> 0
"""
# As `distribute` sets it for the database. Without it the scope stays on the node.
PASSES_SETTINGS: Final = "SELECT current_setting('citus.propagate_set_commands', true) = 'local'"
PASSES_NO_SETTINGS: Final = "{}:{} passes no settings on: run `pandaprobe-server distribute`"
# Also whether the role may read views: Citus makes these on a new worker, without rights on them.
IS_PREPARED: Final = f"{PASSES_SETTINGS} AND has_table_privilege('visible_traces', 'SELECT')"
TRY_WORKER: Final = ("SELECT count(*) FROM table_groups", "SELECT 1 FROM visible_traces LIMIT 0")
NO_CITUS: Final = "the database has no workers of Citus"
NOT_PLACED: Final = "its tables are on the coordinator: run `pandaprobe-server distribute`"
NOT_REACHABLE: Final = (
    "workers can't reach {}: run `pandaprobe-server distribute` with this setting"
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerRoute:
    """Opens connections on the worker of a group, or through the coordinator if that fails.

    `main` is the pool of the group through the coordinator. Until `find` was called, and while a
    worker lacks what statements need, the coordinator is used, and `problem` says why.
    """

    url: str = field(repr=False)  # that of the coordinator; it contains a password
    main: Pool
    every_s: float = FOLLOW_EVERY_S
    worker: tuple[str, int] | None = field(default=None, init=False)
    problem: str | None = field(default=None, init=False)
    _fell_back: bool = field(default=False, init=False)

    async def find(self) -> bool:
        """Looks for the worker of the group. Returns whether it is another one than before.

        Raises Unavailable.
        """
        before = self.worker
        async with translate_errors(), self.main.acquire() as connection:
            self.worker, self.problem = await _find_worker(connection)
        return self.worker != before

    async def connect(self, *_: object, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 - asyncpg's own
        """A connection; the positional arguments, with which a pool calls it, are ignored.

        Raises what the coordinator raised.
        """
        url = driver_url(self.url)
        if self.worker is not None:
            quick_s = min(QUICK_TIMEOUT_S, timeout / 2)
            try:
                connection = await HostSelector(on_host(url, *self.worker)).connect(
                    timeout=quick_s, **options
                )
                if await connection.fetchval(IS_PREPARED, timeout=quick_s):
                    return connection
                connection.terminate()
            except ATTEMPT_ERRORS:
                pass
            self._fell_back = True
        return await HostSelector(url).connect(timeout=timeout, **options)

    async def try_worker(self) -> str | None:
        """The fault of the worker that `find` has found; None if it answers by itself.

        Reads a table that all groups share, and a view.
        """
        assert self.worker is not None
        host, port = self.worker
        url = on_host(driver_url(self.url), host, port)
        try:
            connection = await asyncpg.connect(url, timeout=QUICK_TIMEOUT_S)
            try:
                if not await connection.fetchval(PASSES_SETTINGS):
                    return PASSES_NO_SETTINGS.format(host, port)
                for sql in TRY_WORKER:
                    await connection.execute(sql)
            finally:
                connection.terminate()
        except ATTEMPT_ERRORS as error:
            return f"{host}:{port} doesn't answer: {str(error) or type(error).__name__}"
        return None

    @asynccontextmanager
    async def following(self, *pools: Pool) -> AsyncIterator[None]:
        """While the block runs, connections of the pools follow the group to other workers.

        Those in use are replaced when they are released.
        """
        follow = asyncio.create_task(self._follow(pools))
        try:
            yield
        finally:
            follow.cancel()
            await asyncio.wait({follow})

    async def _follow(self, pools: tuple[Pool, ...]) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            try:
                has_moved = await self.find()
            except Failure:
                continue  # the coordinator is away: connections to the worker stay
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("the worker of a group wasn't found")
                continue
            if has_moved or self._fell_back:
                self._fell_back = False
                for pool in pools:
                    await pool.expire_connections()


async def _find_worker(connection: Connection) -> tuple[tuple[str, int] | None, str | None]:
    """The worker, or why there is none."""
    if not await connection.fetchval(HAS_CITUS):
        return None, NO_CITUS
    row = await connection.fetchrow(SELECT_WORKER)
    if row is None:
        return None, NOT_PLACED
    unshared = await connection.fetch(SELECT_UNSHARED)
    if missing := unshared or await connection.fetch(SELECT_UNNUMBERED):
        return None, NOT_REACHABLE.format(", ".join(one["name"] for one in missing))
    return (row["host"], row["port"]), None
