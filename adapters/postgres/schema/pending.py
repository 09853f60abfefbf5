"""Finds migrations that have not run. Every start calls it, so it loads no migration code."""

from pathlib import Path
from typing import Final

from adapters.postgres.database.pool import Pool, translate_errors

MIGRATIONS_APP: Final = "pandaprobe"  # the app name in the migration table of Piccolo
MIGRATIONS_FOLDER: Final = Path(__file__).parent / "migrations"

HAS_MIGRATION_TABLE: Final = "SELECT to_regclass('migration') IS NOT NULL"  # the table of Piccolo
SELECT_APPLIED_MIGRATIONS: Final = "SELECT name FROM migration WHERE app_name = $1"


def known_migrations() -> list[str]:
    """The ids of all migrations of this version, in order. They are the names of their files."""
    return sorted(path.stem for path in MIGRATIONS_FOLDER.glob("[0-9]*.py"))


async def pending_migrations(pool: Pool) -> list[str]:
    """The ids of migrations that have not run, in order. Raises Unavailable."""
    async with translate_errors(), pool.acquire() as connection:
        done: set[str] = set()
        if await connection.fetchval(HAS_MIGRATION_TABLE):
            done = {
                row["name"]
                for row in await connection.fetch(SELECT_APPLIED_MIGRATIONS, MIGRATIONS_APP)
            }
    return [one for one in known_migrations() if one not in done]
