"""Workers: each tells of itself, so that others notice when none does."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T18:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "workers"

FORWARDS = (
    # Of the installation, and of no project: which process works for whom changes by the second.
    """
    CREATE TABLE IF NOT EXISTS workers (
        id uuid PRIMARY KEY,
        version text COLLATE "C" NOT NULL,
        started_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS workers_seen ON workers (seen_at)",
)

BACKWARDS = ("DROP TABLE IF EXISTS workers",)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
