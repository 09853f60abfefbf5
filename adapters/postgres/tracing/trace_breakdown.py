"""Figures of traces by filter and group, read from the rows of the traces that match."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.tracing.rollups.percentiles import trace_bucket_from_row
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from domain.ids import ProjectId
from domain.tracing.analytics import PERCENTILES, UsageBucket, bucket_edges
from domain.tracing.query import fold_case
from domain.tracing.trace import TraceStatus
from domain.tracing.trace_breakdown import (
    CELLS_MAX,
    AnalyticsMetric,
    FigureGroup,
    GroupKind,
    TraceAnalyticsQuery,
    TraceCell,
    TraceGroup,
    TraceGroupKey,
    check_cell_count,
    check_trace_count,
)

_KEYS: Final = {
    None: "NULL::text",
    TraceGroupKey.ENVIRONMENT: "environment",
    TraceGroupKey.RELEASE: "release",
    TraceGroupKey.NAME: "name",
    TraceGroupKey.USER: "user_id",
}
_HAS_FAILED: Final = f"status = '{TraceStatus.ERROR}'"
_RANKS: Final = {
    AnalyticsMetric.COST: "sum(total_cost)",
    AnalyticsMetric.TOKENS: "sum(prompt_tokens + completion_tokens)",
    AnalyticsMetric.ERRORS: f"count(*) FILTER (WHERE {_HAS_FAILED})",
}
# `place` of the groups that are shown is their rank; that of all others is one more. They are found
# in an array and not by a join: as long as statistics don't know a project, it is planned for one
# row. Rows without a bucket are the totals of their group.
_SELECT: Final = """
WITH found AS MATERIALIZED (
  SELECT {bucket} AS bucket, {key} AS key, status, latency_us, prompt_tokens, completion_tokens,
         total_cost, unpriced_span_count
  FROM traces WHERE {where}
), ranked AS MATERIALIZED (
  SELECT key, row_number() OVER (ORDER BY {rank} DESC, key IS NULL, key) AS place
  FROM found GROUP BY key
), shown AS MATERIALIZED (
  SELECT array_agg(key ORDER BY place) FILTER (WHERE place <= {groups}) AS keys, count(*) AS groups
  FROM ranked
), placed AS (
  SELECT coalesce(array_position((SELECT keys FROM shown), key), {groups} + 1) AS place, found.*
  FROM found
)
SELECT place, bucket, grouping(bucket) AS is_total, min(key) AS key,
       (SELECT groups FROM shown) AS groups,
       count(*) AS trace_count, count(*) FILTER (WHERE {has_failed}) AS error_count,
       count(latency_us) AS latency_count, coalesce(sum(latency_us), 0) AS latency_us,
       percentile_cont({percentiles}::float8[]) WITHIN GROUP (ORDER BY latency_us::float8)
         AS percentiles,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       sum(total_cost) AS total_cost, sum(unpriced_span_count)::bigint AS unpriced
FROM placed GROUP BY GROUPING SETS ((place, bucket), (place))
ORDER BY place, bucket LIMIT {limit}
"""


async def fetch_trace_groups(
    connection: Connection, project: ProjectId, query: TraceAnalyticsQuery, read_max: int
) -> Sequence[TraceGroup]:
    """As `trace_groups` of the domain. Raises Invalid for more traces than `read_max`."""
    period = query.period
    edges = [] if query.zone is UTC else bucket_edges(period, query.granularity, query.zone)
    if period.after >= period.before:
        return []
    matching = replace(query.matching, started_after=period.after, started_before=period.before)
    clauses = filter_clauses(project, matching)
    counted = await fetch_counts(connection, project, clauses, fold_case(matching.name or ""))
    check_trace_count(counted.most, read_max)
    p = Parameters([project])
    if query.zone is UTC:
        bucket = f"date_trunc({p.put(query.granularity)}, started_at)"
    else:
        array = f"{p.put(edges)}::timestamptz[]"
        bucket = f"({array})[width_bucket(started_at, {array})]"
    sql = _SELECT.format(
        bucket=bucket,
        key=_KEYS[query.by],
        where=" AND ".join(
            [IN_PROJECT, *p.all_of(one.clause.scan_condition for one in counted.clauses)]
        ),
        rank=_RANKS.get(query.metric, "count(*)"),
        groups=f"{query.groups:d}",
        has_failed=_HAS_FAILED,
        percentiles=p.put(PERCENTILES),
        limit=CELLS_MAX + 1,
    )
    rows = await connection.fetch(sql, *p.values)
    check_cell_count(len(rows))
    return [
        _group(query, row, [one for one in rows if one["place"] == row["place"] and not one[2]])
        for row in rows
        if row["is_total"]
    ]


def _group(query: TraceAnalyticsQuery, total: Record, buckets: Sequence[Record]) -> TraceGroup:
    if query.by is None:
        kind = GroupKind.ALL
    elif total["place"] > query.groups:
        kind = GroupKind.OTHER
    else:
        kind = GroupKind.NONE if total["key"] is None else GroupKind.VALUE
    cell = _cell(total)
    start = query.period.after
    return FigureGroup(
        kind=kind,
        key=total["key"] if kind is GroupKind.VALUE else None,
        count=total["groups"] - query.groups if kind is GroupKind.OTHER else 1,
        total=TraceCell(replace(cell.traces, bucket=start), replace(cell.usage, bucket=start)),
        buckets=[_cell(row) for row in buckets],
    )


def _cell(row: Record) -> TraceCell:
    cost: Decimal = row["total_cost"]
    usage = UsageBucket(
        row["bucket"],
        int(row["prompt_tokens"]),
        int(row["completion_tokens"]),
        cost,
        row["unpriced"],
        priced=None,
        cached_tokens=None,
        reasoning_tokens=None,
    )
    return TraceCell(trace_bucket_from_row(row), usage)
