"""Runs migrations: SQL scripts by Piccolo, in one process at a time.

Each migration runs in a transaction, starts with a short lock timeout (it fails rather than blocks
the service), and can be run again: Piccolo records it only after its commit.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.commands.backwards import BackwardsMigrationManager
from piccolo.apps.migrations.commands.base import MigrationResult
from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import Pool, translate_errors
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.pending import MIGRATIONS_APP, pending_migrations
from adapters.postgres.schema.serving_role import prepare_serving_role

MIGRATION_LOCK_TIMEOUT_MS: Final = 600_000  # waits while another process migrates
# A migration fails rather than blocks the service. Once it has its locks, it may take its time.
# Unlike requests it works on all projects and may scan whole tables.
SET_MIGRATION_LIMITS: Final = """
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on
"""


def sql_migration(
    migration_id: str, description: str, forwards: Sequence[str], backwards: Sequence[str]
) -> MigrationManager:
    """Makes a migration of SQL scripts, which all run in one transaction."""
    manager = MigrationManager(
        migration_id=migration_id, app_name=MIGRATIONS_APP, description=description
    )

    async def run(scripts: Sequence[str]) -> None:
        transaction = DB.current_transaction.get()
        assert transaction is not None  # Piccolo runs each migration in one
        for script in (SET_MIGRATION_LIMITS, *scripts):
            # Not `run_ddl`: it prepares its argument and so takes a single statement only.
            await transaction.connection.execute(script)

    async def run_forwards() -> None:  # Piccolo awaits only functions declared async
        await run(forwards)

    async def run_backwards() -> None:
        await run(backwards)

    manager.add_raw(run_forwards)
    manager.add_raw_backwards(run_backwards)
    return manager


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
    the same, may use it. Raises Unavailable.

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
            await prepare_serving_role(connection, serving_url)
            return due
        finally:
            await connection.execute("RESET lock_timeout; RESET statement_timeout")
            await connection.execute("SELECT pg_advisory_unlock_all()")


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
