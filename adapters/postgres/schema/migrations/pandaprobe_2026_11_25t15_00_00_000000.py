"""Alerts of monitors: what is watched, what changed, who is told, and what they were told."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "alerts"

STATES = "('OK', 'ALERTING', 'NO_DATA')"

FORWARDS = (
    f"""
    CREATE TABLE IF NOT EXISTS alerts (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        monitor_id uuid NOT NULL,
        metric text COLLATE "C" NOT NULL,
        figure text COLLATE "C" NOT NULL,
        threshold double precision NOT NULL,
        clear_at double precision NOT NULL,
        samples_min integer NOT NULL,
        breaches integer NOT NULL,
        recoveries integer NOT NULL,
        state text COLLATE "C" NOT NULL CHECK (state IN {STATES}),
        since timestamptz NOT NULL,
        in_a_row integer NOT NULL,
        value double precision,
        awaits timestamptz,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS alerts_monitor ON alerts (project_id, monitor_id, created_at, id)
    """,
    # Those that look at slots too, in which there may be no run. Asked across projects.
    "CREATE INDEX IF NOT EXISTS alerts_slots ON alerts (project_id, id) WHERE figure = 'no_data'",
    f"""
    CREATE TABLE IF NOT EXISTS alert_changes (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        monitor_id uuid NOT NULL,
        alert_id uuid NOT NULL,
        run_id uuid,
        before text COLLATE "C" NOT NULL CHECK (before IN {STATES}),
        after text COLLATE "C" NOT NULL CHECK (after IN {STATES}),
        value double precision,
        at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS alert_changes_monitor
        ON alert_changes (project_id, monitor_id, at, id)
    """,
    "CREATE INDEX IF NOT EXISTS alert_changes_alert ON alert_changes (project_id, alert_id)",
    """
    CREATE TABLE IF NOT EXISTS webhooks (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        url text COLLATE "C" NOT NULL,
        secret bytea NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    # `body` is sent as it is, byte by byte: a signature is over it.
    """
    CREATE TABLE IF NOT EXISTS alert_deliveries (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        webhook_id uuid NOT NULL,
        change_id uuid,
        body bytea NOT NULL,
        attempts integer NOT NULL,
        status integer,
        error text COLLATE "C",
        next_attempt_at timestamptz,
        delivered_at timestamptz,
        held_until timestamptz,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id),
        CHECK (next_attempt_at IS NULL OR delivered_at IS NULL)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS alert_deliveries_webhook
        ON alert_deliveries (project_id, webhook_id, created_at, id)
    """,
    # Asked across projects, by whoever sends.
    """
    CREATE INDEX IF NOT EXISTS alert_deliveries_due
        ON alert_deliveries (next_attempt_at, project_id, id) WHERE next_attempt_at IS NOT NULL
    """,
    # Each run of a monitor is looked at once, when it has ended by itself.
    "ALTER TABLE eval_runs ADD COLUMN IF NOT EXISTS assessed_at timestamptz",
    """
    CREATE INDEX IF NOT EXISTS eval_runs_unassessed ON eval_runs (completed_at, project_id, id)
        WHERE monitor_id IS NOT NULL AND assessed_at IS NULL AND status IN ('COMPLETED', 'FAILED')
    """,
)

BACKWARDS = (
    "DROP INDEX IF EXISTS eval_runs_unassessed",
    "ALTER TABLE eval_runs DROP COLUMN IF EXISTS assessed_at",
    "DROP TABLE IF EXISTS alert_deliveries, webhooks, alert_changes, alerts",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
