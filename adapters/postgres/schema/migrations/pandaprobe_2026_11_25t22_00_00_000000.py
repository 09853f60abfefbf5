"""Prices: what of a prompt came from a cache."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T22:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "prices"

FORWARDS = (
    # Null is none: no row has to be written again, and most have neither.
    """
    ALTER TABLE spans
        ADD COLUMN IF NOT EXISTS cache_read_tokens bigint,
        ADD COLUMN IF NOT EXISTS cache_write_tokens bigint
    """,
)

BACKWARDS = (
    """
    ALTER TABLE spans
        DROP COLUMN IF EXISTS cache_read_tokens,
        DROP COLUMN IF EXISTS cache_write_tokens
    """,
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
