"""The management plane: invitations, login codes, the audit log, what is to be swept."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T10:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "management plane"

FORWARDS = (
    """
    CREATE TABLE IF NOT EXISTS invitations (
        id uuid PRIMARY KEY,
        organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
        email text COLLATE "C" NOT NULL,
        role text COLLATE "C" NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
        status text COLLATE "C" NOT NULL
            CHECK (status IN ('PENDING', 'ACCEPTED', 'DECLINED', 'REVOKED')),
        invited_by uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS invitations_organization
        ON invitations (organization_id, created_at, id)
    """,
    # What waits for an answer of whom: asked by address, across organizations.
    """
    CREATE INDEX IF NOT EXISTS invitations_email
        ON invitations (email, created_at, id) WHERE status = 'PENDING'
    """,
    """
    CREATE TABLE IF NOT EXISTS login_codes (
        digest bytea PRIMARY KEY,
        organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
        challenge text COLLATE "C" NOT NULL,
        label text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS login_codes_expiry ON login_codes (expires_at)",
    # No reference to the organization: what happened stays told after it is gone.
    """
    CREATE TABLE IF NOT EXISTS audit_log (
        id uuid PRIMARY KEY,
        organization_id uuid NOT NULL,
        at timestamptz NOT NULL,
        actor_user_id uuid,
        actor_key_id uuid,
        actor_name text COLLATE "C" NOT NULL,
        address text COLLATE "C",
        agent text COLLATE "C",
        action text COLLATE "C" NOT NULL,
        resource_id text COLLATE "C" NOT NULL,
        detail json NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS audit_log_organization ON audit_log (organization_id, at, id)",
    # Where a key was used from, as far as the audit log told it. '' where it isn't known.
    """
    CREATE TABLE IF NOT EXISTS api_key_origins (
        organization_id uuid NOT NULL,
        key_id uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
        address text COLLATE "C" NOT NULL,
        agent text COLLATE "C" NOT NULL,
        PRIMARY KEY (organization_id, key_id, address, agent)
    )
    """,
    "CREATE INDEX IF NOT EXISTS api_key_origins_key ON api_key_origins (key_id)",
    # Projects that were removed while rows of theirs may be left: no read shows these.
    """
    CREATE TABLE IF NOT EXISTS removals (
        project_id uuid PRIMARY KEY,
        removed_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL
    )
    """,
    # Removing a person's membership revokes their keys.
    """
    CREATE INDEX IF NOT EXISTS api_keys_created_by
        ON api_keys (organization_id, created_by) WHERE revoked_at IS NULL
    """,
)

BACKWARDS = (
    "DROP INDEX IF EXISTS api_keys_created_by",
    *(
        f"DROP TABLE IF EXISTS {table}"
        for table in ("removals", "api_key_origins", "audit_log", "login_codes", "invitations")
    ),
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
