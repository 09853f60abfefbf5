"""What a PostgreSQL server says of itself."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from adapters.postgres.database.pool import Pool, translated

VERSION_MIN: Final = 160_000
ABOUT: Final = """
SELECT current_setting('server_version_num')::int AS number,
  split_part(current_setting('server_version'), ' ', 1) AS version,
  pg_database_size(current_database()) AS bytes
"""
NOW: Final = "SELECT clock_timestamp()"
FOLDER: Final = "SELECT current_setting('data_directory')"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """`ahead` is how much later its clock is than ours, give or take `ahead_within`.

    `folder` is where its data is on its machine; None where the role may not know.
    """

    version: str
    is_new_enough: bool
    bytes: int
    ahead: timedelta
    ahead_within: timedelta
    folder: Path | None


async def server(pool: Pool) -> PostgresServer:
    """Raises Unavailable."""
    async with translated(), pool.acquire() as connection:
        about = await connection.fetchrow(ABOUT)
        assert about is not None, "it has no FROM"
        began = datetime.now(UTC)
        theirs = await connection.fetchval(NOW)
        took = datetime.now(UTC) - began
        try:
            folder = Path(await connection.fetchval(FOLDER))
        except asyncpg.InsufficientPrivilegeError:
            folder = None
    return PostgresServer(
        version=about["version"],
        is_new_enough=about["number"] >= VERSION_MIN,
        bytes=about["bytes"],
        ahead=theirs - began - took / 2,
        ahead_within=took / 2,
        folder=folder,
    )
