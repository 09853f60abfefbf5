"""Migrations of SQL scripts: what all groups share, and the tables of each group."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Final, cast

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.database.pool import Connection
from adapters.postgres.database.table_groups import SELECT_PATH, TableGroup, fetch_groups
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.lock_waits import SET_LOCK_WAIT, retry_for_locks
from adapters.postgres.schema.pending import MIGRATIONS_APP

# Once a migration has its locks, it may take its time. Unlike requests it works on all projects and
# may scan whole tables.
SET_MIGRATION_LIMITS: Final = f"""
{SET_LOCK_WAIT};
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on
"""
SET_PATH: Final = "SELECT set_config('search_path', $1, true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlMigration:
    """Scripts that run in one transaction. Each has several statements, and can run again.

    `shared` run once. `group_scripts` run for each group, whose tables they name without a schema.
    `views_of_group` create the views of changed tables again, each in a transaction of its own. A
    request locks a view before its table, and several views, so a transaction that holds one of
    these locks and waits for another could be in a deadlock with it. For the same reason a later
    migration changes one existing table in `group_scripts`.
    """

    id: str
    description: str
    shared: Sequence[str] = ()
    group_scripts: Callable[[TableGroup], Sequence[str]] = lambda _: ()
    views_of_group: Callable[[TableGroup], Sequence[str]] = lambda _: ()
    backwards: Sequence[str] = ()

    def manager(self) -> MigrationManager:
        """The migration, as Piccolo runs it."""
        manager = MigrationManager(
            migration_id=self.id,
            app_name=MIGRATIONS_APP,
            description=self.description,
            wrap_in_transaction=False,
        )

        async def run_forwards() -> None:  # Piccolo awaits only functions declared async
            for group in await _transact(self._change_tables):
                for script in self.views_of_group(group):
                    await _transact(partial(_run_in_group, group=group, scripts=(script,)))

        async def run_backwards() -> None:
            await _transact(partial(_run, scripts=self.backwards))

        manager.add_raw(run_forwards)
        manager.add_raw_backwards(run_backwards)
        return manager

    async def _change_tables(self, connection: Connection) -> Sequence[TableGroup]:
        await _run(connection, self.shared)
        groups = await fetch_groups(connection)
        for group in groups:
            await _run_in_group(connection, group, self.group_scripts(group))
        return groups

    async def run_in_group(self, connection: Connection, group: TableGroup) -> None:
        """Runs both scripts of groups for a new group, in the open transaction."""
        await _run_in_group(
            connection, group, (*self.group_scripts(group), *self.views_of_group(group))
        )


def load_migration(migration_id: str) -> SqlMigration:
    """One of this version, by the name of its file."""
    module = import_module(f"adapters.postgres.schema.migrations.{migration_id}")
    return cast("SqlMigration", module.MIGRATION)


async def _transact[T](run: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs it in a transaction of Piccolo's engine. Raises Unavailable."""

    async def attempt() -> T:
        async with _migrating() as connection:
            return await run(connection)

    return await retry_for_locks(attempt)


@asynccontextmanager
async def _migrating() -> AsyncIterator[Connection]:
    async with DB.transaction() as transaction:
        connection = cast("Connection", transaction.connection)
        await connection.execute(SET_MIGRATION_LIMITS)
        yield connection


async def _run_in_group(connection: Connection, group: TableGroup, scripts: Sequence[str]) -> None:
    default = await connection.fetchval(SELECT_PATH)
    await connection.execute(SET_PATH, group.path(default))
    await _run(connection, scripts)
    await connection.execute(SET_PATH, default)


async def _run(connection: Connection, scripts: Sequence[str]) -> None:
    for script in scripts:
        # Not `run_ddl`: it prepares its argument and so takes a single statement only.
        await connection.execute(script)
