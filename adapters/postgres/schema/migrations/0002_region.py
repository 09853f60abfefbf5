"""The region in which the agent of a trace ran."""

from importlib import import_module
from typing import Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import sql_migration

ID = "0002_region"
VERSION = "1.38.0"  # of Piccolo, which asks for it
DESCRIPTION = "the region of a trace"

# A view has the columns that its table had when the view was created.
VIEWS: Final[str] = import_module("adapters.postgres.schema.migrations.0001_initial").HIDING

FORWARDS: Final = ('ALTER TABLE traces ADD COLUMN IF NOT EXISTS region text COLLATE "C"', VIEWS)
BACKWARDS: Final = (
    "DROP VIEW IF EXISTS veiled.traces",
    "ALTER TABLE traces DROP COLUMN IF EXISTS region",
    VIEWS,
)


async def forwards() -> MigrationManager:
    """The migration, as Piccolo asks for it."""
    return sql_migration(ID, DESCRIPTION, FORWARDS, BACKWARDS)
