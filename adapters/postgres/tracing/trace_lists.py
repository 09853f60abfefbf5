"""The list of traces: exact totals, and pages whose cost is bounded by what they show."""

from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.keyset_pages import NEAR, Ordered, Where
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.sql_builder import Sql
from adapters.postgres.tracing.counts import Counts, count, counts
from adapters.postgres.tracing.trace_filters import ALL_TRACES, clauses_of
from adapters.postgres.tracing.trace_rows import SUMMARY_COLUMNS, summary_of
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.query import TraceFilter, TraceSort, fold_case
from domain.tracing.trace import TraceSummary

COUNTABLE: Final = 20_000  # traces that are sorted, since counting them would take as long

ADVICE: Final = (
    "narrow the list with started_after and started_before, or with session_id, user_id, "
    "environment, release, status, model or one of tags"
)
TOTAL: Final = Sql(f"coalesce({ALL_TRACES.text}, 0)::bigint")
VALUES: Final = {
    TraceSort.STARTED_AT: "started_at",
    TraceSort.ENDED_AT: "ended_at",
    TraceSort.NAME: "name",
    TraceSort.LATENCY: "latency_us",
    TraceSort.STATUS: "status",
}
_NULLABLE: Final = {TraceSort.ENDED_AT, TraceSort.LATENCY}


@dataclass(frozen=True, slots=True)
class TraceLists:
    """Each list is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def summaries(
        self,
        project: ProjectId,
        matching: TraceFilter,
        sort: TraceSort,
        order: SortOrder,
        window: PageRequest,
    ) -> Page[TraceSummary]:
        """As `Traces.summaries`."""
        ordered = Ordered(
            project=project,
            table="traces",
            id="trace_id",
            value=VALUES[sort],
            columns=SUMMARY_COLUMNS,
            down=order is SortOrder.DESC,
            window=window,
            is_nullable=sort in _NULLABLE,
        )
        clauses, part = clauses_of(project, matching), fold_case(matching.name or "")
        found = None
        if not clauses and not part and window.offset <= NEAR:
            async with reading(self.pool, ADVICE, self.timeout_s) as connection:
                found = await ordered.among_all(connection, TOTAL)
        if found is None:
            async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
                counted = await counts(connection, project, clauses, part)
                total = counted.total
                if total is None and counted.most > COUNTABLE:
                    total = await count(connection, project, counted.clauses)
                found = await ordered.matching(connection, _where(counted, sort, total))
        items = [summary_of(row) for row in found.rows]
        shown = items[: window.limit]
        end = sort.position(shown[-1]) if len(items) > len(shown) else None
        return Page(shown, found.total, end)


def _where(counted: Counts, sort: TraceSort, total: int | None) -> Where:
    # The order is entered by all ranges, and by the rarest of single values.
    served = [one for one in counted.clauses if sort in one.clause.sorts]
    single = [one for one in served if not one.clause.is_range]
    rarest = min(single, key=lambda one: one.most or 0, default=None)
    inner = [one for one in served if one.clause.is_range or one is rarest]
    return Where(
        served=[one.clause.sql for one in inner],
        rest=[one.clause.sql for one in counted.clauses if one not in inner],
        among=min([counted.all, *(one.most for one in inner if one.most is not None)]),
        total=total,
    )
