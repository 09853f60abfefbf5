"""Figures of sessions over time: from the roll-up of hours, and from sessions at the two ends.

A session that lies between whole hours of the period is counted in the roll-up. The roll-up also
names the hours in which the others began: those that may be active at one of the ends. They are
read one by one, and if a part of them is outside the period, their traces within it.
"""

from collections.abc import Sequence
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.statements.time_buckets import Bounds, split_period
from domain.ids import ProjectId
from domain.tracing.analytics import (
    BUCKETS_MAX,
    Granularity,
    Period,
    SessionBucket,
    check_bucket_count,
    mean_ms,
)

COUNT_SESSIONS: Final = Sql(
    f"(SELECT coalesce(sum(session_count), 0)::bigint FROM session_hours WHERE {IN_PROJECT})"
)
COUNT_FAILED_SESSIONS: Final = Sql(
    f"(SELECT coalesce(sum(failed_count), 0)::bigint FROM session_hours WHERE {IN_PROJECT})"
)
# $2 and $3 are the period, $4 the hour of its start, $5 and $6 its whole hours.
# Bounds of `to_read` are plain columns: with row-level security, PostgreSQL uses an index only for
# expressions that it knows to leak nothing.
_PARTS: Final = f"""
WITH hours AS MATERIALIZED (
  SELECT *, first_hour >= $5 AND last_hour < $6 AS is_whole FROM session_hours
  WHERE {IN_PROJECT} AND first_hour < $3 AND last_hour >= $4
), to_read AS MATERIALIZED (
  SELECT DISTINCT first_hour AS since, first_hour + interval '1 hour' AS until FROM hours
  WHERE NOT is_whole
), ends AS MATERIALIZED (
  SELECT found.*, first_started_at >= $2 AND last_started_at < $3 AS is_inside
  FROM to_read CROSS JOIN LATERAL (
    SELECT session_id, first_started_at, last_started_at, trace_count, latency_us FROM sessions
    WHERE {IN_PROJECT} AND first_started_at >= since AND first_started_at < until
      AND first_started_at < $3 AND last_started_at >= $2
      AND NOT (first_started_at >= $5 AND last_started_at < $6)
    OFFSET 0
  ) AS found
), parts AS (
  SELECT first_hour AS since, session_count AS sessions, trace_count AS traces,
         latency_count AS latencies, latency_us
  FROM hours WHERE is_whole
  UNION ALL
  SELECT first_started_at, 1, trace_count, (latency_us IS NOT NULL)::int, latency_us
  FROM ends WHERE is_inside
  UNION ALL
  SELECT summed.* FROM ends CROSS JOIN LATERAL (
    SELECT min(started_at), 1, count(*), (count(latency_us) > 0)::int, sum(latency_us)
    FROM traces
    WHERE {IN_PROJECT} AND session_id = ends.session_id AND started_at >= $2 AND started_at < $3
    HAVING count(*) > 0
  ) AS summed
  WHERE NOT is_inside
)
"""
# $7 is the granularity.
SELECT_SESSION_BUCKETS: Final = f"""
{_PARTS}
SELECT date_trunc($7, since) AS bucket, sum(sessions)::bigint AS sessions,
       sum(traces)::bigint AS traces, sum(latencies)::bigint AS latencies,
       sum(latency_us) AS latency_us
FROM parts GROUP BY 1 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
_COUNT_WITHIN: Final = f"{_PARTS} SELECT coalesce(sum(sessions), 0)::bigint FROM parts"


async def count_sessions(connection: Connection, project: ProjectId, bounds: Bounds) -> int:
    """The sessions with a trace within `bounds`. Erased ones must not be hidden."""
    after, before = bounds
    split = split_period(bounds, Granularity.HOUR)
    start = None if after is None else Granularity.HOUR.bucket(after)
    whole = split.whole or (after or before, after or before)
    ends = zip(
        ("$2", "$3", "$4", "$5", "$6"),
        (after, before, start, *whole),
        ("-infinity", "infinity", "-infinity", "-infinity", "infinity"),
        strict=True,
    )
    sql, p = _COUNT_WITHIN, Parameters([project])
    for name, bound, unbounded in ends:
        found = f"'{unbounded}'" if bound is None else p.put(bound)
        sql = sql.replace(name, f"{found}::timestamptz")
    counted: int = await connection.fetchval(sql, *p.values)
    return counted


async def fetch_session_buckets(
    connection: Connection, project: ProjectId, period: Period, granularity: Granularity
) -> Sequence[SessionBucket]:
    """The buckets of a period that isn't empty, ascending. Raises Invalid for too many."""
    bounds = (period.after, period.before)
    whole = split_period(bounds, Granularity.HOUR).whole or (period.after, period.after)
    start = Granularity.HOUR.bucket(period.after)
    rows = await connection.fetch(
        SELECT_SESSION_BUCKETS, project, *bounds, start, *whole, granularity
    )
    return check_bucket_count([_bucket_from_row(row) for row in rows])


def _bucket_from_row(row: Record) -> SessionBucket:
    count, latencies = row["sessions"], row["latencies"]
    return SessionBucket(
        row["bucket"],
        count,
        row["traces"] / count,
        mean_ms(int(row["latency_us"]), latencies) if latencies else None,
        latencies,
    )
