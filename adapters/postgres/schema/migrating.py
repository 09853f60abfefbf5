"""Runs migrations by Piccolo, in one process at a time.

Each migration runs in a transaction, and creates each view again in a further one. Each waits for a
lock only as long as requests can wait behind it, and is tried again. A migration can be run again:
Piccolo records it only after its commits.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Final

import asyncpg
from piccolo.apps.migrations.commands.backwards import BackwardsMigrationManager
from piccolo.apps.migrations.commands.base import MigrationResult
from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import Connection, Pool, translate_errors
from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.schema.fitness import check_schema
from adapters.postgres.schema.pending import (
    MIGRATIONS_APP,
    SELECT_APPLIED_MIGRATIONS,
    known_migrations,
    pending_migrations,
)
from adapters.postgres.schema.serving_role import (
    SELECT_CURRENT_ROLE,
    grant_group,
    prepare_serving_role,
)
from adapters.postgres.schema.sql_migration import SET_MIGRATION_LIMITS, load_migration
from domain.errors import Forbidden

MIGRATION_LOCK_TIMEOUT_MS: Final = 600_000  # waits while another process migrates
CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS {}"
INSERT_GROUP: Final = "INSERT INTO table_groups (number) VALUES ($1)"
NOT_OWNER: Final = (
    "PostgreSQL says: {reason}. The owner of the database and its tables has to migrate, which "
    "{role} isn't: set PANDAPROBE_MIGRATION_DATABASE_URL, see docs/operation/operations.md, Roles"
)
type OnMigration = Callable[[str, int, int], object]
"""Is called before each migration with its id, its place, from 1, and the number of all."""


async def migrate(
    pool: Pool,
    serving_url: str | None = None,
    *,
    contract: bool = False,
    on_migration: OnMigration = lambda _id, _place, _count: None,
) -> list[str]:
    """Migrates the database to the schema of this version and returns the ids that were run.

    With `contract` it also removes what only earlier versions use.

    The role of `pool` owns what is created; that of `serving_url`, by default
    the same, may use it. Raises Unavailable, Conflict for a database of an earlier version that was
    never released, and Forbidden for a role that may not change it.

    Concurrent processes wait for the one that migrates, and then find nothing to do.
    """
    async with translate_errors(), pool.acquire() as connection:
        try:
            await connection.execute(
                f"SET lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}; SET statement_timeout = 0"
            )
            await connection.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATIONS)
            due = await pending_migrations(pool, contract=contract)
            for place, migration_id in enumerate(due, 1):
                on_migration(migration_id, place, len(due))
                await _run(
                    ForwardsMigrationManager(app_name=MIGRATIONS_APP, migration_id=migration_id)
                )
            await check_schema(pool)
            await prepare_serving_role(connection, serving_url)
        except asyncpg.InsufficientPrivilegeError as error:
            role = await connection.fetchval(SELECT_CURRENT_ROLE)
            raise Forbidden(NOT_OWNER.format(reason=error, role=role)) from error
        else:
            return due
        finally:
            await connection.execute("RESET lock_timeout; RESET statement_timeout")
            await connection.execute("SELECT pg_advisory_unlock_all()")


async def create_group(
    connection: Connection, group: TableGroup, serving_url: str | None = None
) -> None:
    """Adds a group with tables of its own, in the open transaction.

    The connection is that of the owner, and holds the lock AdvisoryLock.MIGRATIONS. Organizations
    that are made after the commit may belong to the group.
    """
    await connection.execute(SET_MIGRATION_LIMITS)
    for schema in (group.schema, group.searchable_schema, group.visible_schema):
        await connection.execute(CREATE_SCHEMA.format(schema))
    applied = {
        row["name"] for row in await connection.fetch(SELECT_APPLIED_MIGRATIONS, MIGRATIONS_APP)
    }
    for migration_id in known_migrations():
        if migration_id in applied:
            await load_migration(migration_id).run_in_group(connection, group)
    await grant_group(connection, group, serving_url)
    await connection.execute(INSERT_GROUP, group.number)


async def roll_back(migration_id: str) -> None:
    """Reverts migrations down to `migration_id`, including it. For tests of migrations."""
    await _run(
        BackwardsMigrationManager(
            app_name=MIGRATIONS_APP, migration_id=migration_id, auto_agree=True
        )
    )


async def _run(runner: ForwardsMigrationManager | BackwardsMigrationManager) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(
        output
    ):  # Piccolo prints; our command line has its own messages
        result: MigrationResult = await runner.run()
    if not result.success:
        raise RuntimeError(f"migration failed: {result.message or output.getvalue()}")
