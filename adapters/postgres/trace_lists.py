"""The list of traces: exact totals, and pages whose cost is bounded by what they show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.conditions import ALL, clauses_of
from adapters.postgres.engine import Connection, Pool
from adapters.postgres.fragments import Parameters
from adapters.postgres.ordered import Ordered, walk_bound
from adapters.postgres.rows import totals_of
from adapters.postgres.snapshots import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.totals import Counted, Counts, count, counts
from domain.ids import ProjectId, TraceId
from domain.page import Page, SortOrder, Window
from domain.tracing.query import TraceFilter, TraceSort, folded
from domain.tracing.trace import TraceStatus, TraceSummary

NEAR: Final = 1_000  # an offset up to which it doesn't matter from which end one counts
FEW: Final = 2_000  # traces that are sorted as they are, whatever share of all they make up

ADVICE: Final = (
    "narrow the list with started_after and started_before, or with session_id, user_id, "
    "environment, release, status, model or one of tags"
)
COLUMNS: Final = (
    "trace_id", "name", "status", "started_at", "ended_at", "session_id", "user_id",
    "environment", "release", "tags", "span_count", "error_span_count", "prompt_tokens",
    "completion_tokens", "total_cost",
)  # fmt: skip
# The columns of a page are looked up for its keys alone: what is passed over on the way there
# costs entries of an index, and no rows.
_LOOK_UP: Final = f"""
SELECT matching.total, {", ".join(f"page.{column}" for column in COLUMNS)}
FROM (SELECT {{total}} AS total) AS matching
LEFT JOIN (
  keys JOIN traces ON traces.project_id = $1 AND traces.trace_id = keys.id
) AS page ON true
ORDER BY {{by}}
"""
_VALUES: Final = {
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
        window: Window,
    ) -> Page[TraceSummary]:
        """As `Traces.summaries`."""
        listing = _Listing(project, sort, order is SortOrder.DESC, window)
        clauses, part = clauses_of(project, matching), folded(matching.name or "")
        if not clauses and not part and window.offset <= NEAR:
            async with reading(self.pool, ADVICE, self.timeout_s) as connection:
                return await listing.of_all(connection)
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            found = await counts(connection, project, clauses, part)
            return await listing.of_some(connection, found)


@dataclass(frozen=True, slots=True)
class _Listing:
    """One page of one list."""

    project: ProjectId
    sort: TraceSort
    down: bool
    window: Window

    async def of_all(self, connection: Connection) -> Page[TraceSummary]:
        """Where nothing narrows the list; one statement, and so one moment."""
        p = Parameters([self.project])
        end = self.window.offset + self.rows
        keys = self._keys(self.ordered.walked(p, [], end), p.put(self.window.offset))
        total = f"coalesce({p.sql(ALL)}, 0)::bigint"
        return self._page(await connection.fetch(self._look_up(keys, total), *p.values))

    async def of_some(self, connection: Connection, found: Counts) -> Page[TraceSummary]:
        total = found.total
        if total is None and found.most > FEW:
            total = await count(connection, self.project, found.clauses)
        if total is not None and self.window.offset >= total:
            return Page([], total)
        if total is not None and total > FEW:
            page = await self._walked(connection, found, total)
            if page is not None:
                return page
        return await self._sorted(connection, found.clauses)

    async def _walked(
        self, connection: Connection, found: Counts, total: int
    ) -> Page[TraceSummary] | None:
        """None where walking would take, or took, longer than sorting."""
        inner = self._served(found.clauses)
        rest = [one for one in found.clauses if one not in inner]
        p = Parameters([self.project])
        where = p.all_of(one.clause.sql for one in inner)
        if not rest:
            return await self._walked_straight(connection, p, where, total)
        among = min([found.all, *(one.most for one in inner if one.most is not None)])
        end = walk_bound(self.window.offset + self.rows, among, total)
        if end >= total:
            return None
        walk = self.ordered.walked(p, where, end, columns="*")
        conditions = " AND ".join(p.all_of(one.clause.sql for one in rest))
        keys = self._keys(
            f"SELECT {self.ordered.keys} FROM ({walk}) AS walked WHERE {conditions}",
            p.put(self.window.offset),
        )
        rows = await connection.fetch(self._look_up(keys, f"{p.put(total)}::bigint"), *p.values)
        found_rows = sum(row["trace_id"] is not None for row in rows)
        is_full = found_rows == min(self.rows, total - self.window.offset)
        return self._page(rows) if is_full else None

    async def _walked_straight(
        self, connection: Connection, p: Parameters, where: Sequence[str], total: int
    ) -> Page[TraceSummary]:
        rows = min(self.rows, total - self.window.offset)
        behind = total - self.window.offset - rows
        if self.window.after is None and behind + NEAR < self.window.offset:
            walk = self.ordered.walked(p, where, behind + rows, is_backwards=True)
            keys = self._keys(walk, p.put(behind), rows)
        else:
            walk = self.ordered.walked(p, where, self.window.offset + rows)
            keys = self._keys(walk, p.put(self.window.offset))
        sql = self._look_up(keys, f"{p.put(total)}::bigint")
        return self._page(await connection.fetch(sql, *p.values))

    async def _sorted(
        self, connection: Connection, clauses: Sequence[Counted]
    ) -> Page[TraceSummary]:
        p = Parameters([self.project])
        where = " AND ".join(["project_id = $1", *p.all_of(one.clause.sql for one in clauses)])
        matches = f"SELECT {self.ordered.keys} FROM traces WHERE {where}"
        keys = self._keys(self.ordered.sorted(p, "matches"), p.put(self.window.offset))
        sql = self._look_up(keys, "(SELECT count(*) FROM matches)")
        sql = sql.replace("WITH ", f"WITH matches AS MATERIALIZED ({matches}), ", 1)
        return self._page(await connection.fetch(sql, *p.values))

    def _served(self, clauses: Sequence[Counted]) -> list[Counted]:
        """The clauses that narrow the walk itself: all ranges, and the rarest of single values."""
        served = [one for one in clauses if self.sort in one.clause.sorts]
        single = [one for one in served if not one.clause.is_range]
        rarest = min(single, key=lambda one: one.most or 0, default=None)
        return [one for one in served if one.clause.is_range or one is rarest]

    @property
    def ordered(self) -> Ordered:
        return Ordered(
            table="traces",
            id="trace_id",
            value=_VALUES[self.sort],
            is_nullable=self.sort in _NULLABLE,
            down=self.down,
            after=self.window.after,
        )

    @property
    def rows(self) -> int:
        return self.window.limit + 1  # one more tells whether more follow

    def _keys(self, source: str, offset: str, rows: int | None = None) -> str:
        # The limit is part of the text: the planner has to know how few rows there will be.
        return f"SELECT * FROM ({source}) AS ahead LIMIT {rows or self.rows:d} OFFSET {offset}"

    def _look_up(self, keys: str, total: str) -> str:
        by = self.ordered.by(f"page.{_VALUES[self.sort]}", "page.trace_id")
        return f"WITH keys AS ({keys}) {_LOOK_UP.format(total=total, by=by)}"

    def _page(self, rows: Sequence[Record]) -> Page[TraceSummary]:
        total = rows[0]["total"]
        items = [_summary(row) for row in rows if row["trace_id"] is not None]
        shown = items[: self.window.limit]
        return Page(
            shown, total, self.sort.position(shown[-1]) if len(items) > len(shown) else None
        )


def _summary(row: Record) -> TraceSummary:
    return TraceSummary(
        id=TraceId(row["trace_id"]),
        name=row["name"],
        status=TraceStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        session_id=row["session_id"],
        user_id=row["user_id"],
        environment=row["environment"],
        release=row["release"],
        tags=tuple(row["tags"]),
        totals=totals_of(row),
    )
