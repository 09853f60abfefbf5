"""Version, size, clock and data directory of a PostgreSQL server."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from adapters.postgres.database.pool import Pool, translate_errors

SERVER_VERSION_MIN: Final = 160_000
SELECT_SERVER_INFO: Final = """
SELECT current_setting('server_version_num')::int AS number,
  split_part(current_setting('server_version'), ' ', 1) AS version,
  pg_database_size(current_database()) AS bytes,
  rolsuper OR rolbypassrls AS bypasses,
  least(
    current_setting('max_connections')::int
      - current_setting('superuser_reserved_connections')::int,
    nullif(rolconnlimit, -1), nullif(datconnlimit, -1)
  ) AS connections
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""
SELECT_SERVER_CLOCK: Final = "SELECT clock_timestamp()"
SELECT_DATA_DIRECTORY: Final = "SELECT current_setting('data_directory')"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """`ahead` is how far its clock is ahead of ours, with an error of at most `ahead_within`.

    `folder` is its data directory on its machine, or None if the role may not read that setting.
    `bypasses_policies` if row-level security doesn't bind the role. `connections` is how many it
    admits to the role in this database.
    """

    version: str
    is_new_enough: bool
    bytes: int
    bypasses_policies: bool
    connections: int
    ahead: timedelta
    ahead_within: timedelta
    folder: Path | None


async def fetch_server_info(pool: Pool) -> ServerInfo:
    """Raises Unavailable."""
    async with translate_errors(), pool.acquire() as connection:
        [about] = await connection.fetch(SELECT_SERVER_INFO)
        began = datetime.now(UTC)
        theirs = await connection.fetchval(SELECT_SERVER_CLOCK)
        took = datetime.now(UTC) - began
        try:
            folder = Path(await connection.fetchval(SELECT_DATA_DIRECTORY))
        except asyncpg.InsufficientPrivilegeError:
            folder = None
    return ServerInfo(
        version=about["version"],
        is_new_enough=about["number"] >= SERVER_VERSION_MIN,
        bytes=about["bytes"],
        bypasses_policies=about["bypasses"],
        connections=about["connections"],
        ahead=theirs - began - took / 2,
        ahead_within=took / 2,
        folder=folder,
    )
