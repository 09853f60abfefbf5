"""Votes and budgets of monitors: each of their runs has them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T23:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "budgets of monitors"

FORWARDS = (
    """
    ALTER TABLE monitors
        ADD COLUMN IF NOT EXISTS votes integer NOT NULL DEFAULT 1,
        ADD COLUMN IF NOT EXISTS max_cost_usd numeric
    """,
)

BACKWARDS = (
    "ALTER TABLE monitors DROP COLUMN IF EXISTS votes, DROP COLUMN IF EXISTS max_cost_usd",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
