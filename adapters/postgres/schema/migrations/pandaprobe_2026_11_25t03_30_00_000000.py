"""The data plane: indexes for every filter and sort, and what is counted at each write."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T03:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "filters, sorts and roll-ups"

# What `rows.term` computes: 64 bits of MD5 over project, kind and value.
TERM = """
('x' || left(md5({project}::text || E'\\x1f' || {kind} || E'\\x1f' || {value}), 16))::bit(64)::bigint
"""


def _term(kind: str, value: str) -> str:
    return TERM.format(project="t.project_id", kind=f"'{kind}'", value=value)


# The scalars of a trace's metadata as key and text; of a key that comes twice the last.
MEMBER = """(
    SELECT key, coalesce(value #>> '{}', 'null') AS text FROM (
        SELECT DISTINCT ON (key) key, value
        FROM json_each(t.metadata) WITH ORDINALITY AS m(key, value, place)
        ORDER BY key, place DESC
    ) AS last WHERE json_typeof(value) NOT IN ('object', 'array')
)"""
MEMBERS = f"(SELECT count(*) FROM {MEMBER} AS m)"
LATENCY_BIN = """
CASE WHEN t.latency_us < 100 THEN t.latency_us
     ELSE t.latency_us - t.latency_us % (10 ^ (length(t.latency_us::text) - 2))::bigint END::text
