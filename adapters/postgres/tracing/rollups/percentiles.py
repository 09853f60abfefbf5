"""Trace volume over time: counts from roll-ups, and percentiles that are stored once computed."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import Final

import asyncpg
from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, TRANSIENT_ERRORS, Connection, Pool
from adapters.postgres.database.statements.time_buckets import split_edges, split_period
from adapters.postgres.database.tenants import within
from domain.ids import ProjectId
from domain.tracing.analytics import (
    BUCKET_WIDTHS,
    BUCKETS_MAX,
    PERCENTILES,
    Granularity,
    Latencies,
    Period,
    TraceBucket,
    bucket_edges,
    check_bucket_count,
    mean_ms,
)

_log: Final = logging.getLogger(__name__)

STORE_TIMEOUT_S: Final = 1  # the response waits for it
STORED_LATENCIES_MIN: Final = (
    5_000  # latencies in one response: sorting fewer is as fast as a write
)
LATENCIES_AT_ONCE: Final = 50_000  # of one statement; a bucket may have more

_SELECT_BUCKETS: Final = f"""
SELECT counted.*, {{granularity}} AS granularity, ARRAY[p50_us, p90_us, p99_us] AS percentiles,
       p50_us IS NULL AND latency_count > 0 AS is_due,
       {{end}} <= now() AS is_over
FROM (
  SELECT {{bucket}} AS bucket, sum(trace_count)::bigint AS trace_count,
         sum(error_count)::bigint AS error_count, sum(latency_count)::bigint AS latency_count,
         sum(latency_us) AS latency_us, sum(revision)::bigint AS revision
  FROM trace_hours WHERE {IN_PROJECT} AND hour >= $3 AND hour < $4
  GROUP BY 1 HAVING sum(trace_count) > 0 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
) AS counted
LEFT JOIN trace_percentiles AS kept ON kept.{IN_PROJECT}
  AND kept.granularity = {{granularity}}
  AND kept.bucket = counted.bucket AND kept.revision = counted.revision
ORDER BY counted.bucket
"""
SELECT_BUCKETS: Final = _SELECT_BUCKETS.format(
    bucket="date_trunc($2, hour)", end="counted.bucket + $5::interval", granularity="$2::text"
)
# By the edges of buckets in another time zone. Kept figures are found by the length of a bucket, so
# that zones with equal days share it.
_END: Final = "($2::timestamptz[])[width_bucket(counted.bucket, $2::timestamptz[]) + 1]"
SELECT_ZONED_BUCKETS: Final = _SELECT_BUCKETS.format(
    bucket="($2::timestamptz[])[width_bucket(hour, $2::timestamptz[])]",
    end=_END,
    granularity=f"((extract(epoch FROM {_END} - counted.bucket) / 3600)::int || 'h')",
)
# Each range lies in one bucket; a NULL end means a whole bucket. The bounds are plain columns: with
# row-level security, PostgreSQL uses an index only for expressions that it knows to leak nothing.
# Otherwise each range would be read to the end of the table.
COMPUTE_BUCKETS: Final = f"""
SELECT bucket, counted.*
FROM (
  SELECT bucket, since, coalesce(until, since + $5::interval) AS until
  FROM unnest($2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
    AS given (bucket, since, until)
  OFFSET 0
) AS range
CROSS JOIN LATERAL (
  SELECT count(*) AS trace_count, count(*) FILTER (WHERE status = 'ERROR') AS error_count,
         count(latency_us) AS latency_count, coalesce(sum(latency_us), 0) AS latency_us,
         percentile_cont($6::float8[]) WITHIN GROUP (ORDER BY latency_us::float8) AS percentiles
  FROM traces
  WHERE {IN_PROJECT} AND started_at >= since AND started_at < range.until
) AS counted
"""
# Stored with the revision of their bucket: percentiles of another revision are never shown.
UPSERT_PERCENTILES: Final = """
INSERT INTO trace_percentiles (project_id, granularity, bucket, revision, p50_us, p90_us, p99_us)
SELECT $1, * FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::float8[], $6::float8[],
                         $7::float8[])
