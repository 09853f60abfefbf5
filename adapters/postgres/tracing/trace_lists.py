"""The list of traces: totals, and pages whose cost depends on what they show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import RETRY_LATER, PoolReader
from adapters.postgres.database.statements.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetPage,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.tracing.trace_filters import (
    COUNT_ALL_TRACES,
    FilterCounts,
    count_traces,
    fetch_counts,
    filter_clauses,
)
from adapters.postgres.tracing.trace_rows import SUMMARY_COLUMNS, summary_from_row
from domain.ids import ProjectId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import COUNTED_TRACES_MAX, TraceFilter, TraceSort, fold_case
from domain.tracing.text_preview import TracePreview
from domain.tracing.trace import TraceSummary

SORTED_TRACES_MAX: Final = 20_000  # up to this many matches are sorted: counting takes as long

NARROW_LIST: Final = (
    "narrow the list with started_after and started_before, or with session_id, user_id, "
    "environment, release, status, model or one of tags"
)
COUNT_TRACES: Final = Sql(f"coalesce({COUNT_ALL_TRACES.text}, 0)::bigint")
SORT_COLUMNS: Final = {
    TraceSort.STARTED_AT: "started_at",
    TraceSort.ENDED_AT: "ended_at",
    TraceSort.NAME: "name",
    TraceSort.LATENCY: "latency_us",
    TraceSort.STATUS: "status",
    TraceSort.COST: "total_cost",
    TraceSort.TOKENS: "total_tokens",
    TraceSort.SPAN_COUNT: "span_count",
}
_NULLABLE_SORTS: Final = {TraceSort.ENDED_AT, TraceSort.LATENCY}

# OFFSET 0 makes it a lookup for each trace. A join might be planned over a whole project.
SELECT_PREVIEWS: Final = f"""
SELECT traces.trace_id, input_preview, output_preview, models
FROM visible_traces AS traces LEFT JOIN LATERAL (
  SELECT input_preview, output_preview FROM trace_payloads
  WHERE trace_payloads.{IN_PROJECT} AND trace_payloads.trace_id = traces.trace_id AND start = 0
  OFFSET 0
) AS payloads ON true
WHERE traces.{IN_PROJECT} AND traces.trace_id = ANY($2::uuid[])
"""


@dataclass(frozen=True, slots=True)
class TraceLists(PoolReader):
    """Each list is read from one snapshot."""

    sorted_max: int = field(default=SORTED_TRACES_MAX, kw_only=True)
    counted_max: int = field(default=COUNTED_TRACES_MAX, kw_only=True)

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        query = KeysetQuery(
            project=project,
            table="traces",
            id="trace_id",
            value=SORT_COLUMNS[sort],
            columns=SUMMARY_COLUMNS,
            down=order is SortOrder.DESC,
            window=window,
            is_nullable=sort in _NULLABLE_SORTS,
        )
        clauses, part = filter_clauses(project, matching), fold_case(matching.name or "")
        page = None
        if not clauses and not part and window.offset <= NEAR_OFFSET_MAX:
            async with self._statement(NARROW_LIST, project) as connection:
                page = await query.fetch_unfiltered(connection, COUNT_TRACES)
        if page is None:
            async with self._visible_by_key(NARROW_LIST, project) as connection:
                page = await self._fetch_filtered(connection, query, matching, sort)
        return page.to_page(window.limit, summary_from_row, sort.position)

    async def _fetch_filtered(
        self, connection: Connection, query: KeysetQuery, matching: TraceFilter, sort: TraceSort
    ) -> KeysetPage:
        """A page of the traces that match. `connection` is for statements that find rows by keys.

        Only the counts are found by keys: they end with the wish for plans by value.
        """
        project, window = query.project, query.window
        clauses, part = filter_clauses(project, matching), fold_case(matching.name or "")
        counted = await fetch_counts(connection, project, clauses, part)
        total, is_partly = counted.total, False
        if total is None and counted.most > self.sorted_max:
            most = None if window.counts_all else self.counted_max + 1
            if most is not None and counted.least >= most:  # the roll-ups tell that many match
                total = most
            else:
                total = await count_traces(connection, project, counted, most)
            if is_partly := total == most:
                total = self.counted_max
        where = _page_conditions(counted, sort, total, total_is_at_least=is_partly)
        return await query.fetch_page(connection, where)

    async def previews(
        self, project: ProjectId, traces: Sequence[TraceId]
    ) -> Mapping[TraceId, TracePreview]:
        rows = await self._fetch(RETRY_LATER, project, SELECT_PREVIEWS, project, traces)
        return {row[0]: TracePreview(row[1], row[2], tuple(row[3])) for row in rows}


def _page_conditions(
    counted: FilterCounts, sort: TraceSort, total: int | None, *, total_is_at_least: bool
) -> PageConditions:
    # The index of the order is used with all ranges, and with the most selective single value.
    served = [one for one in counted.clauses if sort in one.clause.sorts]
    single = [one for one in served if not one.clause.is_range]
    rarest = min(single, key=lambda one: one.most or 0, default=None)
    inner = [one for one in served if one.clause.is_range or one is rarest]
    keyed = counted.keyed
    return PageConditions(
        served=[one.clause.sql for one in inner],
        rest=[one.clause.sql for one in counted.clauses if one not in inner],
        among=min([counted.all, *(one.most for one in inner if one.most is not None)]),
        total=total,
        total_is_at_least=total_is_at_least,
        keys=None if keyed is None else keyed.clause.keys,
        key_conditions=[one.clause.sql for one in counted.clauses if one is not keyed],
    )
