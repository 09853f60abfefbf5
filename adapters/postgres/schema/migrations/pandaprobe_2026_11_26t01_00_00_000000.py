"""Repricings fail, where no worker can go on with them, and say so."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-26T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "repricings that fail"

FORWARDS = (
    """
    ALTER TABLE repricings
        ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0,
        ADD COLUMN IF NOT EXISTS error text
    """,
)

BACKWARDS = (
    "ALTER TABLE repricings DROP COLUMN IF EXISTS attempts, DROP COLUMN IF EXISTS error",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
