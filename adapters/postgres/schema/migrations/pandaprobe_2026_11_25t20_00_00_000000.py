"""Labels: what a run had measured where a person wrote over it, and what people said by name."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T20:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "labels"

FORWARDS = (
    # Told by metadata too, in JSON that not every function of the database reads.
    "ALTER TABLE trace_scores ADD COLUMN IF NOT EXISTS original double precision",
    """
    CREATE INDEX IF NOT EXISTS trace_scores_said ON trace_scores (project_id, name, created_at, id)
        WHERE source = 'ANNOTATION'
    """,
)

BACKWARDS = (
    "DROP INDEX IF EXISTS trace_scores_said",
    "ALTER TABLE trace_scores DROP COLUMN IF EXISTS original",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
