"""Analytics over time: from roll-ups for whole hours or buckets, from indexes for partial ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Pool
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.statements.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.statements.time_buckets import split_period
from adapters.postgres.tracing.facet_values import fetch_facet_values
from adapters.postgres.tracing.rollups.percentiles import VolumeReader
from adapters.postgres.tracing.session_figures import fetch_session_buckets
from adapters.postgres.tracing.trace_breakdown import fetch_trace_groups
from adapters.postgres.tracing.trace_rows import IS_UNPRICED
from domain.ids import ProjectId
from domain.page import Page, PageRequest
from domain.tracing.analytics import (
    BUCKETS_MAX,
    COUNTED_USERS_MAX,
    MODELS_MAX,
    Granularity,
    ModelUsage,
    Period,
    SessionBucket,
    TraceBucket,
    UsageBucket,
    UserSummary,
    bucket_edges,
    check_bucket_count,
)
from domain.tracing.facet_values import (
    FILTERED_METADATA_MAX,
    FILTERED_TRACES_MAX,
    FacetQuery,
    FacetValue,
)
from domain.tracing.otel.ingestion_warnings import NEWEST_SPANS_MAX
from domain.tracing.trace_breakdown import (
    CELLS_MAX,
    READ_TRACES_MAX,
    TraceAnalyticsQuery,
    TraceGroup,
    check_cell_count,
)
from domain.tracing.usage import CostSource

TYPE_MORE: Final = "ask for values with a longer prefix, or try again later"
NARROW_PERIOD: Final = "narrow started_after and started_before"
READ_BY_CURSOR: Final = "ask for the first pages, or follow next_cursor"

# Whole hours from the roll-up, and spans of partial hours: each range of $4 and $5 lies in one
# hour.
# CASE and not coalesce(): with row-level security, PostgreSQL uses an index only for expressions
# that it knows to leak nothing.
_END: Final = "CASE WHEN until IS NULL THEN 'infinity'::timestamptz ELSE until END"
_SELECT_USAGE: Final = f"""
SELECT {{bucket}} AS bucket, {{model}} sum(prompt_tokens) AS prompt_tokens,
       sum(completion_tokens) AS completion_tokens, sum(cost) AS cost,
       sum(unpriced)::bigint AS unpriced, sum(priced)::bigint AS priced,
       sum(cached_tokens) AS cached_tokens, sum(reasoning_tokens) AS reasoning_tokens
FROM (
  SELECT hour, {{rolled_up_model}} prompt_tokens, completion_tokens, cost,
         unpriced_span_count AS unpriced, priced_span_count AS priced, cached_tokens,
         reasoning_tokens
  FROM usage_hours
  WHERE {IN_PROJECT} AND hour >= $2 AND hour < $3
  UNION ALL
  SELECT since, summed.* FROM unnest($4::timestamptz[], $5::timestamptz[]) AS cut (since, until)
  CROSS JOIN LATERAL (
    SELECT {{model}} sum(prompt_tokens), sum(completion_tokens), sum(cost_amount),
           count(*) FILTER (WHERE {IS_UNPRICED}),
           count(*) FILTER (WHERE cost_source <> '{CostSource.UNPRICED}'),
           coalesce(sum(cache_read_tokens), 0), coalesce(sum(reasoning_tokens), 0)
    FROM spans
    WHERE {IN_PROJECT} AND started_at >= since
      AND started_at < {_END} AND usage_role IS NULL
    {{group}} HAVING count(*) > 0
  ) AS summed
) AS counted
GROUP BY {{keys}} ORDER BY {{keys}} LIMIT {{limit}}
"""
_OF_ALL: Final = {"model": "", "rolled_up_model": "", "group": "", "keys": "1"}
_BY_MODEL: Final = {
    "model": "model,",
    "rolled_up_model": "CASE WHEN has_model THEN model END AS model,",
    "group": "GROUP BY model",
    "keys": "1, 2",
}
# $6 is the granularity, or the edges of buckets in another time zone.
_IN_UTC: Final = "date_trunc($6, hour)"
_IN_ZONE: Final = "($6::timestamptz[])[width_bucket(hour, $6::timestamptz[])]"
_LIMITS: Final = {False: BUCKETS_MAX + 1, True: CELLS_MAX + 1}
# By whether there is another zone, and whether usage is by model.
SELECT_USAGE: Final = {
    (is_zoned, by_model): _SELECT_USAGE.format(
        bucket=_IN_ZONE if is_zoned else _IN_UTC,
        limit=_LIMITS[by_model],
        **(_BY_MODEL if by_model else _OF_ALL),
    )
    for is_zoned in (False, True)
    for by_model in (False, True)
}
# Only OpenTelemetry spans have facts.
SELECT_SOURCES: Final = f"""
SELECT DISTINCT is_native FROM (
  SELECT facts IS NULL AS is_native FROM spans
  WHERE {IN_PROJECT} AND started_at >= $2 AND started_at < $3
  ORDER BY started_at DESC LIMIT {NEWEST_SPANS_MAX}
) AS newest
"""
SELECT_MODEL_USAGE: Final = f"""
SELECT model, sum(calls)::bigint AS calls, sum(tokens) AS tokens, sum(cost) AS cost,
       sum(unpriced)::bigint AS unpriced
