"""Figures of spans: from the roll-up of hours if it has what filters need, else from spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.database.statements.time_buckets import split_period
from adapters.postgres.tracing.rollups.span_bins import unpack_bins
from adapters.postgres.tracing.span_filters import (
    HAS_FAILED,
    LATENCY_US,
    SpanSource,
    find_source,
)
from adapters.postgres.tracing.span_periods import is_name_rolled_up
from adapters.postgres.tracing.spans.error_groups import select_messages
from adapters.postgres.tracing.trace_rows import IS_UNPRICED
from application.concurrency import compute
from application.tracing.workload import errors_take_long
from domain.ids import ProjectId
from domain.tracing.analytics import Granularity, Period
from domain.tracing.spans.span_analytics import (
    CELLS_MAX,
    SpanAnalytics,
    SpanAnalyticsQuery,
    SpanCell,
    SpanGroupKey,
    check_cell_count,
    check_read_count,
)
from domain.tracing.spans.span_figures import BIN_STARTS_US, SpanFigures, name_group
from domain.tracing.spans.span_query import SpanFilter

CELLS_ON_LOOP_MAX: Final = 300  # reading their bins and adding them up takes 5 ms
_KEYS: Final = {
    SpanGroupKey.KIND: "s.kind",
    SpanGroupKey.NAME: "s.name",
    SpanGroupKey.MODEL: "s.model",
    SpanGroupKey.ERROR: "s.error_group",
}
_MONDAY: Final = "timestamptz '2001-01-01 00:00+00'"
# The columns from which figures are computed. Without this list, all columns would be passed on for
# each span.
_READ_COLUMNS: Final = (
    "s.started_at, s.kind, s.prompt_tokens, s.completion_tokens, s.cost_amount, s.cost_source,"
    " s.usage_role"
)
_ROLLED_UP: Final = ("kind", "name", "model")
_SELECT_ROLLED_UP: Final = """
SELECT {bucket} AS bucket, {key} AS key, sum(span_count)::bigint AS spans,
       sum(error_count)::bigint AS errors, sum(latency_count)::bigint AS latencies,
       sum(latency_us) AS latency_us, sum(latency_bins)::text AS bins,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
       sum(cost) AS cost, sum(unpriced_span_count)::bigint AS unpriced
FROM span_hours AS s WHERE {where} GROUP BY 1, 2 LIMIT {limit}
"""
_SELECT_READ: Final = """
SELECT bucket, key, sum(n)::bigint AS spans, sum(errors)::bigint AS errors,
       coalesce(sum(n) FILTER (WHERE bin IS NOT NULL), 0)::bigint AS latencies,
       coalesce(sum(latency_us), 0) AS latency_us,
       array_agg(bin) FILTER (WHERE bin IS NOT NULL) AS bins,
       array_agg(n) FILTER (WHERE bin IS NOT NULL) AS counts,
       coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
       coalesce(sum(completion_tokens), 0) AS completion_tokens,
       coalesce(sum(cost), 0) AS cost, sum(unpriced)::bigint AS unpriced
