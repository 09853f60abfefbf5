"""A state of the whole database, held still while it is written down, and what is in it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

from adapters.postgres.database.pool import CONNECT_TIMEOUT_S, translated

SETTINGS: Final = {"timezone": "UTC", "statement_timeout": "0", "application_name": "archive"}
BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
TABLES: Final = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
"""
# The same rows in whatever order give the same sum.
FINGERPRINT: Final = """
SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS hash
FROM {table} AS t
"""
MIGRATIONS: Final = "SELECT name FROM migration ORDER BY name"
TIDY: Final = "VACUUM (ANALYZE)"  # else lists are slow until the server has done it by itself


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How many rows a table has, and a sum of their hashes."""

    rows: int
    hash: str


@dataclass(frozen=True, slots=True)
class State:
    """A state of a database. `snapshot` is its name for who else wants to read it meanwhile."""

    snapshot: str
    server: str
    migrations: tuple[str, ...]
    tables: Mapping[str, Fingerprint]


@asynccontextmanager
async def held(url: str) -> AsyncIterator[State]:
    """The state as it is now, for as long as the block is open. Raises Unavailable.

    It is read once, wholly. Who writes meanwhile isn't held up.
    """
    async with translated():
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=SETTINGS)
        try:
            await connection.execute(BEGIN)
            tables = {}
            snapshot: str = await connection.fetchval("SELECT pg_export_snapshot()")
            for row in await connection.fetch(TABLES):
                sql = FINGERPRINT.format(table=f'"{row[0]}"')
                found = await connection.fetchrow(sql)
                assert found is not None
                tables[row[0]] = Fingerprint(found["rows"], found["hash"])
            names = await connection.fetch(MIGRATIONS) if "migration" in tables else []
            yield State(
                snapshot=snapshot,
                server=await connection.fetchval("SHOW server_version"),
                migrations=tuple(row[0] for row in names),
                tables=tables,
            )
        finally:
            await connection.close()


async def tidy(url: str) -> None:
    """Gathers statistics, after a database was filled. Raises Unavailable."""
    async with translated():
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=SETTINGS)
        try:
            await connection.execute(TIDY)
        finally:
            await connection.close()
