"""The list of spans across traces.

Spans have few indexes, because each would slow down every write. A page by start walks an index of
starts and drops spans that don't match (`span_walk.py`); if few traces match, it reads the spans of
those traces. Other orders sort all matches, which are looked for in the hours that may have some;
the numbers of both have a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import PoolReader
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.tracing.analytics import NARROW_PERIOD
from adapters.postgres.tracing.span_filters import (
    COST,
    HAS_FAILED,
    LATENCY_US,
    SEARCHED_TRACES_MAX,
    TOKENS,
    SpanSource,
    find_source,
    served_conditions,
)
from adapters.postgres.tracing.span_periods import SpanPeriod, fetch_periods
from adapters.postgres.tracing.spans.error_groups import ErrorGroupQuery
from adapters.postgres.tracing.spans.span_analytics import SpanFigureReader
from adapters.postgres.tracing.spans.span_walk import (
    FIRST_INSTANT,
    LAST_INSTANT,
    WALK_LIMITS,
    SpanPlace,
    SpanWalk,
    WalkLimits,
)
from adapters.postgres.tracing.trace_rows import usage_from_row
from domain.errors import Invalid
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, Position, SortOrder
from domain.tracing.analytics import Granularity
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.spans.error_groups import ERROR_CHARS_MAX, ErrorFilter, ErrorGroup, ErrorSort
from domain.tracing.spans.span_analytics import READ_SPANS_MAX, SpanAnalytics, SpanAnalyticsQuery
from domain.tracing.spans.span_query import (
    COUNTED_SPANS_MAX,
    KEY_SEPARATOR,
    SORTED_AMONG_MAX,
    SORTED_SPANS_MAX,
    SpanFilter,
    SpanSort,
    SpanSummary,
    TraceContext,
    check_compared,
    check_sortable,
)
from domain.tracing.trace import TraceStatus
from domain.tracing.usage import CostSource, SpanCost, UsageRole

FOLLOW_CURSOR: Final = (
    "fewer than so many of the first {:,} spans match: follow next_cursor of the first pages"
)
NARROW_SPANS: Final = (
    "narrow the list with started_after and started_before, or with session_id or user_id"
)
_SORT_VALUES: Final = {
    SpanSort.STARTED_AT: "s.started_at",
    SpanSort.LATENCY: LATENCY_US,
    SpanSort.COST: COST,
    SpanSort.TOKENS: TOKENS,
}
_TYPES: Final = {
    SpanSort.STARTED_AT: "timestamptz",
    SpanSort.LATENCY: "bigint",
    SpanSort.COST: "numeric",
    SpanSort.TOKENS: "bigint",
}
_NULLABLE_SORTS: Final = {SpanSort.LATENCY, SpanSort.COST}
# Each key is looked up by itself: a join might be planned over a whole project.
SELECT_SPANS: Final = f"""
SELECT span.*, trace.* FROM unnest($2::uuid[], $3::uuid[]) WITH ORDINALITY AS key (trace, span, n)
CROSS JOIN LATERAL (
  SELECT trace_id, span_id, parent_span_id, name, kind, status, started_at, ended_at,
         completion_start_time, model, provider, prompt_tokens, completion_tokens,
         cache_read_tokens, cache_write_tokens, reasoning_tokens, usage_role, cost_amount,
         cost_source,
         left(error, {ERROR_CHARS_MAX}) AS error, error_group, input_bytes, output_bytes
  FROM spans WHERE {IN_PROJECT} AND trace_id = key.trace AND span_id = key.span LIMIT 1
) AS span
CROSS JOIN LATERAL (
  SELECT name AS trace_name, status AS trace_status, session_id, user_id, environment, release, tags
  FROM traces WHERE {IN_PROJECT} AND trace_id = key.trace LIMIT 1
) AS trace
ORDER BY n
"""


@dataclass(frozen=True, slots=True)
class PostgresSpans(PoolReader):
    """Each list is read from one snapshot."""

    sorted_max: int = field(default=SORTED_SPANS_MAX, kw_only=True)
    sorted_among_max: int = field(default=SORTED_AMONG_MAX, kw_only=True)
    counted_max: int = field(default=COUNTED_SPANS_MAX, kw_only=True)
    read_max: int = field(default=READ_SPANS_MAX, kw_only=True)
    searched_traces_max: int = field(default=SEARCHED_TRACES_MAX, kw_only=True)
    walk_limits: WalkLimits = field(default=WALK_LIMITS, kw_only=True)

    async def summaries(
        self,
        project: ProjectId,
        matching: SpanFilter,
        sort: SpanSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[SpanSummary]:
        async with self._visible_by_key(NARROW_SPANS, project) as connection:
            source = await find_source(connection, project, matching, self.searched_traces_max)
            is_sorted = source.rest and not source.is_small and sort is not SpanSort.STARTED_AT
            most = self.sorted_among_max
            if is_sorted and await _count_within(connection, project, matching) > most:
                source = await _narrowed(connection, project, matching, source)
                await _check_compared(connection, project, source, sort, most)
            query = _SpanQuery(project, source, sort, order is SortOrder.DESC, window)
            if source.is_small or sort is not SpanSort.STARTED_AT:
                found = await query.fetch_sorted(connection, self.sorted_max)
            else:
                walk = SpanWalk(
                    connection, project, matching, source, query.is_descending,
                    None if window.after is None else SpanPlace.at(window.after),
                    window.offset, self.walk_limits,
                )  # fmt: skip
                found = await query.fetch_by_start(walk, self.counted_max)
            shown = found.keys[: window.limit]
            traces, spans = [one.trace_id for one in shown], [one.span_id for one in shown]
            rows = await connection.fetch(SELECT_SPANS, project, traces, spans)
        items = [span_summary_from_row(row) for row in rows]
        end = sort.position(items[-1]) if len(found.keys) > window.limit else found.reached
        return Page(items, found.total, end, total_is_at_least=not found.is_exact)

    async def error_groups(
        self,
        project: ProjectId,
        matching: ErrorFilter,
        sort: ErrorSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[ErrorGroup]:
        query = ErrorGroupQuery(project, matching, sort, order, window)
        async with self._visible_snapshot(NARROW_PERIOD, project) as connection:
            return await query.fetch(connection)

    async def analytics(self, project: ProjectId, query: SpanAnalyticsQuery) -> SpanAnalytics:
        reader = SpanFigureReader(project, query, self.read_max, self.searched_traces_max)
        async with self._visible_snapshot(NARROW_PERIOD, project) as connection:
            return await reader.fetch(connection)


async def _count_within(connection: Connection, project: ProjectId, matching: SpanFilter) -> int:
    """The spans of the hours of the period, or the failed ones if all matches failed."""
    is_failed = any(one.text == HAS_FAILED for one in served_conditions(matching))
    counted: int = await connection.fetchval(
        f"SELECT coalesce(sum({'error' if is_failed else 'span'}_count), 0)::bigint"
        f" FROM span_hours WHERE {IN_PROJECT} AND hour >= $2 AND hour <= $3",
        project,
        Granularity.HOUR.bucket(matching.started_after or FIRST_INSTANT),
        matching.started_before or LAST_INSTANT,
    )
    return counted


async def _narrowed(
    connection: Connection, project: ProjectId, matching: SpanFilter, source: SpanSource
) -> SpanSource:
    """The same matches, among the spans of the periods in which one may have started."""
    within = SpanPeriod(
        matching.started_after or FIRST_INSTANT, matching.started_before or LAST_INSTANT
    )
    periods = await fetch_periods(connection, project, matching, source.trace_clauses, within)
    served = " AND ".join([f"s.{IN_PROJECT}", *(one.text for one in source.served)])
    values = tuple(value for one in source.served for value in one.values)
    # OFFSET 0 keeps it a look into an index for each period.
    table = f"""unnest({{}}::timestamptz[], {{}}::timestamptz[]) AS period (since, until)
    CROSS JOIN LATERAL (
      SELECT * FROM spans AS s
      WHERE {served} AND s.started_at >= period.since AND s.started_at <= period.until OFFSET 0
    ) AS s"""
    bounds = ([one.since for one in periods], [one.until for one in periods])
    return replace(source, table=Sql(table, (*bounds, *values)), served=())


async def _check_compared(
    connection: Connection, project: ProjectId, source: SpanSource, sort: SpanSort, most: int
) -> None:
    """Raises Invalid as `check_compared`. Counts the spans by index alone."""
    p = Parameters([project])
    table = f"SELECT 1 FROM {p.sql(source.table)} LIMIT {most + 1:d}"
    sql = f"SELECT count(*) FROM ({table}) AS counted"
    check_compared(await connection.fetchval(sql, *p.values), sort, most)


class _Key(NamedTuple):
    trace_id: TraceId
    span_id: SpanId


@dataclass(frozen=True, slots=True)
class _FoundKeys:
    """The keys of a page, and one more if another page follows.

    `reached` is the place where a limit ended the page, if it did.
    """

    keys: Sequence[_Key]
    total: int
    is_exact: bool = True
    reached: Position | None = None


@dataclass(frozen=True, slots=True)
class _SpanQuery:
    project: ProjectId
    source: SpanSource
    sort: SpanSort
    is_descending: bool
    window: PageRequest

    async def fetch_sorted(self, connection: Connection, most: int) -> _FoundKeys:
        """Reads all matches and sorts them. Raises Invalid as `check_sortable`."""
        p = Parameters([self.project])
        table = p.sql(self.source.table)
        where = self.source.where(p, [*self.source.served, *self.source.rest])
        limit = "" if self.sort is SpanSort.STARTED_AT else f"LIMIT {p.put(most + 1)}::bigint"
        after = " OR ".join(self._after(p)) or "true"
        sql = f"""
        WITH matches AS MATERIALIZED (
          SELECT {_SORT_VALUES[self.sort]} AS value, s.trace_id, s.span_id
          FROM {table} WHERE {where} {limit}
        )
        SELECT total, page.trace_id, page.span_id
        FROM (SELECT count(*) AS total FROM matches) AS counted LEFT JOIN (
          SELECT * FROM matches AS s WHERE {after} ORDER BY {self._order("s")} {self._limits(p)}
        ) AS page ON true ORDER BY {self._order("page")}
        """
        rows = await connection.fetch(sql, *p.values)
        total = rows[0]["total"]
        check_sortable(total, self.sort, most)
        return _FoundKeys([_Key(row[1], row[2]) for row in rows if row[1] is not None], total)

    async def fetch_by_start(self, walk: SpanWalk, counted_max: int) -> _FoundKeys:
        """Walks an index of starts. Counts matches among the first `counted_max` spans.

        Raises Invalid if a limit ends the walk before the offset.
        """
        found = await walk.next(self.window.limit + 1)
        keys = [_Key(TraceId(one.trace_id), SpanId(one.span_id)) for one in found]
        is_whole = len(keys) > self.window.limit or walk.is_over
        if not is_whole and walk.skip:
            raise Invalid.field("query.offset", FOLLOW_CURSOR.format(walk.compared))
        reached = None if is_whole or walk.last is None else walk.last.position
        counting = walk
        if self.window.after is not None:
            counting = walk.from_start()
        await counting.count_up_to(counted_max)
        if counting.is_over:
            return _FoundKeys(keys, counting.matched, reached=reached)
        total = max(self.window.offset + len(keys), counting.matched)
        return _FoundKeys(keys, total, is_exact=False, reached=reached)

    def _limits(self, p: Parameters) -> str:
        # The limit is in the SQL text, so that the planner knows how few rows there will be. One
        # more row tells whether more follow.
        return f"LIMIT {self.window.limit + 1:d} OFFSET {p.put(self.window.offset)}::bigint"

    def _order(self, alias: str) -> str:
        direction = "DESC" if self.is_descending else "ASC"
        nulls = "NULLS LAST" if self.sort in _NULLABLE_SORTS else ""
        keys = (f"{alias}.{column} {direction}" for column in ("trace_id", "span_id"))
        return ", ".join([f"value {direction} {nulls}", *keys])

    def _after(self, p: Parameters) -> list[str]:
        """OR-ed conditions for spans after the cursor; empty without a cursor."""
        if self.window.after is None:
            return []
        reached, id_ = self.window.after.value, str(self.window.after.id)
        sign = "<" if self.is_descending else ">"
        keys = ", ".join(f"{p.put(one)}::uuid" for one in id_.split(KEY_SEPARATOR))
        if reached is None:
            return [f"(value IS NULL AND (s.trace_id, s.span_id) {sign} ({keys}))"]
        found = f"{p.put(reached)}::{_TYPES[self.sort]}"
        row = f"(value, s.trace_id, s.span_id) {sign} ({found}, {keys})"
        return [row, "value IS NULL"] if self.sort in _NULLABLE_SORTS else [row]


def span_summary_from_row(row: Record) -> SpanSummary:
    role = row["usage_role"]
    return SpanSummary(
        id=SpanId(row["span_id"]),
        trace_id=TraceId(row["trace_id"]),
        parent_id=row["parent_span_id"],
        name=row["name"],
        kind=SpanKind(row["kind"]),
        status=SpanStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        completion_started_at=row["completion_start_time"],
        model=row["model"],
        provider=row["provider"],
        usage=usage_from_row(row),
        usage_role=None if role is None else UsageRole(role),
        charge=SpanCost(row["cost_amount"], CostSource(row["cost_source"])),
        error=row["error"],
        error_group=row["error_group"],
        input_bytes=row["input_bytes"],
        output_bytes=row["output_bytes"],
        trace=TraceContext(
            name=row["trace_name"],
            status=TraceStatus(row["trace_status"]),
            session_id=row["session_id"],
            user_id=row["user_id"],
            environment=row["environment"],
            release=row["release"],
            tags=tuple(row["tags"]),
        ),
    )
