"""Finds databases of earlier versions that were never released.

Until a release, the first migration changes in place: a database may have run it as it was then. It
is recorded as done, so nothing is pending, and some statement fails later. Every start calls this,
so it loads no migration code.
"""

from pathlib import Path
from typing import Final

from adapters.postgres.database.pool import Connection, Pool, translate_errors
from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.database.tenants import VIEWS_OF_SCOPE
from adapters.postgres.database.worker_route import HAS_CITUS
from adapters.postgres.schema.pending import (
    HAS_MIGRATION_TABLE,
    MIGRATIONS_APP,
    SELECT_APPLIED_MIGRATIONS,
    expanding,
    known_migrations,
)
from application.table_groups import FIRST_GROUP
from domain.errors import Conflict

OBJECTS: Final = Path(__file__).parent / "objects.txt"
"""The objects that the migrations of this version create, a line each.

A test compares it with a database.
"""
KEY: Final = "key "
# The constraints that Citus checks on the coordinator for distributed tables.
ON_CITUS: Final = (KEY, "policy ", "trigger ", "view ")

# The text of a function as it was sent, but for comments and spaces, which no caller notices.
_FUNCTION_TEXT: Final = r"""
regexp_replace(regexp_replace(prosrc, '--[^\n]*', '', 'g'), '\s+', ' ', 'g')
"""
_FIRST: Final = TableGroup(FIRST_GROUP)
_VIEWS_OF_SCOPE: Final = ", ".join(f"'{one}'" for one in VIEWS_OF_SCOPE.values())
# In the schemas of the first group, which the others are made like. Views, policies and triggers
# are compared by name only: PostgreSQL stores no text of them, and may print them in other words in
# its next version. A missing index only costs time, and a missing constraint or foreign key refuses
# nothing, so those aren't looked at.
SELECT_OBJECTS: Final = f"""
WITH ours AS MATERIALIZED (
  SELECT oid FROM pg_namespace WHERE nspname = ANY(current_schemas(false))
), tables AS MATERIALIZED (
  SELECT oid, relname FROM pg_class
  WHERE relnamespace IN (SELECT oid FROM ours) AND relkind IN ('r', 'p') AND relname <> 'migration'
)
SELECT format('column %s.%s %s', relname, attname, format_type(atttypid, atttypmod))
FROM tables JOIN pg_attribute ON attrelid = tables.oid WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('{KEY}%s (%s)', relname, string_agg(attname, ', ' ORDER BY place))
FROM tables JOIN pg_index ON indrelid = tables.oid
CROSS JOIN LATERAL unnest(indkey) WITH ORDINALITY AS part (number, place)
JOIN pg_attribute ON attrelid = tables.oid AND attnum = number
WHERE indisunique AND indpred IS NULL AND indexprs IS NULL AND place <= indnkeyatts
GROUP BY relname, indexrelid
UNION ALL
SELECT format('function %s %s', proname, md5({_FUNCTION_TEXT}))
FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
UNION ALL
-- `distribute` puts tables in the place of some views.
SELECT format('view %s', relname) FROM pg_class
WHERE relnamespace IN (SELECT oid FROM ours)
AND (relkind = 'v' OR relname IN ({_VIEWS_OF_SCOPE}))
UNION ALL
SELECT format('view %s.%s', nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname IN ('{_FIRST.searchable_schema}', '{_FIRST.visible_schema}') AND relkind = 'v'
UNION ALL
SELECT format('policy %s on %s', polname, relname)
FROM tables JOIN pg_policy ON polrelid = tables.oid
UNION ALL
SELECT format('trigger %s on %s', tgname, relname)
FROM tables JOIN pg_trigger ON tgrelid = tables.oid WHERE NOT tgisinternal
"""


class UnreleasedSchema(Conflict):
    """The database lacks what this version needs, and no migration adds it."""


async def check_schema(pool: Pool) -> None:
    """Raises UnreleasedSchema unless the database has everything that the migrations create.

    A database with a migration that isn't done, or that this version doesn't know, isn't looked at:
    a later version may have changed what this one knows. Raises Unavailable.
    """
    async with translate_errors(), pool.acquire() as connection:
        if missing := await _missing(connection):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UnreleasedSchema(
                f"The database was made by an earlier version that was never released: it lacks "
                f"{missing[0]}{more}, and no migration leads to this version. Back it up if you "
                "need what it has, and give this version an empty database; see "
                "docs/operation/upgrades.md"
            )


async def _missing(connection: Connection) -> list[str]:
    if not await connection.fetchval(HAS_MIGRATION_TABLE):
        return []
    rows = await connection.fetch(SELECT_APPLIED_MIGRATIONS, MIGRATIONS_APP)
    done, known = {row["name"] for row in rows}, known_migrations()
    if not done.issuperset(expanding(known)) or not done.issubset(known):
        return []
    found = {with_own_table(row[0]) for row in await connection.fetch(SELECT_OBJECTS)}
    missing = sorted({*OBJECTS.read_text().splitlines()} - found)
    if any(one.startswith(ON_CITUS) for one in missing) and await connection.fetchval(HAS_CITUS):
        missing = [one for one in missing if not one.startswith(ON_CITUS)]
    return missing


def with_own_table(line: str) -> str:
    """The line with the name that a table has in the schema.

    `distribute` gives a table the name of the view above it.
    """
    for table, view in VIEWS_OF_SCOPE.items():
        line = line.replace(f"column {view}.", f"column {table}.")
        line = line.replace(f"{KEY}{view} ", f"{KEY}{table} ")
    return line
