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
    # `owner` is whose data goes, for as long as there is any; then a salted hash tells.
    """
    CREATE TABLE IF NOT EXISTS erasures (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        organization_id uuid NOT NULL,
        kind text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'session')),
        owner text COLLATE "C",
        salt bytea NOT NULL,
        digest bytea NOT NULL,
        state text COLLATE "C" NOT NULL CHECK (state IN ('REMOVING', 'REMOVED')),
        requested_at timestamptz NOT NULL,
        actor_user_id uuid,
        actor_key_id uuid,
        actor_name text COLLATE "C" NOT NULL,
        removed_at timestamptz,
        rows json NOT NULL,
        PRIMARY KEY (project_id, id),
        CHECK ((state = 'REMOVED') = (removed_at IS NOT NULL)),
        CHECK ((state = 'REMOVED') = (owner IS NULL))
    )
    """,
    "CREATE INDEX IF NOT EXISTS erasures_requested ON erasures (project_id, requested_at, id)",
    # Asked across projects, by whoever goes on with them.
    """
    CREATE INDEX IF NOT EXISTS erasures_open ON erasures (requested_at, project_id, id)
        WHERE state = 'REMOVING'
    """,
    # What comes late of a trace that was erased is refused for some days. No other index begins
    # with the project: a writer is to look by the whole key, whatever the statistics say.
    """
    CREATE TABLE IF NOT EXISTS erased_traces (
        project_id uuid NOT NULL,
        trace_id uuid NOT NULL,
        erasure_id uuid NOT NULL,
        erased_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, trace_id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS erased_traces_age ON erased_traces (erased_at)",
    # What a session is called is taken out of the ledger. The target comes first: sums of a month
    # are to be looked for by project and time, whatever the statistics say.
    "CREATE INDEX IF NOT EXISTS judge_calls_target ON judge_calls (target, project_id)",
)

BACKWARDS = (
    "DROP INDEX IF EXISTS judge_calls_target",
    "DROP TABLE IF EXISTS erased_traces, erasures",
    "DROP INDEX IF EXISTS traces_age, projects_retention",
    "ALTER TABLE projects DROP COLUMN IF EXISTS retention_days",
    "DROP INDEX IF EXISTS alert_deliveries_over, alert_changes_age",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
