"""The roll-ups, written in the transaction of what they count.

Each statement takes its rows in the order of their keys, and the tables always come in one order:
writers wait for each other, and never in a circle. Traces are locked before any of it.
"""

from collections.abc import Sequence
from typing import Final

from adapters.postgres.deltas import Deltas, OwnerKey, search_value
from adapters.postgres.engine import Connection
from adapters.postgres.rows import array_text, columns

PUT_FACETS: Final = """
INSERT INTO trace_facets AS f (project_id, kind, value, search_value, trace_count)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (project_id, kind, value) DO UPDATE
SET trace_count = f.trace_count + excluded.trace_count
"""
REMOVE_FACETS: Final = """
DELETE FROM trace_facets AS f USING unnest($1::uuid[], $2::text[], $3::text[]) AS u(p, k, v)
WHERE f.project_id = u.p AND f.kind = u.k AND f.value = u.v AND f.trace_count = 0
"""
# The percentiles were those of other traces.
PUT_BUCKETS: Final = """
INSERT INTO trace_buckets AS b (project_id, granularity, bucket, trace_count, error_count,
                                latency_count, latency_us)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[],
                     $6::bigint[], $7::numeric[])
ON CONFLICT (project_id, granularity, bucket) DO UPDATE SET
  trace_count = b.trace_count + excluded.trace_count,
  error_count = b.error_count + excluded.error_count,
  latency_count = b.latency_count + excluded.latency_count,
  latency_us = b.latency_us + excluded.latency_us,
  p50_us = NULL, p90_us = NULL, p99_us = NULL, revision = b.revision + 1
"""
REMOVE_BUCKETS: Final = """
DELETE FROM trace_buckets AS b
USING unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS u(p, g, at)
WHERE b.project_id = u.p AND b.granularity = u.g AND b.bucket = u.at AND b.trace_count = 0
"""
PUT_USAGE: Final = """
INSERT INTO usage_hours AS h (project_id, hour, has_model, model, calls, prompt_tokens,
                              completion_tokens, cost)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::text[], $5::bigint[],
                     $6::numeric[], $7::numeric[], $8::numeric[])
ON CONFLICT (project_id, hour, has_model, model) DO UPDATE SET
  calls = h.calls + excluded.calls,
  prompt_tokens = h.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = h.completion_tokens + excluded.completion_tokens,
  cost = h.cost + excluded.cost
"""
REMOVE_USAGE: Final = """
DELETE FROM usage_hours AS h
USING unnest($1::uuid[], $2::timestamptz[], $3::boolean[], $4::text[]) AS u(p, at, has, m)
WHERE h.project_id = u.p AND h.hour = u.at AND h.has_model = u.has AND h.model = u.m
  AND h.calls = 0
"""
_SESSION_COLUMNS: Final = """
trace_count, first_started_at, last_started_at, last_ended_at,
last_activity_at, latency_count, latency_sum_us, error_count, user_id, user_started_at,
user_trace_id, tags, span_count, error_span_count, prompt_tokens, completion_tokens, total_cost
"""
_IS_EARLIER: Final = """
excluded.user_started_at IS NOT NULL AND (s.user_started_at IS NULL
  OR (excluded.user_started_at, excluded.user_trace_id) <= (s.user_started_at, s.user_trace_id))
"""
_SUMS: Final = (
    *("trace_count", "latency_count", "latency_sum_us", "error_count", "span_count"),
    *("error_span_count", "prompt_tokens", "completion_tokens", "total_cost"),
)
PUT_SESSIONS: Final = f"""
INSERT INTO sessions AS s (project_id, session_id, {_SESSION_COLUMNS})
SELECT p, s, n, fs, ls, le, la, lc, lu, ec, ui, us, ut, g::text[], sc, es, pt, ct, tc
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[], $5::timestamptz[],
            $6::timestamptz[], $7::timestamptz[], $8::bigint[], $9::numeric[], $10::bigint[],
            $11::text[], $12::timestamptz[], $13::uuid[], $14::text[], $15::bigint[],
            $16::bigint[], $17::numeric[], $18::numeric[], $19::numeric[])
     AS u(p, s, n, fs, ls, le, la, lc, lu, ec, ui, us, ut, g, sc, es, pt, ct, tc)
ON CONFLICT (project_id, session_id) DO UPDATE SET
  {", ".join(f"{column} = s.{column} + excluded.{column}" for column in _SUMS)},
  first_started_at = least(s.first_started_at, excluded.first_started_at),
  last_started_at = greatest(s.last_started_at, excluded.last_started_at),
  last_ended_at = greatest(s.last_ended_at, excluded.last_ended_at),
  last_activity_at = greatest(s.last_activity_at, excluded.last_activity_at),
  user_id = CASE WHEN {_IS_EARLIER} THEN excluded.user_id ELSE s.user_id END,
  user_started_at = CASE WHEN {_IS_EARLIER} THEN excluded.user_started_at
                    ELSE s.user_started_at END,
  user_trace_id = CASE WHEN {_IS_EARLIER} THEN excluded.user_trace_id ELSE s.user_trace_id END,
  tags = CASE WHEN s.tags @> excluded.tags THEN s.tags ELSE ARRAY(
    SELECT DISTINCT tag COLLATE "C" FROM unnest(s.tags || excluded.tags) AS tag ORDER BY 1) END
"""
_EARLIEST: Final = "ORDER BY t.started_at, t.trace_id) FILTER (WHERE t.user_id IS NOT NULL))[1]"
COUNT_SESSIONS: Final = f"""
UPDATE sessions AS s SET ({_SESSION_COLUMNS}) = (
  SELECT count(*), min(t.started_at), max(t.started_at), max(t.ended_at),
         max(greatest(t.started_at, t.ended_at)), count(t.latency_us),
         coalesce(sum(t.latency_us), 0), count(*) FILTER (WHERE t.status = 'ERROR'),
         (array_agg(t.user_id {_EARLIEST}, (array_agg(t.started_at {_EARLIEST},
         (array_agg(t.trace_id {_EARLIEST},
         ARRAY(SELECT DISTINCT tag COLLATE "C" FROM traces AS g CROSS JOIN unnest(g.tags) AS tag
               WHERE g.project_id = u.p AND g.session_id = u.s ORDER BY 1),
         sum(t.span_count), sum(t.error_span_count), sum(t.prompt_tokens),
         sum(t.completion_tokens), sum(t.total_cost)
  FROM traces AS t WHERE t.project_id = u.p AND t.session_id = u.s
)
FROM unnest($1::uuid[], $2::text[]) AS u(p, s)
WHERE s.project_id = u.p AND s.session_id = u.s
"""
REMOVE_SESSIONS: Final = """
DELETE FROM sessions AS s USING unnest($1::uuid[], $2::text[]) AS u(p, s)
WHERE s.project_id = u.p AND s.session_id = u.s AND NOT EXISTS (
  SELECT FROM traces AS t WHERE t.project_id = u.p AND t.session_id = u.s)
"""
PUT_USERS: Final = """
INSERT INTO trace_users AS s (project_id, user_id, trace_count, error_count, first_seen, last_seen)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[],
                     $6::timestamptz[])
ON CONFLICT (project_id, user_id) DO UPDATE SET
  trace_count = s.trace_count + excluded.trace_count,
  error_count = s.error_count + excluded.error_count,
  first_seen = least(s.first_seen, excluded.first_seen),
  last_seen = greatest(s.last_seen, excluded.last_seen)
"""
COUNT_USERS: Final = """
UPDATE trace_users AS s SET (trace_count, error_count, first_seen, last_seen) = (
  SELECT count(*), count(*) FILTER (WHERE t.status = 'ERROR'), min(t.started_at),
         max(t.started_at)
  FROM traces AS t WHERE t.project_id = u.p AND t.user_id = u.s
)
FROM unnest($1::uuid[], $2::text[]) AS u(p, s)
WHERE s.project_id = u.p AND s.user_id = u.s
"""
REMOVE_USERS: Final = """
DELETE FROM trace_users AS s USING unnest($1::uuid[], $2::text[]) AS u(p, s)
WHERE s.project_id = u.p AND s.user_id = u.s AND NOT EXISTS (
  SELECT FROM traces AS t WHERE t.project_id = u.p AND t.user_id = u.s)
"""


