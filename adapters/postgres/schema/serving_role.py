"""The role that serves requests and jobs: it owns nothing, so that every policy binds it.

The migrating role owns the tables. If the same role serves, the policies are forced on it, except
that a superuser and a role with BYPASSRLS pass them (docs/adr/0036).
"""

from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.table_groups import SELECT_PATH, TableGroup, fetch_groups
from adapters.postgres.database.tenants import VIEWS_OF_SCOPE
from adapters.postgres.schema.lock_waits import SET_LOCK_WAIT, retry_for_locks
from adapters.postgres.schema.sql_migration import SET_PATH
from domain.errors import Invalid

# The views of `searchable` read these with the rights of the owner of the tables. If that is
# another role than the serving one, the policies needn't bind it here: the views have the same
# condition, and unlike a policy it leaves the planner free to use every index.
SEARCHED_TABLES: Final = ("traces", "sessions")

SELECT_CURRENT_ROLE: Final = "SELECT current_user"
HAS_ROLE: Final = "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)"
FORMAT_CREATE_ROLE: Final = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
FORMAT_GRANTS: Final = """
SELECT format(
  'GRANT USAGE ON SCHEMA %2$I, %3$I, %4$I TO %1$I;
   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %2$I, %3$I, %4$I TO %1$I;
   REVOKE INSERT, UPDATE, DELETE ON migration FROM %1$I;
   ALTER DEFAULT PRIVILEGES IN SCHEMA %2$I, %3$I, %4$I
     GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %1$I',
  $1::text, current_schema(), $2::text, $3::text)
"""
# With Citus no table is below a view.
FORMAT_REVOKE: Final = """
SELECT format('REVOKE SELECT, UPDATE, DELETE ON %I FROM %I', $1::text, $2::text)
WHERE to_regclass($1) IS NOT NULL
"""
SELECT_FORCED: Final = "SELECT relforcerowsecurity FROM pg_class WHERE oid = to_regclass($1)"


def role_of(url: str) -> tuple[str | None, str | None]:
    """The name and the password of a URL."""
    parts = urlsplit(url)
    name, password = parts.username, parts.password
    return name and unquote(name), password and unquote(password)


async def prepare_serving_role(connection: Connection, serving_url: str | None) -> None:
    """Lets the role of `serving_url` read and write every table, within its scope.

    Creates the role if it is missing, with the password of the URL. Without a URL, the migrating
    role serves. Can be repeated. Raises Invalid if the migrating role may not create the other, and
    Unavailable if long transactions use a table that has to change.
    """
    name, password = (None, None) if serving_url is None else role_of(serving_url)
    own = await connection.fetchval(SELECT_CURRENT_ROLE)
    if name is not None and name != own and not await connection.fetchval(HAS_ROLE, name):
        await _create_role(connection, name, password)

    async def grant(group: TableGroup, tables: Sequence[str]) -> None:
        async with connection.transaction():
            await connection.execute(SET_LOCK_WAIT)
            await grant_group(connection, group, serving_url, tables)

    for group in await fetch_groups(connection):
        # A transaction each: one that waits for the lock of a table holds that of no other, which
        # requests would wait for, or be in a deadlock with.
        for table in SEARCHED_TABLES:
            await retry_for_locks(partial(grant, group, [table]))


async def grant_group(
    connection: Connection,
    group: TableGroup,
    serving_url: str | None,
    tables: Sequence[str] = SEARCHED_TABLES,
) -> None:
    """Lets the role, which exists, use the tables of a group. In the open transaction.

    Sets for `tables` alone whether their owner has to obey the policies: this takes their locks.
    """
    name, _ = (None, None) if serving_url is None else role_of(serving_url)
    own = await connection.fetchval(SELECT_CURRENT_ROLE)
    is_separate = name is not None and name != own
    default = await connection.fetchval(SELECT_PATH)
    await connection.execute(SET_PATH, group.path(default))
    if is_separate:
        views = (group.searchable_schema, group.visible_schema)
        await connection.execute(await connection.fetchval(FORMAT_GRANTS, name, *views))
        for table in VIEWS_OF_SCOPE:
            if revoke := await connection.fetchval(FORMAT_REVOKE, table, name):
                await connection.execute(revoke)
    for table in tables:
        is_forced = await connection.fetchval(SELECT_FORCED, table)
        if is_forced is is_separate:
            force = "NO FORCE" if is_separate else "FORCE"
            await connection.execute(f"ALTER TABLE {table} {force} ROW LEVEL SECURITY")
    await connection.execute(SET_PATH, default)


async def _create_role(connection: Connection, name: str | None, password: str | None) -> None:
    sql = await connection.fetchval(FORMAT_CREATE_ROLE, name, password)
    try:
        await connection.execute(sql)
    except asyncpg.DuplicateObjectError:
        pass  # another process was faster, for another database of the server
    except asyncpg.InsufficientPrivilegeError as error:
        raise Invalid(
            f"The role {name} of PANDAPROBE_DATABASE_URL doesn't exist, and the migrating role may "
            f"not create it. As an administrator: CREATE ROLE {name} LOGIN PASSWORD '…'"
        ) from error
