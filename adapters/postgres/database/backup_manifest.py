"""The state of every table in one snapshot: what a backup has to hold."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from adapters.postgres.database.pool import CONNECT_TIMEOUT_S, translate_errors
from adapters.postgres.database.read_transactions import BEGIN_SNAPSHOT

SETTINGS: Final = {"timezone": "UTC", "application_name": "pandaprobe backup"}
SELECT_TABLES: Final = """
SELECT c.relname, pg_table_size(c.oid) FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
"""
# The sum doesn't depend on the order of the rows, which a restore may change.
SELECT_TABLE_STATE: Final = """
SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS hash
FROM {table} AS t
"""
SELECT_MIGRATIONS: Final = "SELECT name FROM migration ORDER BY name"


@dataclass(frozen=True, slots=True)
class TableState:
    """How many rows a table has, and the sum of their hashes."""

    rows: int
    hash: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`id` is what other connections, such as pg_dump's, read the same snapshot by."""

    id: str
    server_version: str
    migrations: tuple[str, ...]
    tables: Mapping[str, TableState]


type OnRead = Callable[[int, int], object]
"""Gets the bytes of the tables that have been read, and of all tables."""


@asynccontextmanager
async def open_snapshot(
    url: str, on_read: OnRead = lambda _done, _total: None
) -> AsyncIterator[Snapshot]:
    """Reads every table once. The snapshot lasts as long as the block, and blocks no writer.

    Raises Unavailable.
    """
    async with translate_errors():
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=SETTINGS)
        try:
            await connection.execute(BEGIN_SNAPSHOT)
            sizes = await connection.fetch(SELECT_TABLES)
            done, total = 0, sum(size for _, size in sizes)
            tables = {}
            for name, size in sizes:
                on_read(done, total)
                row = await connection.fetchrow(SELECT_TABLE_STATE.format(table=f'"{name}"'))
                tables[name] = TableState(**dict(row or {}))
                done += size
            on_read(done, total)
            migrations = await connection.fetch(SELECT_MIGRATIONS) if "migration" in tables else []
            yield Snapshot(
                id=await connection.fetchval("SELECT pg_export_snapshot()"),
                server_version=await connection.fetchval("SHOW server_version"),
                migrations=tuple(name for [name] in migrations),
                tables=tables,
            )
        finally:
            await connection.close()