async def write(connection: Connection, deltas: Deltas) -> None:
    """Carries out the deltas: the last thing that a transaction does, so that locks are short."""
    await _write_facets(connection, deltas)
    await _write_buckets(connection, deltas)
    await _write_usage(connection, deltas)
    await _write_sessions(connection, deltas)
    await _write_users(connection, deltas)


async def _write_facets(connection: Connection, deltas: Deltas) -> None:
    facets = sorted((key, n) for key, n in deltas.facets.items() if n)
    rows = [(*key, search_value(*key[1:]), n) for key, n in facets]
    await _put(connection, PUT_FACETS, rows)
    await _put(connection, REMOVE_FACETS, [key for key, n in facets if n < 0])


async def _write_buckets(connection: Connection, deltas: Deltas) -> None:
    buckets = list(deltas.buckets())
    await _put(connection, PUT_BUCKETS, [(*key, *counts) for key, counts in buckets])
    await _put(connection, REMOVE_BUCKETS, [key for key, counts in buckets if counts[0] < 0])


async def _write_usage(connection: Connection, deltas: Deltas) -> None:
    usage = sorted((key, sums) for key, sums in deltas.usage.items() if any(sums))
    await _put(connection, PUT_USAGE, [(*key, *sums) for key, sums in usage])
    await _put(connection, REMOVE_USAGE, [key for key, sums in usage if sums[0] < 0])


async def _write_sessions(connection: Connection, deltas: Deltas) -> None:
    rows: list[tuple[object, ...]] = []
    for key in sorted(deltas.sessions):
        one = deltas.sessions[key]
        user_at, user_trace, user = one.user or (None, None, None)
        rows.append((
            *key, one.traces, one.first_started_at, one.last_started_at, one.last_ended_at,
            one.last_activity_at, one.latencies, one.latency_us, one.errors, user, user_at,
            user_trace, array_text(sorted(one.tags)), one.totals.spans, one.totals.errors,
            one.totals.prompt_tokens, one.totals.completion_tokens, one.totals.cost,
        ))  # fmt: skip
    await _put(connection, PUT_SESSIONS, rows)
    stale: Sequence[OwnerKey] = sorted(deltas.stale_sessions)
    await _put(connection, REMOVE_SESSIONS, stale)
    await _put(connection, COUNT_SESSIONS, stale)


async def _write_users(connection: Connection, deltas: Deltas) -> None:
    rows = []
    for key in sorted(deltas.users):
        one = deltas.users[key]
        rows.append((*key, one.traces, one.errors, one.first_seen, one.last_seen))
    await _put(connection, PUT_USERS, rows)
    stale: Sequence[OwnerKey] = sorted(deltas.stale_users)
    await _put(connection, REMOVE_USERS, stale)
    await _put(connection, COUNT_USERS, stale)


async def _put(connection: Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await connection.execute(sql, *columns(rows))