FROM (
  SELECT model, calls, prompt_tokens + completion_tokens AS tokens, cost,
         unpriced_span_count AS unpriced
  FROM usage_hours
  WHERE {IN_PROJECT} AND hour >= $2 AND hour < $3 AND has_model
  UNION ALL
  SELECT summed.* FROM unnest($4::timestamptz[], $5::timestamptz[]) AS cut (since, until)
  CROSS JOIN LATERAL (
    SELECT model, count(*), sum(prompt_tokens) + sum(completion_tokens), sum(cost_amount),
           count(*) FILTER (WHERE {IS_UNPRICED})
    FROM spans
    WHERE {IN_PROJECT} AND started_at >= since
      AND started_at < {_END} AND model IS NOT NULL AND usage_role IS NULL
    GROUP BY model
  ) AS summed
) AS counted
GROUP BY model ORDER BY calls DESC, model LIMIT {MODELS_MAX}
"""
_COUNT_USERS: Final = f"""
(SELECT count(*) FROM (SELECT 1 FROM trace_users WHERE {IN_PROJECT} LIMIT {{}}) AS counted)
"""


@dataclass(frozen=True, slots=True)
class PostgresTraceAnalytics(PoolReader):
    """Each result is from one snapshot.

    Percentiles that were computed are kept in `kept_in`, by default where they were read.
    """

    read_max: int = field(default=READ_TRACES_MAX, kw_only=True)
    filtered_max: int = field(default=FILTERED_TRACES_MAX, kw_only=True)
    filtered_metadata_max: int = field(default=FILTERED_METADATA_MAX, kw_only=True)
    kept_in: Pool | None = field(default=None, kw_only=True)
    counted_users: int = field(default=COUNTED_USERS_MAX, kw_only=True)

    async def volume(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Sequence[TraceBucket]:
        volume = VolumeReader(project, granularity, zone)
        try:
            async with self._snapshot(NARROW_PERIOD, project) as connection:
                return await volume.read(connection, period)
        finally:  # also what was computed before the time was over
            await volume.keep(self.kept_in or self.pool)

    async def usage(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Sequence[UsageBucket]:
        rows = await self._usage(project, period, granularity, zone, by_model=False)
        return check_bucket_count([_usage_bucket_from_row(row) for row in rows])

    async def model_usage(
        self, project: ProjectId, period: Period, granularity: Granularity, zone: tzinfo = UTC
    ) -> Mapping[str | None, Sequence[UsageBucket]]:
        rows = await self._usage(project, period, granularity, zone, by_model=True)
        check_cell_count(len(rows))
        check_bucket_count(list({row["bucket"] for row in rows}))
        found: dict[str | None, list[UsageBucket]] = {}
        for row in rows:
            found.setdefault(row["model"], []).append(_usage_bucket_from_row(row))
        return found

    async def _usage(
        self,
        project: ProjectId,
        period: Period,
        granularity: Granularity,
        zone: tzinfo,
        *,
        by_model: bool,
    ) -> Sequence[Record]:
        is_zoned = zone is not UTC
        divided = bucket_edges(period, granularity, zone) if is_zoned else granularity
        sql = SELECT_USAGE[is_zoned, by_model]
        async with self._snapshot(NARROW_PERIOD, project) as connection:
            return await connection.fetch(sql, project, *_hour_bounds(period), divided)

    async def groups(self, project: ProjectId, query: TraceAnalyticsQuery) -> Sequence[TraceGroup]:
        async with self._visible_snapshot(NARROW_PERIOD, project) as connection:
            return await fetch_trace_groups(connection, project, query, self.read_max)

    async def are_sources_mixed(self, project: ProjectId, period: Period) -> bool:
        bounds = (period.after, period.before)
        rows = await self._fetch(RETRY_LATER, project, SELECT_SOURCES, project, *bounds)
        return {row["is_native"] for row in rows} == {True, False}

    async def models(self, project: ProjectId, period: Period) -> Sequence[ModelUsage]:
        async with self._snapshot(NARROW_PERIOD, project) as connection:
            rows = await connection.fetch(SELECT_MODEL_USAGE, project, *_hour_bounds(period))
        return [
            ModelUsage(row["model"], row["calls"], int(row["tokens"]), row["cost"], row["unpriced"])
            for row in rows
        ]

    async def sessions(
        self, project: ProjectId, period: Period, granularity: Granularity
    ) -> Sequence[SessionBucket]:
        if period.after >= period.before:
            return []
        async with self._snapshot(NARROW_PERIOD, project) as connection:
            return await fetch_session_buckets(connection, project, period, granularity)

    async def facets(self, project: ProjectId, query: FacetQuery) -> Sequence[FacetValue]:
        is_of_metadata = query.field.is_of_metadata
        most = self.filtered_metadata_max if is_of_metadata else self.filtered_max
        async with self._visible_snapshot(TYPE_MORE, project) as connection:
            return await fetch_facet_values(connection, project, query, most)

    async def users(self, project: ProjectId, window: PageRequest) -> Page[UserSummary]:
        query = KeysetQuery(
            project=project,
            table="trace_users",
            id="user_id",
            value="last_seen",
            columns=("user_id", "trace_count", "error_count", "first_seen", "last_seen"),
            down=True,
            window=window,
        )
        page, most = None, self.counted_users
        count = Sql(_COUNT_USERS, (most + 1,))
        if window.offset <= NEAR_OFFSET_MAX:
            async with self._statement(READ_BY_CURSOR, project) as connection:
                page = await query.fetch_unfiltered(connection, count)
        if page is None:
            async with self._visible_snapshot(READ_BY_CURSOR, project) as connection:
                p = Parameters([project])
                total = await connection.fetchval(f"SELECT {p.sql(count)}", *p.values)
                where = PageConditions(
                    among=total, total=min(total, most), total_is_at_least=total > most
                )
                page = await query.fetch_page(connection, where)
        if page.total > most:
            seen = window.offset + len(page.rows)
            page = replace(page, total=max(most, seen), total_is_at_least=True)
        return page.to_page(window.limit, _user_from_row, lambda one: one.position)


def _hour_bounds(period: Period) -> tuple[object, ...]:
    """Start and end of the whole hours, and the bounds of the partial hours.

    Without whole hours, start and end are the same.
    """
    hours = split_period((period.after, period.before), Granularity.HOUR)
    whole = hours.whole or (period.after, period.after)
    return (*whole, [cut[0] for cut in hours.cuts], [cut[1] for cut in hours.cuts])


def _usage_bucket_from_row(row: Record) -> UsageBucket:
    return UsageBucket(
        row["bucket"],
        int(row["prompt_tokens"]),
        int(row["completion_tokens"]),
        row["cost"],
        row["unpriced"],
        priced=row["priced"],
        cached_tokens=int(row["cached_tokens"]),
        reasoning_tokens=int(row["reasoning_tokens"]),
    )


def _user_from_row(row: Record) -> UserSummary:
    return UserSummary(
        id=row["user_id"],
        trace_count=row["trace_count"],
        error_count=row["error_count"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
    )
