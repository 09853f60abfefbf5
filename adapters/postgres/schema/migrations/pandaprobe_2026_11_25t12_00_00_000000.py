"""Evaluation: scores, runs with their work, what judges said and cost, remembered answers."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "evaluation"

# `number`, `judge_kind`, `fingerprint`, `evidence_hash` and `code` are told by value and metadata;
# as columns they can be averaged, compared and found.
SCORE_COLUMNS = """
        name text COLLATE "C" NOT NULL,
        outcome text COLLATE "C" NOT NULL
            CHECK (outcome IN ('pending', 'scored', 'failed', 'skipped')),
        value text COLLATE "C",
        number double precision,
        data_type text COLLATE "C" NOT NULL
            CHECK (data_type IN ('NUMERIC', 'BOOLEAN', 'CATEGORICAL')),
        source text COLLATE "C" NOT NULL
            CHECK (source IN ('AUTOMATED', 'ANNOTATION', 'PROGRAMMATIC')),
        run_id uuid,
        author_id uuid,
        reason text COLLATE "C",
        metadata json NOT NULL,
        judge_kind text COLLATE "C",
        fingerprint text COLLATE "C",
        code text COLLATE "C",
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id),
        CHECK ((value IS NOT NULL) = (outcome = 'scored'))
"""


def score_indexes(table: str, target: str) -> tuple[str, ...]:
    return (
        f"CREATE INDEX IF NOT EXISTS {table}_created ON {table} (project_id, created_at, id)",
        # The latest of each name, a session's history, and signals that can be used again.
        f"""
        CREATE INDEX IF NOT EXISTS {table}_target
            ON {table} (project_id, {target}, name, created_at, id)
        """,
        f"CREATE INDEX IF NOT EXISTS {table}_name ON {table} (project_id, name, created_at, id)",
        f"""
        CREATE INDEX IF NOT EXISTS {table}_run ON {table} (project_id, run_id, created_at, id)
            WHERE run_id IS NOT NULL
        """,
        f"""
        CREATE INDEX IF NOT EXISTS {table}_pending ON {table} (project_id, run_id)
            WHERE outcome = 'pending'
        """,
    )


FORWARDS = (
    f"""
    CREATE TABLE IF NOT EXISTS trace_scores (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        trace_id uuid NOT NULL,
        environment text COLLATE "C",
        evidence_hash text COLLATE "C",
        {SCORE_COLUMNS}
    )
    """,
    *score_indexes("trace_scores", "trace_id"),
    f"""
    CREATE TABLE IF NOT EXISTS session_scores (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        session_id text COLLATE "C" NOT NULL,
        {SCORE_COLUMNS}
    )
    """,
    *score_indexes("session_scores", "session_id"),
    # What it came to, `codes` being the failures by code, is there once the run is over, or is
    # `cancelled_at` an instant and about to be; until then it is counted.
    """
    CREATE TABLE IF NOT EXISTS eval_runs (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        target_type text COLLATE "C" NOT NULL CHECK (target_type IN ('TRACE', 'SESSION')),
        name text COLLATE "C",
        metrics text[] COLLATE "C" NOT NULL,
        targets integer NOT NULL,
        filters json NOT NULL,
        sampling_rate double precision NOT NULL,
        model text COLLATE "C" NOT NULL,
        signal_weights json NOT NULL,
        monitor_id uuid,
        status text COLLATE "C" NOT NULL
            CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
        error_message text COLLATE "C",
        created_at timestamptz NOT NULL,
        completed_at timestamptz,
        evaluated_count integer,
        scored_count integer,
        failed_count integer,
        skipped_count integer,
        codes json,
        cancelled_at timestamptz,
        announced_at timestamptz,
        PRIMARY KEY (project_id, id)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS eval_runs_created
        ON eval_runs (project_id, target_type, created_at, id)
    """,
    # Whose turn it is next, in a project and across all.
    """
    CREATE INDEX IF NOT EXISTS eval_runs_running ON eval_runs (project_id, created_at, id)
        WHERE status = 'RUNNING'
    """,
    # Asked across projects, by upkeep: what somebody was told to plan, or to cancel to the end.
    """
    CREATE INDEX IF NOT EXISTS eval_runs_announced ON eval_runs (announced_at)
        WHERE announced_at IS NOT NULL
    """,
    # `metrics` is there where they aren't those of the run. What they came to is there once the
    # target is finished, with the code of each that failed: so a run's figures cost a row a target.
    """
    CREATE TABLE IF NOT EXISTS eval_jobs (
        project_id uuid NOT NULL,
        run_id uuid NOT NULL,
        target text COLLATE "C" NOT NULL,
        place integer NOT NULL,
        metrics text[] COLLATE "C",
        state text COLLATE "C" NOT NULL
            CHECK (state IN ('unplanned', 'waiting', 'queued', 'running', 'done', 'dead')),
        attempts integer NOT NULL,
        run_after timestamptz NOT NULL,
        due_at timestamptz,
        last_code text COLLATE "C",
        scored integer,
        failed integer,
        skipped integer,
        codes text[] COLLATE "C",
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, run_id, target)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS eval_jobs_open ON eval_jobs (project_id, run_id, state, place)
        WHERE state IN ('unplanned', 'waiting', 'queued', 'running')
    """,
    # The few that are queued or running, of one run among many.
    """
    CREATE INDEX IF NOT EXISTS eval_jobs_in_flight ON eval_jobs (project_id, run_id)
        WHERE due_at IS NOT NULL
    """,
    # Asked across projects, by upkeep: when a lease runs out, or a message counts as lost.
    "CREATE INDEX IF NOT EXISTS eval_jobs_due ON eval_jobs (due_at) WHERE due_at IS NOT NULL",
    # The few that were given up: they are counted across projects.
    """
    CREATE INDEX IF NOT EXISTS eval_jobs_dead ON eval_jobs (project_id, run_id, target)
        WHERE state = 'dead'
    """,
    """
    CREATE TABLE IF NOT EXISTS judge_verdicts (
        project_id uuid NOT NULL,
        key bytea NOT NULL,
        outcome json NOT NULL,
        usage json NOT NULL,
        model text COLLATE "C" NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, key)
    )
    """,
    "CREATE INDEX IF NOT EXISTS judge_verdicts_age ON judge_verdicts (created_at)",
    """
    CREATE TABLE IF NOT EXISTS judge_calls (
        project_id uuid NOT NULL,
        id uuid NOT NULL,
        run_id uuid,
        target text COLLATE "C" NOT NULL,
        metric text COLLATE "C" NOT NULL,
        attempt integer NOT NULL,
        provider text COLLATE "C" NOT NULL,
        model text COLLATE "C" NOT NULL,
        input_tokens bigint NOT NULL,
        cache_read_tokens bigint NOT NULL,
        cache_write_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        usd numeric,
        price_version text COLLATE "C",
        latency_ms double precision NOT NULL,
        code text COLLATE "C",
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS judge_calls_created ON judge_calls (project_id, created_at)",
    # The answer is there once the write is done; until then the row says who is at it.
    """
    CREATE TABLE IF NOT EXISTS replies (
        project_id uuid NOT NULL,
        operation text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        request_hash bytea NOT NULL,
        object_id uuid NOT NULL,
        status integer,
        body bytea,
        held_until timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, operation, key)
    )
    """,
    "CREATE INDEX IF NOT EXISTS replies_expiry ON replies (expires_at)",
)

BACKWARDS = tuple(
    f"DROP TABLE IF EXISTS {table}"
    for table in (
        "replies",
        "judge_calls",
        "judge_verdicts",
        "eval_jobs",
        "eval_runs",
        "session_scores",
        "trace_scores",
    )
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
