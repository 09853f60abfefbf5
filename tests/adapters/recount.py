"""SQL that counts all roll-ups from traces and spans.

It is independent of `deltas.py`, which keeps them up to date: tests compare the two. Seeded
databases are filled with it, too.
"""

from typing import Final

# What `terms.term` computes: 64 bits of MD5 over project, kind and value.
TERM: Final = (
    "('x' || left(md5(t.project_id::text || E'\\x1f' || '{kind}' || E'\\x1f' || {value}), 16))"
    "::bit(64)::bigint"
)


def _term(kind: str, value: str) -> str:
    return TERM.format(kind=kind, value=value)


# The scalars of a trace's metadata as key and text. Of a key that comes twice the last one counts.
MEMBER: Final = """(
    SELECT key, coalesce(value #>> '{}', 'null') AS text FROM (
        SELECT DISTINCT ON (key) key, value
        FROM json_each(t.metadata) WITH ORDINALITY AS m(key, value, place)
        ORDER BY key, place DESC
    ) AS last WHERE json_typeof(value) NOT IN ('object', 'array')
)"""
MEMBERS: Final = f"(SELECT count(*) FROM {MEMBER} AS m)"
# Two significant digits: see `bins.py`.
LATENCY_BIN: Final = """
CASE WHEN t.latency_us < 100 THEN t.latency_us
     ELSE t.latency_us - t.latency_us % (10 ^ (length(t.latency_us::text) - 2))::bigint END::text
"""

UPDATE_TRACES: Final = f"""
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
"""
CLEAR: Final = """
TRUNCATE trace_facets, trace_hours, trace_percentiles, usage_hours, sessions, trace_users
"""


def _facet(kind: str, value: str, source: str, search: str = "NULL::text") -> str:
    return f"""
    INSERT INTO trace_facets (project_id, kind, value, search_value, trace_count)
    SELECT t.project_id, '{kind}', {value}, {search}, count(DISTINCT t.trace_id)
    FROM {source} GROUP BY t.project_id, {value}, {search}
    """


def _traces(condition: str) -> str:
    return f"(SELECT * FROM traces AS t WHERE {condition}) AS t"


FACETS: Final = (
    _facet("all", "''::text", "traces AS t"),
    _facet("error", "''::text", _traces("status = 'ERROR' OR error_span_count > 0")),
    _facet("status", "t.status", "traces AS t"),
    _facet("environment", "t.environment", _traces("environment IS NOT NULL")),
    _facet("release", "t.release", _traces("release IS NOT NULL")),
    _facet("name", "t.name", "traces AS t", "t.search_name"),
    # The case of letters beyond ASCII isn't folded here.
    _facet("session", "t.session_id", _traces("session_id IS NOT NULL"), "lower(t.session_id)"),
    _facet("tag", "tag", "traces AS t CROSS JOIN unnest(t.tags) AS tag"),
    _facet("model", "model", "traces AS t CROSS JOIN unnest(t.models) AS model"),
    _facet("latency", LATENCY_BIN, _traces("latency_us >= 0")),
    _facet("many members", "''::text", _traces(f"{MEMBERS} > 200")),
    _facet(
        "metadata",
        "m.key || E'\\x1f' || m.text",
        f"""{_traces(f"{MEMBERS} <= 200")} CROSS JOIN LATERAL {MEMBER} AS m
        WHERE length(m.key) <= 64 AND length(m.text) <= 31 AND strpos(m.text, E'\\x1f') = 0""",
    ),
)
HOURS: Final = """
INSERT INTO trace_hours (project_id, hour, trace_count, error_count, latency_count, latency_us)
SELECT project_id, date_trunc('hour', started_at), count(*),
       count(*) FILTER (WHERE status = 'ERROR'), count(latency_us), coalesce(sum(latency_us), 0)
FROM traces GROUP BY project_id, date_trunc('hour', started_at)
"""
USAGE_HOURS: Final = """
INSERT INTO usage_hours (project_id, hour, has_model, model, calls, prompt_tokens,
                         completion_tokens, cost)
SELECT project_id, date_trunc('hour', started_at), model IS NOT NULL, coalesce(model, ''),
       count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost_amount)
FROM spans
GROUP BY project_id, date_trunc('hour', started_at), model IS NOT NULL, coalesce(model, '')
"""
SESSIONS: Final = """
INSERT INTO sessions (
    project_id, session_id, trace_count, first_started_at, last_started_at, last_ended_at,
    last_activity_at, latency_count, latency_sum_us, error_count, user_id, user_started_at,
    user_trace_id, tags, span_count, error_span_count, prompt_tokens, completion_tokens, total_cost
)
SELECT project_id, session_id, count(*), min(started_at), max(started_at), max(ended_at),
       max(greatest(started_at, ended_at)), count(latency_us), coalesce(sum(latency_us), 0),
       count(*) FILTER (WHERE status = 'ERROR'),
       (array_agg(user_id ORDER BY started_at, trace_id) FILTER (WHERE user_id IS NOT NULL))[1],
       (array_agg(started_at ORDER BY started_at, trace_id) FILTER (WHERE user_id IS NOT NULL))[1],
       (array_agg(trace_id ORDER BY started_at, trace_id) FILTER (WHERE user_id IS NOT NULL))[1],
       '{}', sum(span_count), sum(error_span_count), sum(prompt_tokens), sum(completion_tokens),
       sum(total_cost)
FROM traces WHERE session_id IS NOT NULL GROUP BY project_id, session_id
"""
SESSION_TAGS: Final = """
UPDATE sessions AS s SET tags = found.tags FROM (
    SELECT project_id, session_id, array_agg(DISTINCT tag COLLATE "C") AS tags
    FROM traces CROSS JOIN unnest(tags) AS tag
    WHERE session_id IS NOT NULL GROUP BY project_id, session_id
) AS found
WHERE s.project_id = found.project_id AND s.session_id = found.session_id
"""
USERS: Final = """
INSERT INTO trace_users (project_id, user_id, trace_count, error_count, first_seen, last_seen)
SELECT project_id, user_id, count(*), count(*) FILTER (WHERE status = 'ERROR'),
       min(started_at), max(started_at)
FROM traces WHERE user_id IS NOT NULL GROUP BY project_id, user_id
"""

# In order: facets of models follow the models of traces, tags of sessions their sessions.
RECOUNT: Final = (
    UPDATE_TRACES,
    CLEAR,
    *FACETS,
    HOURS,
    USAGE_HOURS,
    SESSIONS,
    SESSION_TAGS,
    USERS,
)
