"""Prices: what they were found by."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T22:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "prices"

FORWARDS = (
    # Null is none: no row has to be written again. `listed_amount` is what the price table says
    # where a client said something else.
    """
    ALTER TABLE spans
        ADD COLUMN IF NOT EXISTS cache_read_tokens bigint,
        ADD COLUMN IF NOT EXISTS cache_write_tokens bigint,
        ADD COLUMN IF NOT EXISTS price_version text COLLATE "C",
        ADD COLUMN IF NOT EXISTS price_since timestamptz,
        ADD COLUMN IF NOT EXISTS listed_amount numeric
    """,
    """
    CREATE TABLE IF NOT EXISTS model_prices (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        match text COLLATE "C" NOT NULL,
        input numeric NOT NULL,
        output numeric NOT NULL,
        cache_read numeric,
        cache_write numeric,
        effective_from timestamptz,
        effective_to timestamptz,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    # Which models have no price: seldom any, and then it is asked for days of them.
    """
    CREATE INDEX IF NOT EXISTS spans_unpriced
        ON spans (project_id, started_at) INCLUDE (model, prompt_tokens, completion_tokens)
        WHERE cost_source = 'unpriced' AND model <> '' AND prompt_tokens + completion_tokens > 0
    """,
    # What may be priced again, in the order in which it is.
    """
    CREATE INDEX IF NOT EXISTS spans_priced ON spans (project_id, started_at, trace_id, span_id)
        WHERE model <> '' AND cost_source <> 'client' AND prompt_tokens + completion_tokens > 0
    """,
    # `place` and `found` are how far it has come, and what it has found so far.
    """
    CREATE TABLE IF NOT EXISTS repricings (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        started_after timestamptz,
        started_before timestamptz,
        models text[] COLLATE "C" NOT NULL,
        is_dry boolean NOT NULL,
        place json,
        found json NOT NULL,
        created_at timestamptz NOT NULL,
        completed_at timestamptz,
        held_until timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    # Asked across projects, by whoever works.
    """
    CREATE INDEX IF NOT EXISTS repricings_due ON repricings (held_until, project_id, id)
        WHERE completed_at IS NULL
    """,
)

BACKWARDS = (
    "DROP TABLE IF EXISTS repricings",
    "DROP INDEX IF EXISTS spans_priced",
    "DROP INDEX IF EXISTS spans_unpriced",
    "DROP TABLE IF EXISTS model_prices",
    """
    ALTER TABLE spans
        DROP COLUMN IF EXISTS cache_read_tokens,
        DROP COLUMN IF EXISTS cache_write_tokens,
        DROP COLUMN IF EXISTS price_version,
        DROP COLUMN IF EXISTS price_since,
        DROP COLUMN IF EXISTS listed_amount
    """,
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
