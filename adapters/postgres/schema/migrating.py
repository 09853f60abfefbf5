"""Migrations: SQL, run by Piccolo, one process at a time.

Each one runs in a transaction, starts with a short lock timeout (it fails rather than holds up
the service), and can be run again: Piccolo notes it as done only after its commit.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.commands.backwards import BackwardsMigrationManager
from piccolo.apps.migrations.commands.base import MigrationResult
from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager

from adapters.postgres.database.advisory_locks import AdvisoryLock
from adapters.postgres.database.pool import Pool, translated
from adapters.postgres.piccolo_conf import DB
from adapters.postgres.schema.pending import APP, pending

WAIT_MAX_MS: Final = 600_000  # for migrations that another process runs
# A migration fails rather than holds up the service; once it has its locks it may take its time.
# Unlike requests it is for all projects, and so may scan whole tables.
BOUNDS: Final = """
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on
"""


def sql_migration(
    migration_id: str, description: str, forwards: Sequence[str], backwards: Sequence[str]
) -> MigrationManager:
    """A migration made of SQL scripts, all of them or none."""
    manager = MigrationManager(migration_id=migration_id, app_name=APP, description=description)

    async def run(scripts: Sequence[str]) -> None:
        transaction = DB.current_transaction.get()
        assert transaction is not None  # Piccolo runs each migration in one
        for script in (BOUNDS, *scripts):
            # Not `run_ddl`, which prepares what it is given and so takes a single statement.
            await transaction.connection.execute(script)

    async def go() -> None:  # Piccolo awaits what is an async function, not what returns one's work
        await run(forwards)

    async def go_back() -> None:
        await run(backwards)

    manager.add_raw(go)
    manager.add_raw_backwards(go_back)
    return manager


async def migrate(pool: Pool) -> list[str]:
    """Brings the database to the newest schema; the ids that were run. Raises Unavailable.

    Of several processes one migrates while the others wait, and then find nothing to do.
    """
    async with translated(), pool.acquire() as turn:
        try:
            await turn.execute(f"SET lock_timeout = {WAIT_MAX_MS}; SET statement_timeout = 0")
            await turn.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATIONS)
            due = await pending(pool)
            if due:
                await _run(ForwardsMigrationManager(app_name=APP, migration_id="all"))
            return due
        finally:
            await turn.execute("RESET lock_timeout; RESET statement_timeout")
            await turn.execute("SELECT pg_advisory_unlock_all()")


async def undo(migration_id: str) -> None:
    """Takes back every migration down to `migration_id`, and it too. For tests of migrations."""
    await _run(BackwardsMigrationManager(app_name=APP, migration_id=migration_id, auto_agree=True))


async def _run(runner: ForwardsMigrationManager | BackwardsMigrationManager) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # Piccolo prints; our command line has its own words
        result: MigrationResult = await runner.run()
    if not result.success:
        raise RuntimeError(f"migration failed: {result.message or said.getvalue()}")
