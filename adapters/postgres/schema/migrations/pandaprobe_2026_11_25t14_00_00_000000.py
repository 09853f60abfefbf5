"""Monitors: what runs by itself, when it is due, and what was written since it ran."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "monitors"

FORWARDS = (
    # `selection` has each date as it was given, and the instant that it means.
    """
    CREATE TABLE IF NOT EXISTS monitors (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        name text COLLATE "C" NOT NULL,
        target_type text COLLATE "C" NOT NULL CHECK (target_type IN ('TRACE', 'SESSION')),
        metrics text[] COLLATE "C" NOT NULL,
        selection json NOT NULL,
        signal_weights json NOT NULL,
        sampling_rate double precision NOT NULL,
        model text COLLATE "C",
        cadence text COLLATE "C" NOT NULL,
        only_if_changed boolean NOT NULL,
        status text COLLATE "C" NOT NULL CHECK (status IN ('ACTIVE', 'PAUSED')),
        last_run_at timestamptz,
        last_run_id uuid,
        next_run_at timestamptz,
        looked_at timestamptz,
        looked_at_trace uuid,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id),
        CHECK (status = 'PAUSED' OR next_run_at IS NOT NULL),
        CHECK ((looked_at IS NULL) = (looked_at_trace IS NULL))
    )
    """,
    "CREATE INDEX IF NOT EXISTS monitors_created ON monitors (project_id, created_at, id)",
    # Asked across projects, by schedulers.
    """
    CREATE INDEX IF NOT EXISTS monitors_due ON monitors (next_run_at, project_id, id)
        WHERE status = 'ACTIVE'
    """,
    """
    CREATE INDEX IF NOT EXISTS eval_runs_monitor
        ON eval_runs (project_id, monitor_id, created_at, id) WHERE monitor_id IS NOT NULL
    """,
    # What was written lately. One entry for many pages: ingest pays nothing for it, and a row that
    # is written again can stay on its page.
    """
    CREATE INDEX IF NOT EXISTS traces_updated ON traces USING brin (updated_at)
        WITH (pages_per_range = 32, autosummarize = on)
    """,
)

BACKWARDS = (
    "DROP INDEX IF EXISTS traces_updated, eval_runs_monitor",
    "DROP TABLE IF EXISTS monitors",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
