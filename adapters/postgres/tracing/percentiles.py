"""Traces over time: counted by every write; percentiles once computed are kept until the next."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, OUT_OF_REACH, Connection, Pool
from adapters.postgres.database.time_buckets import STEPS, parts
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

KEEP_TIMEOUT_S: Final = 1  # the answer waits for it
KEPT_MIN: Final = 5_000  # latencies in one answer: sorting fewer takes no longer than a write

BUCKETS: Final = f"""
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
# Ranges that each lie in one bucket; without an end, a whole one.
COMPUTED: Final = f"""
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
# Beside the revision that they are of: those of another one are never shown.
KEEP: Final = """
INSERT INTO trace_percentiles (project_id, granularity, bucket, revision, p50_us, p90_us, p99_us)
SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::bigint[], $5::float8[], $6::float8[],
                             $7::float8[])
ON CONFLICT (project_id, granularity, bucket) DO UPDATE SET revision = excluded.revision,
  p50_us = excluded.p50_us, p90_us = excluded.p90_us, p99_us = excluded.p99_us
"""


@dataclass(slots=True)
class Volume:
    """One answer: `read` it, then `keep` what had to be computed for it."""

    project: ProjectId
    granularity: Granularity
    computed: list[tuple[Record, Record]] = field(default_factory=list)

    async def read(self, connection: Connection, period: Period) -> Sequence[TraceBucket]:
        """Ascending by bucket; in a snapshot. Raises Invalid."""
        found = parts((period.after, period.before), self.granularity)
        step = STEPS[self.granularity]
        whole: Sequence[Record] = []
        if found.whole is not None:
            whole = await connection.fetch(
                BUCKETS, self.project, self.granularity, *found.whole, step
            )
        due = {row["bucket"]: row for row in check_bucket_count(whole) if row["is_due"]}
        since = [*due, *(cut[0] for cut in found.cuts)]
        until = [*(None for _ in due), *(cut[1] for cut in found.cuts)]
        computed: Sequence[Record] = []
        if since:
            computed = await connection.fetch(
                COMPUTED, self.project, self.granularity, since, until, step, PERCENTILES
            )
        # A cut is of a bucket of its own: due ones are whole.
        self.computed = [(due[row[0]], row) for row in computed if row[0] in due]
        shown = [row for row in whole if row["bucket"] not in due]
        shown += [row for row in computed if row["trace_count"]]
        return check_bucket_count(sorted(map(_bucket, shown), key=lambda one: one.bucket))

    async def keep(self, pool: Pool) -> None:
        """Saves who asks next the work, where it was much. Never fails."""
        over = [(old, new) for old, new in self.computed if old["is_over"]]
        if not over or sum(old["latency_count"] for old, _ in over) < KEPT_MIN:
            return
        rows = sorted((old["bucket"], old["revision"], *new["percentiles"]) for old, new in over)
        try:
            async with asyncio.timeout(KEEP_TIMEOUT_S):
                columns = map(list, zip(*rows, strict=True))
                await pool.execute(KEEP, self.project, self.granularity, *columns)
        except (*OUT_OF_REACH, asyncpg.PostgresError):
            _log.warning("percentiles were not kept", exc_info=True)


def _bucket(row: Record) -> TraceBucket:
    latencies = None
    if row["latency_count"]:
        mean = mean_ms(int(row["latency_us"]), row["latency_count"])
        latencies = Latencies(mean, *(one / 1_000 for one in row["percentiles"]))
    return TraceBucket(row["bucket"], row["trace_count"], row["error_count"], latencies)
