"""Prices: what they were found by."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T22:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "prices"

FORWARDS = (
    # Null is none: no row has to be written again. `listed_amount` is what the price table says
    # where a client said something else.
    """
    ALTER TABLE spans
        ADD COLUMN IF NOT EXISTS cache_read_tokens bigint,
        ADD COLUMN IF NOT EXISTS cache_write_tokens bigint,
        ADD COLUMN IF NOT EXISTS price_version text COLLATE "C",
        ADD COLUMN IF NOT EXISTS price_since timestamptz,
        ADD COLUMN IF NOT EXISTS listed_amount numeric
    """,
)

BACKWARDS = (
    """
    ALTER TABLE spans
        DROP COLUMN IF EXISTS cache_read_tokens,
        DROP COLUMN IF EXISTS cache_write_tokens,
        DROP COLUMN IF EXISTS price_version,
        DROP COLUMN IF EXISTS price_since,
        DROP COLUMN IF EXISTS listed_amount
    """,
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
