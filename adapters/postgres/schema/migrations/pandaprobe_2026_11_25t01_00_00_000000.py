"""The first schema: identity and tracing."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "identity and tracing"

# Text sorts by code point everywhere, whatever the collation of the database: COLLATE "C".
FORWARDS = (
    """
    CREATE TABLE IF NOT EXISTS organizations (
        id uuid PRIMARY KEY,
        name text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS users (
        id uuid PRIMARY KEY,
        issuer text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        email text COLLATE "C" NOT NULL,
        display_name text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL,
        last_sign_in_at timestamptz,
        UNIQUE (issuer, subject)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS memberships (
        id uuid PRIMARY KEY,
        organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        role text COLLATE "C" NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
        created_at timestamptz NOT NULL,
        UNIQUE (organization_id, user_id)
    )
    """,
    # A person's organizations, oldest first: asked with every request that a token signs.
    "CREATE INDEX IF NOT EXISTS memberships_user ON memberships (user_id, created_at, id)",
    """
    CREATE TABLE IF NOT EXISTS projects (
        id uuid PRIMARY KEY,
        organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
        name text COLLATE "C" NOT NULL,
        description text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL,
        UNIQUE (organization_id, name)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS api_keys (
        id uuid PRIMARY KEY,
        organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
        created_by uuid REFERENCES users ON DELETE SET NULL,
        name text COLLATE "C" NOT NULL,
        prefix text COLLATE "C" NOT NULL,
        digest bytea NOT NULL UNIQUE,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
    )
    """,
    "CREATE INDEX IF NOT EXISTS api_keys_organization ON api_keys (organization_id, created_at, id)",
    # What lists and analytics read, and no payload: a row of about 200 bytes. The counters are
    # kept by every write. Tokens are numeric: a sum of counts below 2^53 may leave a bigint.
    """
    CREATE TABLE IF NOT EXISTS traces (
        project_id uuid NOT NULL,
        trace_id uuid NOT NULL,
        name text COLLATE "C" NOT NULL,
        search_name text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL
            CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'ERROR')),
        started_at timestamptz NOT NULL,
        ended_at timestamptz,
        latency_ms float8
            GENERATED ALWAYS AS ((extract(epoch FROM ended_at - started_at) * 1000)::float8) STORED,
        session_id text COLLATE "C",
        user_id text COLLATE "C",
        environment text COLLATE "C",
        release text COLLATE "C",
        tags text[] NOT NULL,
        metadata json NOT NULL,
        span_count int NOT NULL,
        error_span_count int NOT NULL,
        prompt_tokens numeric NOT NULL,
        completion_tokens numeric NOT NULL,
        total_cost numeric NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id)
    )
    """,
    # The list of a project, newest first and oldest first, with ties in order; its total.
    """
    CREATE INDEX IF NOT EXISTS traces_started
        ON traces (project_id, started_at, trace_id) INCLUDE (status)
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_session
        ON traces (project_id, session_id, started_at, trace_id) WHERE session_id IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_user
        ON traces (project_id, user_id, started_at, trace_id) WHERE user_id IS NOT NULL
    """,
    # A table of its own, so that no list and no count ever walks over payloads. `json` keeps
    # every digit, every escape and the order of keys as they were sent.
    """
    CREATE TABLE IF NOT EXISTS trace_payloads (
        project_id uuid NOT NULL,
        trace_id uuid NOT NULL,
        input json,
        output json,
        PRIMARY KEY (project_id, trace_id)
    )
    """,
    # Read by trace only. No foreign key: it would cost each row a look-up; spans are written and
    # removed under the lock of their trace's row.
    """
    CREATE TABLE IF NOT EXISTS spans (
        project_id uuid NOT NULL,
        trace_id uuid NOT NULL,
        span_id uuid NOT NULL,
        parent_span_id uuid,
        name text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL,
        status text COLLATE "C" NOT NULL,
        started_at timestamptz NOT NULL,
        ended_at timestamptz,
        completion_start_time timestamptz,
        model text COLLATE "C",
        prompt_tokens bigint NOT NULL,
        completion_tokens bigint NOT NULL,
        cost_amount numeric NOT NULL,
        cost_source text COLLATE "C" NOT NULL,
        error text COLLATE "C",
        input json,
        output json,
        metadata json NOT NULL,
        token_usage json,
        model_parameters json,
        cost json,
        PRIMARY KEY (project_id, trace_id, span_id)
    )
    """,
)

BACKWARDS = tuple(
    f"DROP TABLE IF EXISTS {table}"
    for table in (
        "spans", "trace_payloads", "traces", "api_keys", "projects", "memberships", "users",
        "organizations",
    )
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