ON CONFLICT (project_id, granularity, bucket) DO UPDATE SET revision = excluded.revision,
  p50_us = excluded.p50_us, p90_us = excluded.p90_us, p99_us = excluded.p99_us
"""


@dataclass(slots=True)
class VolumeReader:
    """One response: `read` it, then `keep` the percentiles that had to be computed.

    They are computed some buckets at a time. A read that is cancelled has those of the statements
    before, which can be kept as well: so the next request has less to do.
    """

    project: ProjectId
    granularity: Granularity
    zone: tzinfo = UTC
    latencies_at_once: int = LATENCIES_AT_ONCE
    computed: list[tuple[Record, Record]] = field(default_factory=list)

    async def read(self, connection: Connection, period: Period) -> Sequence[TraceBucket]:
        """Reads the buckets in ascending order; in a snapshot. Raises Invalid."""
        step = BUCKET_WIDTHS[self.granularity]
        edges: Sequence[datetime] = []
        if self.zone is UTC:
            split = split_period((period.after, period.before), self.granularity)
            statement, bounds = SELECT_BUCKETS, (self.granularity, *(split.whole or ()), step)
        else:
            edges = bucket_edges(period, self.granularity, self.zone)
            split = split_edges(edges, period)
            statement, bounds = SELECT_ZONED_BUCKETS, (edges, *(split.whole or ()))
        whole: Sequence[Record] = []
        if split.whole is not None:
            whole = await connection.fetch(statement, self.project, *bounds)
        due = {row["bucket"]: row for row in check_bucket_count(whole) if row["is_due"]}
        ends = dict(pairwise(edges))
        steps: list[list[tuple[object, ...]]] = [
            [(start, start, ends.get(start)) for start in some]
            for some in self._steps(list(due.values()))
        ]
        if split.cuts:
            zoned = self.granularity.bucket
            steps.append([(zoned(cut[0] or period.after, self.zone), *cut) for cut in split.cuts])
        partial: Sequence[Record] = []
        for ranges in steps:
            columns = map(list, zip(*ranges, strict=True))
            rows = await connection.fetch(
                COMPUTE_BUCKETS, self.project, *columns, step, PERCENTILES
            )
            # Partial buckets and due buckets are distinct: due ones are whole.
            self.computed += [(due[row[0]], row) for row in rows if row[0] in due]
            partial = [row for row in rows if row[0] not in due]
        computed = [*(row for _, row in self.computed), *partial]
        shown = [row for row in whole if row["bucket"] not in due]
        shown += [row for row in computed if row["trace_count"]]
        return check_bucket_count(
            sorted(map(trace_bucket_from_row, shown), key=lambda one: one.bucket)
        )

    def _steps(self, due: Sequence[Record]) -> Iterator[Sequence[datetime]]:
        """The buckets of each statement."""
        some, latencies = list[datetime](), 0
        for row in due:
            if some and latencies + row["latency_count"] > self.latencies_at_once:
                yield some
                some, latencies = [], 0
            some.append(row["bucket"])
            latencies += row["latency_count"]
        if some:
            yield some

    async def keep(self, pool: Pool) -> None:
        """Stores the percentiles if computing them was expensive. Never raises."""
        over = [(old, new) for old, new in self.computed if old["is_over"]]
        if not over or sum(old["latency_count"] for old, _ in over) < STORED_LATENCIES_MIN:
            return
        rows = sorted(
            (old["granularity"], old["bucket"], old["revision"], *new["percentiles"])
            for old, new in over
        )
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                columns = map(list, zip(*rows, strict=True))
                values = (self.project, *columns)
                await within(pool, self.project).execute(UPSERT_PERCENTILES, *values)
        except (*TRANSIENT_ERRORS, asyncpg.PostgresError):
            _log.warning("percentiles were not kept", exc_info=True)


def trace_bucket_from_row(row: Record) -> TraceBucket:
    latencies = None
    if count := row["latency_count"]:
        mean = mean_ms(int(row["latency_us"]), count)
        latencies = Latencies(count, mean, *(one / 1_000 for one in row["percentiles"]))
    return TraceBucket(row["bucket"], row["trace_count"], row["error_count"], latencies)