"""

COLUMNS = (
    "DROP INDEX IF EXISTS traces_started, traces_session, traces_user",
    # Microseconds: whole numbers, so that sums are exact and can be taken back.
    """
    ALTER TABLE traces
        DROP COLUMN IF EXISTS latency_ms,
        ADD COLUMN IF NOT EXISTS latency_us bigint
            GENERATED ALWAYS AS
            ((extract(epoch FROM ended_at - started_at) * 1000000)::bigint) STORED,
        ADD COLUMN IF NOT EXISTS models text[] NOT NULL DEFAULT '{}',
        ADD COLUMN IF NOT EXISTS terms bigint[] NOT NULL DEFAULT '{}'
    """,
    # Index-only scans need pages that vacuum has seen, also where rows are only ever added.
    """
    ALTER TABLE traces SET (
        autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05
    )
    """,
    # One pass over the table, without indexes that would have to follow.
    f"""
    UPDATE traces AS t SET models = found.models, terms =
        ARRAY(SELECT {_term("tag", "tag")} FROM unnest(t.tags) AS tag)
        || ARRAY(SELECT {_term("model", "model")} FROM unnest(found.models) AS model)
        || CASE
            WHEN {MEMBERS} > 200 THEN ARRAY[{_term("metadata", "''")}]
            ELSE ARRAY(SELECT {_term("metadata", "m.key || E'\\x1f' || m.text")} FROM {MEMBER} AS m)
        END
    FROM (
        SELECT t.project_id, t.trace_id, coalesce(
            array_agg(DISTINCT s.model COLLATE "C") FILTER (WHERE s.model IS NOT NULL), '{{}}'
        ) AS models
        FROM traces AS t LEFT JOIN spans AS s USING (project_id, trace_id)
        GROUP BY t.project_id, t.trace_id
    ) AS found
    WHERE t.project_id = found.project_id AND t.trace_id = found.trace_id
    """,
    # A process of the version before, which knows neither, is to fail rather than to leave out.
    "ALTER TABLE traces ALTER COLUMN models DROP DEFAULT, ALTER COLUMN terms DROP DEFAULT",
)

INDEXES = (
    # The list by start in either order; totals and percentiles of a period without the table.
    """
    CREATE INDEX IF NOT EXISTS traces_started
        ON traces (project_id, started_at, trace_id) INCLUDE (status, latency_us)
    """,
    # As they were before.
    """
    CREATE INDEX IF NOT EXISTS traces_session
        ON traces (project_id, session_id, started_at, trace_id) WHERE session_id IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_user
        ON traces (project_id, user_id, started_at, trace_id) WHERE user_id IS NOT NULL
    """,
    # The other orders of the list, and the bounds of latency.
    "CREATE INDEX IF NOT EXISTS traces_ended ON traces (project_id, ended_at, trace_id)",
    "CREATE INDEX IF NOT EXISTS traces_latency ON traces (project_id, latency_us, trace_id)",
    "CREATE INDEX IF NOT EXISTS traces_name ON traces (project_id, name, trace_id)",
    "CREATE INDEX IF NOT EXISTS traces_status ON traces (project_id, status, trace_id)",
    # What dashboards narrow by, mostly together with a period.
    """
    CREATE INDEX IF NOT EXISTS traces_environment
        ON traces (project_id, environment, started_at, trace_id) WHERE environment IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_release
        ON traces (project_id, release, started_at, trace_id) WHERE release IS NOT NULL
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_failed
        ON traces (project_id, started_at, trace_id)
        WHERE status = 'ERROR' OR error_span_count > 0
    """,
    # Tags, models and metadata: one entry for each, with the project in it. Short pending lists:
    # every search walks over them.
    """
    CREATE INDEX IF NOT EXISTS traces_terms
        ON traces USING gin (terms) WITH (gin_pending_list_limit = 512)
    """,
    # The spans of the part of an hour that a period begins or ends in.
    "CREATE INDEX IF NOT EXISTS spans_started ON spans (project_id, started_at)",
)

SESSION_METRICS = (
    # How many traces have a value: totals of lists. `search_value` is folded, where parts of
    # names and of session ids are looked for: by reading those of the project, since an index of
    # their parts would run across projects. Updated in place: half of each page stays free.
    """
    CREATE TABLE IF NOT EXISTS trace_facets (
        project_id uuid NOT NULL,
        kind text COLLATE "C" NOT NULL,
        value text COLLATE "C" NOT NULL,
        search_value text COLLATE "C",
        trace_count bigint NOT NULL,
        PRIMARY KEY (project_id, kind, value)
    ) WITH (fillfactor = 50)
    """,
    # Traces by their start. Every write to an hour counts up its revision; an hour stays when its
    # last trace is gone, so that no revision comes twice.
    """
    CREATE TABLE IF NOT EXISTS trace_hours (
        project_id uuid NOT NULL,
        hour timestamptz NOT NULL,
        trace_count bigint NOT NULL,
        error_count bigint NOT NULL,
        latency_count bigint NOT NULL,
        latency_us numeric NOT NULL,
        revision bigint NOT NULL DEFAULT 1,
        PRIMARY KEY (project_id, hour)
    ) WITH (fillfactor = 50)
    """,
    # Percentiles of a bucket, valid while the revisions of its hours add up to `revision`.
    """
    CREATE TABLE IF NOT EXISTS trace_percentiles (
        project_id uuid NOT NULL,
        granularity text COLLATE "C" NOT NULL CHECK (granularity IN ('hour', 'day', 'week')),
        bucket timestamptz NOT NULL,
        revision bigint NOT NULL,
        p50_us float8 NOT NULL,
        p90_us float8 NOT NULL,
        p99_us float8 NOT NULL,
        PRIMARY KEY (project_id, granularity, bucket)
    )
    """,
    # Spans by their start and model; has_model tells no model from the empty one.
    """
    CREATE TABLE IF NOT EXISTS usage_hours (
        project_id uuid NOT NULL,
        hour timestamptz NOT NULL,
        has_model boolean NOT NULL,
        model text COLLATE "C" NOT NULL,
        calls bigint NOT NULL,
        prompt_tokens numeric NOT NULL,
        completion_tokens numeric NOT NULL,
        cost numeric NOT NULL,
        PRIMARY KEY (project_id, hour, has_model, model)
    ) WITH (fillfactor = 50)
    """,
    # One row a session, for any sort. The user is that of the earliest trace that has one,
    # which `user_started_at` and `user_trace_id` tell.
    """
    CREATE TABLE IF NOT EXISTS sessions (
        project_id uuid NOT NULL,
        session_id text COLLATE "C" NOT NULL,
        trace_count bigint NOT NULL,
        first_started_at timestamptz NOT NULL,
        last_started_at timestamptz NOT NULL,
        last_ended_at timestamptz,
        last_activity_at timestamptz NOT NULL,
        latency_count bigint NOT NULL,
        latency_sum_us numeric NOT NULL,
        latency_us numeric GENERATED ALWAYS AS
            (CASE WHEN latency_count > 0 THEN latency_sum_us END) STORED,
        error_count bigint NOT NULL,
        user_id text COLLATE "C",
        user_started_at timestamptz,
        user_trace_id uuid,
        tags text[] NOT NULL,
        span_count bigint NOT NULL,
        error_span_count bigint NOT NULL,
        prompt_tokens numeric NOT NULL,
        completion_tokens numeric NOT NULL,
        total_cost numeric NOT NULL,
        PRIMARY KEY (project_id, session_id)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE INDEX IF NOT EXISTS sessions_recent
        ON sessions (project_id, last_activity_at, session_id)
    """,
    "CREATE INDEX IF NOT EXISTS sessions_traces ON sessions (project_id, trace_count, session_id)",
    "CREATE INDEX IF NOT EXISTS sessions_latency ON sessions (project_id, latency_us, session_id)",
    "CREATE INDEX IF NOT EXISTS sessions_cost ON sessions (project_id, total_cost, session_id)",
    """
    CREATE INDEX IF NOT EXISTS sessions_failed
        ON sessions (project_id, last_activity_at, session_id) WHERE error_count > 0
    """,
    # The sessions wholly in a period: their rows stand for their traces.
    """
    CREATE INDEX IF NOT EXISTS sessions_span
        ON sessions (project_id, first_started_at, last_started_at)
        INCLUDE (trace_count, latency_us)
    """,
    """
    CREATE TABLE IF NOT EXISTS trace_users (
        project_id uuid NOT NULL,
        user_id text COLLATE "C" NOT NULL,
        trace_count bigint NOT NULL,
        error_count bigint NOT NULL,
        first_seen timestamptz NOT NULL,
        last_seen timestamptz NOT NULL,
        PRIMARY KEY (project_id, user_id)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX IF NOT EXISTS trace_users_seen ON trace_users (project_id, last_seen, user_id)",
)

def _facets(kind: str, value: str, source: str, search: str = "NULL::text") -> str:
    return f"""
    INSERT INTO trace_facets (project_id, kind, value, search_value, trace_count)
    SELECT t.project_id, '{kind}', {value}, {search}, count(DISTINCT t.trace_id)
    FROM {source} GROUP BY t.project_id, {value}, {search}
    """


FILLED = (
    """
    TRUNCATE trace_facets, trace_hours, trace_percentiles, usage_hours, sessions, trace_users
    """,
    _facets("all", "''::text", "traces AS t"),
    _facets("error", "''::text", "(SELECT * FROM traces WHERE status = 'ERROR' OR error_span_count > 0) AS t"),
    _facets("status", "t.status", "traces AS t"),
    _facets("environment", "t.environment", "(SELECT * FROM traces WHERE environment IS NOT NULL) AS t"),
    _facets("release", "t.release", "(SELECT * FROM traces WHERE release IS NOT NULL) AS t"),
    _facets("name", "t.name", "traces AS t", "t.search_name"),
    # Beyond ASCII an id of before is found in its own case only, until its next trace.
    _facets("session", "t.session_id", "(SELECT * FROM traces WHERE session_id IS NOT NULL) AS t", "lower(t.session_id)"),
    _facets("tag", "tag", "traces AS t CROSS JOIN unnest(t.tags) AS tag"),
    _facets("model", "model", "traces AS t CROSS JOIN unnest(t.models) AS model"),
    # Bins of two significant digits: see `bins.py`.
    _facets("latency", LATENCY_BIN, "(SELECT * FROM traces WHERE latency_us >= 0) AS t"),
    _facets("many members", "''::text", f"(SELECT * FROM traces AS t WHERE {MEMBERS} > 200) AS t"),
    _facets(
        "metadata",
        "m.key || E'\\x1f' || m.text",
        f"""(SELECT * FROM traces AS t WHERE {MEMBERS} <= 200) AS t
            CROSS JOIN LATERAL {MEMBER} AS m
            WHERE length(m.key) <= 64 AND length(m.text) <= 31
              AND strpos(m.text, E'\\x1f') = 0""",
    ),
    """
    INSERT INTO trace_hours (project_id, hour, trace_count, error_count, latency_count, latency_us)
    SELECT project_id, date_trunc('hour', started_at), count(*),
           count(*) FILTER (WHERE status = 'ERROR'), count(latency_us),
           coalesce(sum(latency_us), 0)
    FROM traces GROUP BY project_id, date_trunc('hour', started_at)
    """,
    """
    INSERT INTO usage_hours (project_id, hour, has_model, model, calls, prompt_tokens,
                             completion_tokens, cost)
    SELECT project_id, date_trunc('hour', started_at), model IS NOT NULL, coalesce(model, ''),
           count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost_amount)
    FROM spans
    GROUP BY project_id, date_trunc('hour', started_at), model IS NOT NULL, coalesce(model, '')
    """,
    """
    INSERT INTO sessions (
        project_id, session_id, trace_count, first_started_at, last_started_at, last_ended_at,
        last_activity_at, latency_count, latency_sum_us, error_count, user_id, user_started_at,
        user_trace_id, tags, span_count, error_span_count, prompt_tokens, completion_tokens,
        total_cost
    )
    SELECT project_id, session_id, count(*), min(started_at), max(started_at), max(ended_at),
           max(greatest(started_at, ended_at)), count(latency_us), coalesce(sum(latency_us), 0),
           count(*) FILTER (WHERE status = 'ERROR'),
           (array_agg(user_id ORDER BY started_at, trace_id) FILTER (WHERE user_id IS NOT NULL))[1],
           (array_agg(started_at ORDER BY started_at, trace_id)
               FILTER (WHERE user_id IS NOT NULL))[1],
           (array_agg(trace_id ORDER BY started_at, trace_id)
               FILTER (WHERE user_id IS NOT NULL))[1],
           '{}', sum(span_count), sum(error_span_count), sum(prompt_tokens),
           sum(completion_tokens), sum(total_cost)
    FROM traces WHERE session_id IS NOT NULL GROUP BY project_id, session_id
    """,
    """
    UPDATE sessions AS s SET tags = found.tags FROM (
        SELECT project_id, session_id, array_agg(DISTINCT tag COLLATE "C") AS tags
        FROM traces CROSS JOIN unnest(tags) AS tag
        WHERE session_id IS NOT NULL GROUP BY project_id, session_id
    ) AS found
    WHERE s.project_id = found.project_id AND s.session_id = found.session_id
    """,
    """
    INSERT INTO trace_users (project_id, user_id, trace_count, error_count, first_seen, last_seen)
    SELECT project_id, user_id, count(*), count(*) FILTER (WHERE status = 'ERROR'),
           min(started_at), max(started_at)
    FROM traces WHERE user_id IS NOT NULL GROUP BY project_id, user_id
    """,
)

ANALYZED = ("ANALYZE",)

FORWARDS = (*COLUMNS, *INDEXES, *SESSION_METRICS, *FILLED, *ANALYZED)

BACKWARDS = (
    """
    DROP TABLE IF EXISTS trace_facets, trace_hours, trace_percentiles, usage_hours, sessions,
        trace_users
    """,
    "DROP INDEX IF EXISTS spans_started",
    """
    DROP INDEX IF EXISTS traces_started, traces_ended, traces_latency, traces_name,
        traces_status, traces_environment, traces_release, traces_failed, traces_terms
    """,
    """
    ALTER TABLE traces
        DROP COLUMN IF EXISTS latency_us, DROP COLUMN IF EXISTS models,
        DROP COLUMN IF EXISTS terms,
        ADD COLUMN IF NOT EXISTS latency_ms float8
            GENERATED ALWAYS AS ((extract(epoch FROM ended_at - started_at) * 1000)::float8) STORED,
        RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor)
    """,
    """
    CREATE INDEX IF NOT EXISTS traces_started
        ON traces (project_id, started_at, trace_id) INCLUDE (status)
    """,
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
