"""Exports: what is asked for and how far it is, and files in pieces."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T19:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "exports"

FORWARDS = (
    """
    CREATE TABLE IF NOT EXISTS exports (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        format text COLLATE "C" NOT NULL CHECK (format IN ('csv', 'parquet', 'ndjson')),
        row_kind text COLLATE "C" NOT NULL CHECK (row_kind IN ('traces', 'spans')),
        matching json NOT NULL,
        status text COLLATE "C" NOT NULL
            CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED')),
        attempts integer NOT NULL,
        traces_total bigint,
        traces_done bigint NOT NULL,
        rows bigint NOT NULL,
        size bigint NOT NULL,
        sha256 text COLLATE "C",
        error text COLLATE "C",
        created_at timestamptz NOT NULL,
        due_at timestamptz,
        completed_at timestamptz,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id),
        CHECK ((due_at IS NULL) = (status IN ('COMPLETED', 'FAILED')))
    )
    """,
    # Both are asked across projects, by workers.
    """
    CREATE INDEX IF NOT EXISTS exports_due ON exports (due_at, project_id, id)
        WHERE due_at IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS exports_expiry ON exports (expires_at, project_id, id)",
    # A piece is written once, read a few times, and compressed by itself where that helps.
    """
    CREATE TABLE IF NOT EXISTS export_pieces (
        project_id uuid NOT NULL,
        export_id uuid NOT NULL,
        number integer NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (project_id, export_id, number)
    )
    """,
)

BACKWARDS = ("DROP TABLE IF EXISTS export_pieces", "DROP TABLE IF EXISTS exports")


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
