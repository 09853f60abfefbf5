"""A project's own metrics: their names and revisions, and what runs keep of them."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T17:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "custom metrics"

FORWARDS = (
    """
    CREATE TABLE IF NOT EXISTS custom_metrics (
        project_id uuid NOT NULL,
        name text COLLATE "C" NOT NULL,
        id uuid NOT NULL,
        revision integer NOT NULL,
        archived_at timestamptz,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, name)
    )
    """,
    # `body` is kept as it was read, byte by byte: fingerprints are over it.
    """
    CREATE TABLE IF NOT EXISTS custom_metric_revisions (
        project_id uuid NOT NULL,
        name text COLLATE "C" NOT NULL,
        revision integer NOT NULL,
        kind text COLLATE "C" NOT NULL CHECK (kind IN ('judge', 'rule', 'measured')),
        description text COLLATE "C" NOT NULL,
        threshold double precision NOT NULL,
        body bytea NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, name, revision)
    )
    """,
    # Of a constant, so that no row is written for it.
    "ALTER TABLE eval_runs ADD COLUMN IF NOT EXISTS definitions json NOT NULL DEFAULT '[]'",
)

BACKWARDS = (
    "ALTER TABLE eval_runs DROP COLUMN IF EXISTS definitions",
    "DROP TABLE IF EXISTS custom_metric_revisions, custom_metrics",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
