"""Trace volume over time: counts from roll-ups, and percentiles that are stored once computed."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, TRANSIENT_ERRORS, Connection, Pool
from adapters.postgres.database.tenants import within
from adapters.postgres.database.time_buckets import BUCKET_WIDTHS, split_period
from domain.ids import ProjectId
from domain.tracing.analytics import (
    BUCKETS_MAX,
    PERCENTILES,
    Granularity,
    Latencies,
    Period,
    TraceBucket,
    check_bucket_count,
    mean_ms,
)

_log: Final = logging.getLogger(__name__)

STORE_TIMEOUT_S: Final = 1  # the response waits for it
STORED_LATENCIES_MIN: Final = (
    5_000  # latencies in one response: sorting fewer is as fast as a write
)

SELECT_BUCKETS: Final = f"""
SELECT counted.*, ARRAY[p50_us, p90_us, p99_us] AS percentiles,
       p50_us IS NULL AND latency_count > 0 AS is_due,
       counted.bucket + $5::interval <= now() AS is_over
FROM (
  SELECT date_trunc($2, hour) AS bucket, sum(trace_count)::bigint AS trace_count,
         sum(error_count)::bigint AS error_count, sum(latency_count)::bigint AS latency_count,
         sum(latency_us) AS latency_us, sum(revision)::bigint AS revision
  FROM trace_hours WHERE {OF_PROJECT} AND hour >= $3 AND hour < $4
  GROUP BY 1 HAVING sum(trace_count) > 0 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
) AS counted
LEFT JOIN trace_percentiles AS kept ON kept.{OF_PROJECT} AND kept.granularity = $2
  AND kept.bucket = counted.bucket AND kept.revision = counted.revision
ORDER BY counted.bucket
"""
# Each range lies in one bucket; a NULL end means a whole bucket.
COMPUTE_BUCKETS: Final = f"""
SELECT date_trunc($2, since) AS bucket, counted.*
FROM unnest($3::timestamptz[], $4::timestamptz[]) AS range (since, until)
CROSS JOIN LATERAL (
  SELECT count(*) AS trace_count, count(*) FILTER (WHERE status = 'ERROR') AS error_count,
         count(latency_us) AS latency_count, coalesce(sum(latency_us), 0) AS latency_us,
         percentile_cont($6::float8[]) WITHIN GROUP (ORDER BY latency_us::float8) AS percentiles
  FROM traces
  WHERE {OF_PROJECT} AND started_at >= since
    AND started_at < coalesce(until, since + $5::interval)
) AS counted
"""
# Stored with the revision of their bucket: percentiles of another revision are never shown.
UPSERT_PERCENTILES: Final = """
INSERT INTO trace_percentiles (project_id, granularity, bucket, revision, p50_us, p90_us, p99_us)
SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::bigint[], $5::float8[], $6::float8[],
                             $7::float8[])
ON CONFLICT (project_id, granularity, bucket) DO UPDATE SET revision = excluded.revision,
  p50_us = excluded.p50_us, p90_us = excluded.p90_us, p99_us = excluded.p99_us
"""


@dataclass(slots=True)
class VolumeReader:
    """One response: `read` it, then `keep` the percentiles that had to be computed."""

    project: ProjectId
    granularity: Granularity
    computed: list[tuple[Record, Record]] = field(default_factory=list)

    async def read(self, connection: Connection, period: Period) -> Sequence[TraceBucket]:
        """Reads the buckets in ascending order; in a snapshot. Raises Invalid."""
        split = split_period((period.after, period.before), self.granularity)
        step = BUCKET_WIDTHS[self.granularity]
        whole: Sequence[Record] = []
        if split.whole is not None:
            whole = await connection.fetch(
                SELECT_BUCKETS, self.project, self.granularity, *split.whole, step
            )
        due = {row["bucket"]: row for row in check_bucket_count(whole) if row["is_due"]}
        since = [*due, *(cut[0] for cut in split.cuts)]
        until = [*(None for _ in due), *(cut[1] for cut in split.cuts)]
        computed: Sequence[Record] = []
        if since:
            computed = await connection.fetch(
                COMPUTE_BUCKETS, self.project, self.granularity, since, until, step, PERCENTILES
            )
        # Partial buckets and due buckets are distinct: due ones are whole.
        self.computed = [(due[row[0]], row) for row in computed if row[0] in due]
        shown = [row for row in whole if row["bucket"] not in due]
        shown += [row for row in computed if row["trace_count"]]
        return check_bucket_count(sorted(map(_bucket_from_row, shown), key=lambda one: one.bucket))

    async def keep(self, pool: Pool) -> None:
        """Stores the percentiles if computing them was expensive. Never raises."""
        over = [(old, new) for old, new in self.computed if old["is_over"]]
        if not over or sum(old["latency_count"] for old, _ in over) < STORED_LATENCIES_MIN:
            return
        rows = sorted((old["bucket"], old["revision"], *new["percentiles"]) for old, new in over)
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                columns = map(list, zip(*rows, strict=True))
                values = (self.project, self.granularity, *columns)
                await within(pool, self.project).execute(UPSERT_PERCENTILES, *values)
        except (*TRANSIENT_ERRORS, asyncpg.PostgresError):
            _log.warning("percentiles were not kept", exc_info=True)


def _bucket_from_row(row: Record) -> TraceBucket:
    latencies = None
    if row["latency_count"]:
        mean = mean_ms(int(row["latency_us"]), row["latency_count"])
        latencies = Latencies(mean, *(one / 1_000 for one in row["percentiles"]))
    return TraceBucket(row["bucket"], row["trace_count"], row["error_count"], latencies)
