"""`migrate`: runs the pending migrations, and says which one runs."""

import asyncio
import sys

from entrypoints.composition import database
from entrypoints.progress import Progress
from entrypoints.settings import Settings
from entrypoints.startup import print_line


def migrate(settings: Settings, *, contract: bool) -> int:
    """Prints the migrations that ran. Raises Unavailable."""
    with Progress(None, sys.stderr, label="migrating", is_brief=True) as progress:

        def show(migration_id: str, place: int, count: int) -> None:
            progress.show(place - 1, count, f"migrating {migration_id}")

        done = asyncio.run(database.migrate(settings, contract=contract, on_migration=show))
        if done:
            progress.show(len(done), len(done), "migrated")
    print_line("\n".join(f"migrated: {name}" for name in done) or "The schema is up to date.")
    return 0