FROM (
  SELECT {bucket} AS bucket, {key} AS key,
         width_bucket(s.latency_us, {starts}::bigint[]) AS bin, count(*) AS n,
         count(*) FILTER (WHERE {failed}) AS errors, sum(s.latency_us) AS latency_us,
         sum(prompt_tokens) FILTER (WHERE usage_role IS NULL) AS prompt_tokens,
         sum(completion_tokens) FILTER (WHERE usage_role IS NULL) AS completion_tokens,
         sum(cost_amount) FILTER (WHERE usage_role IS NULL) AS cost,
         count(*) FILTER (WHERE {unpriced}) AS unpriced
  FROM (SELECT {columns}, {latency} AS latency_us FROM {table} WHERE {where} {most}) AS s
  GROUP BY 1, 2, 3
) AS binned
GROUP BY bucket, key LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class SpanFigureReader:
    """One response. More than `read_max` spans are not read one by one."""

    project: ProjectId
    query: SpanAnalyticsQuery
    read_max: int
    few_traces: int

    async def fetch(self, connection: Connection) -> SpanAnalytics:
        """Reads the figures; in a visible snapshot. Raises Invalid."""
        cells = await self._fetch_cells(connection)
        is_long = len(cells) > CELLS_ON_LOOP_MAX
        found = await compute(SpanAnalytics.from_cells, cells, self.query, is_long=is_long)
        if self.query.group_by is not SpanGroupKey.ERROR:
            return found
        groups = [one.key for one in found.groups if one.key is not None]
        errors = await select_messages(connection, self.project, groups)
        return await compute(found.labelled, errors, is_long=errors_take_long(errors.values()))

    async def _fetch_cells(self, connection: Connection) -> Sequence[SpanCell]:
        period = self.query.period
        if period.after >= period.before:
            return []
        if not self._is_rolled_up() or await self._has_hidden_spans(connection):
            return await self._read(connection, period)
        hours = split_period((period.after, period.before), Granularity.HOUR)
        cells = list[SpanCell]()
        if hours.whole is not None:
            cells += await self._fetch_rolled_up(connection, hours.whole)
        for after, before in hours.cuts:
            assert after is not None
            cells += await self._read(connection, Period(after, before or period.before))
        return cells

    def _is_rolled_up(self) -> bool:
        """Whether the roll-up has the dimensions of all filters and groups."""
        matching, group_by = self.query.matching, self.query.group_by
        return (
            group_by is not SpanGroupKey.ERROR
            and SpanFilter()
            == replace(
                matching, kind=None, name=None, model=None, not_kind=(), not_name=(), not_model=()
            )
            and all(map(is_name_rolled_up, (matching.name, *matching.not_name)))
        )

    async def _has_hidden_spans(self, connection: Connection) -> bool:
        """Whether the roll-up counts spans that are being erased."""
        has: bool = await connection.fetchval(f"SELECT {HAS_ACTIVE_ERASURE}", self.project)
        return has

    async def _fetch_rolled_up(
        self, connection: Connection, hours: tuple[object, object]
    ) -> Sequence[SpanCell]:
        p = Parameters([self.project])
        given = ((name, getattr(self.query.matching, name)) for name in _ROLLED_UP)
        conditions = [
            Sql("s.hour >= {} AND s.hour < {}", hours),
            *(Sql(f"s.{name} = {{}}", (value,)) for name, value in given if value is not None),
            *(
                Sql(f"NOT ({known}s.{name} = ANY({{}}::text[]))", (sorted(others),))
                for name in _ROLLED_UP
                if (others := getattr(self.query.matching, f"not_{name}"))
                for known in ["s.has_model AND " if name == "model" else ""]
            ),
        ]
        if self.query.group_by is SpanGroupKey.MODEL or self.query.matching.model is not None:
            conditions.append(Sql("s.has_model"))
        sql = _SELECT_ROLLED_UP.format(
            bucket=self._bucket(p, "s.hour"),
            key=_KEYS[self.query.group_by],
            where=" AND ".join([f"s.{IN_PROJECT}", *p.all_of(conditions)]),
            limit=CELLS_MAX + 1,
        )
        return await self._cells(await connection.fetch(sql, *p.values), are_packed=True)

    async def _read(self, connection: Connection, period: Period) -> Sequence[SpanCell]:
        """From the spans that started in a part of the period."""
        matching = replace(
            self.query.matching, started_after=period.after, started_before=period.before
        )
        if self.query.group_by is SpanGroupKey.ERROR:
            if matching.has_error is False:
                return []
            matching = replace(matching, has_error=True)
        source = await find_source(connection, self.project, matching, self.few_traces)
        # If all spans that are read count, the query itself tells whether they are too many.
        counts_first = bool(source.rest) or self.query.group_by is SpanGroupKey.MODEL
        if counts_first and not source.is_small:
            await self._check_count(connection, source)
        p = Parameters([self.project])
        table = p.sql(source.table)
        where = [*source.served, *source.rest]
        if self.query.group_by is SpanGroupKey.MODEL:
            where.append(Sql("s.model IS NOT NULL"))
        key = _KEYS[self.query.group_by]
        # Without reading the status, the index of failed spans has all that is needed.
        are_failed = self.query.group_by is SpanGroupKey.ERROR
        columns = [_READ_COLUMNS, *([] if are_failed else ["s.status"])]
        sql = _SELECT_READ.format(
            columns=", ".join(columns if key == "s.kind" else [*columns, key]),
            bucket=self._bucket(p, "s.started_at"),
            key=key,
            starts=p.put(BIN_STARTS_US),
            failed="true" if are_failed else HAS_FAILED,
            unpriced=IS_UNPRICED,
            latency=LATENCY_US,
            table=table,
            where=source.where(p, where),
            most="" if counts_first or source.is_small else f"LIMIT {self.read_max + 1:d}",
            limit=CELLS_MAX + 1,
        )
        rows = await connection.fetch(sql, *p.values)
        if not source.is_small:
            check_read_count(sum(row["spans"] for row in rows), self.read_max)
        return await self._cells(rows, are_packed=False)

    async def _check_count(self, connection: Connection, source: SpanSource) -> None:
        """Raises Invalid if an index leads to too many spans."""
        p = Parameters([self.project])
        where = source.where(p, source.served)
        limit = f"LIMIT {p.put(self.read_max + 1)}::bigint"
        sql = f"SELECT count(*) FROM (SELECT 1 FROM spans AS s WHERE {where} {limit}) AS counted"
        check_read_count(await connection.fetchval(sql, *p.values), self.read_max)

    def _bucket(self, p: Parameters, instant: str) -> str:
        granularity = self.query.interval.granularity
        if granularity is None:
            return f"{p.put(self.query.period.after)}::timestamptz"
        # As date_trunc, which looks up the time zone for each instant and takes ten times as long.
        return f"date_bin(interval '1 {granularity}', {instant}, {_MONDAY})"

    async def _cells(self, rows: Sequence[Record], *, are_packed: bool) -> Sequence[SpanCell]:
        check_cell_count(len(rows))

        def cells() -> Sequence[SpanCell]:
            is_name = self.query.group_by is SpanGroupKey.NAME
            return [
                SpanCell(
                    row["bucket"],
                    name_group(row["key"]) if is_name else row["key"],
                    _figures_from_row(row, are_packed=are_packed),
                )
                for row in rows
            ]

        return await compute(cells, is_long=len(rows) > CELLS_ON_LOOP_MAX)


def _figures_from_row(row: Record, *, are_packed: bool) -> SpanFigures:
    bins: Mapping[int, int]
    if are_packed:
        bins = unpack_bins(row["bins"])
    else:
        bins = dict(zip(row["bins"] or (), row["counts"] or (), strict=True))
    return SpanFigures(
        spans=row["spans"],
        errors=row["errors"],
        latencies=row["latencies"],
        latency_us=int(row["latency_us"]),
        bins=bins,
        prompt_tokens=int(row["prompt_tokens"]),
        completion_tokens=int(row["completion_tokens"]),
        cost=row["cost"],
        unpriced=row["unpriced"],
    )
