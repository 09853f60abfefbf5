"""Finds migrations that have not run. Every start calls it, so it loads no migration code.

A migration expands the schema: the version before can still serve with it. One that removes what
only earlier versions use has a name that ends in CONTRACTION. It waits for `migrate --contract`, or
for the next version that expands the schema.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from adapters.postgres.database.pool import Pool, translate_errors
from domain.errors import Forbidden

MIGRATIONS_APP: Final = "pandaprobe"  # the app name in the migration table of Piccolo
MIGRATIONS_FOLDER: Final = Path(__file__).parent / "migrations"

HAS_MIGRATION_TABLE: Final = "SELECT to_regclass('migration') IS NOT NULL"  # the table of Piccolo
CONTRACTION: Final = "_contract"
NO_RIGHTS: Final = (
    "the role of the database URL has no rights on the tables: their owner grants them with "
    "`pandaprobe-server migrate`, see docs/operation/operations.md, Roles"
)
SELECT_APPLIED_MIGRATIONS: Final = "SELECT name FROM migration WHERE app_name = $1"


def known_migrations() -> list[str]:
    """The ids of all migrations of this version, in order. They are the names of their files."""
    return sorted(path.stem for path in MIGRATIONS_FOLDER.glob("[0-9]*.py"))


def expanding(migrations: Sequence[str]) -> list[str]:
    """All up to the last that isn't a contraction. Earlier contractions are of past versions."""
    last = max(
        (n for n, name in enumerate(migrations) if not name.endswith(CONTRACTION)), default=-1
    )
    return list(migrations[: last + 1])


async def pending_migrations(pool: Pool, *, contract: bool = False) -> list[str]:
    """The ids of migrations that this version needs and that have not run, in order.

    With `contract` also the contractions of this version. Raises Unavailable, and Forbidden for a
    role without rights on the tables.
    """
    async with translate_errors(), pool.acquire() as connection:
        done: set[str] = set()
        if await connection.fetchval(HAS_MIGRATION_TABLE):
            try:
                applied = await connection.fetch(SELECT_APPLIED_MIGRATIONS, MIGRATIONS_APP)
            except asyncpg.InsufficientPrivilegeError as error:
                raise Forbidden(NO_RIGHTS) from error
            done = {row["name"] for row in applied}
    known = known_migrations() if contract else expanding(known_migrations())
    return [one for one in known if one not in done]
