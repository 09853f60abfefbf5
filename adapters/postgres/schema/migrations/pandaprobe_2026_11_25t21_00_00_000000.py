"""Keeping and forgetting: how long what happened is told."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T21:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "keeping"

FORWARDS = (
    # Asked across projects, by whoever forgets what is old.
    """
    CREATE INDEX IF NOT EXISTS alert_deliveries_over ON alert_deliveries (created_at)
        WHERE next_attempt_at IS NULL
    """,
    "CREATE INDEX IF NOT EXISTS alert_changes_age ON alert_changes (at)",
    # Null: for ever. Age counts from when a trace was first stored.
    "ALTER TABLE projects ADD COLUMN IF NOT EXISTS retention_days integer",
    """
    CREATE INDEX IF NOT EXISTS projects_retention ON projects (id) WHERE retention_days IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS traces_age ON traces (project_id, created_at, trace_id)",
)

BACKWARDS = (
    "DROP INDEX IF EXISTS traces_age, projects_retention",
    "ALTER TABLE projects DROP COLUMN IF EXISTS retention_days",
    "DROP INDEX IF EXISTS alert_deliveries_over, alert_changes_age",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
