"""Lists of scores, newest first, with exact totals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.keyset_pages import (
    NEAR_OFFSET_MAX,
    KeysetPage,
    KeysetQuery,
    PageConditions,
)
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import (
    READ_TIMEOUT_S,
    read_connection,
    read_snapshot,
)
from adapters.postgres.database.sql_builder import Parameters, Sql
from adapters.postgres.evaluation.scores.score_rows import ScoreTable
from domain.evaluation.scores.score import (
    Score,
    ScoreFilter,
    ScoreOutcome,
    ScoreStatus,
    list_position,
)
from domain.ids import ProjectId
from domain.page import Page, PageRequest

NARROW_LIST: Final = "narrow the list with date_from and date_to, or with another filter"
EQUALITY_COLUMNS: Final = (
    *("trace_id", "session_id", "environment", "name"),
    *("source", "outcome", "data_type", "run_id"),
)
ASK_FOR_A_PAGE: Final = "ask for a page of the list instead"
# Each of these has an index that continues with the order of the list, so that matches are one
# range of it. The first one in the filter is used, since it selects the fewest rows.
INDEX_PREFIX_COLUMNS: Final = ("run_id", "name")
SELECTIVE_COLUMNS: Final = (
    "trace_id",
    "session_id",
)  # few rows match each of these: they are sorted


@dataclass(frozen=True, slots=True)
class ScoreLists[S: Score]:
    """Each list is read from one snapshot, and takes at most `timeout_s`."""

    pool: Pool
    table: ScoreTable[S]
    timeout_s: float = READ_TIMEOUT_S

    async def page(self, project: ProjectId, matching: ScoreFilter, window: PageRequest) -> Page[S]:
        query = KeysetQuery(
            project=project,
            table=self.table.name,
            id="id",
            value="created_at",
            columns=self.table.names,
            down=True,
            window=window,
        )
        where = filter_conditions(self.table, matching)
        found = None
        if not where and window.offset <= NEAR_OFFSET_MAX:
            async with read_connection(self.pool, NARROW_LIST, self.timeout_s) as connection:
                found = await query.fetch_unfiltered(connection, self._count_all)
        if found is None:
            async with read_snapshot(
                self.pool, NARROW_LIST, self.timeout_s, hide_erased_in=project
            ) as connection:
                found = await self._narrowed(connection, query, where)
        items = [self.table.score(row) for row in found.rows]
        shown = items[: window.limit]
        end = list_position(shown[-1]) if len(items) > len(shown) else None
        return Page(shown, found.total, end)

    async def all(self, project: ProjectId, column: str, value: object) -> Sequence[S]:
        """All scores with a value in a column, newest first."""
        sql = f"""
        SELECT {self.table.select()} FROM {self.table.name}
        WHERE {OF_PROJECT} AND {column} = $2 ORDER BY created_at DESC, id DESC
        """
        async with read_snapshot(
            self.pool, ASK_FOR_A_PAGE, self.timeout_s, hide_erased_in=project
        ) as connection:
            rows = await connection.fetch(sql, project, value)
        return [self.table.score(row) for row in rows]

    @property
    def _count_all(self) -> Sql:
        return Sql(f"(SELECT count(*) FROM {self.table.name} WHERE {OF_PROJECT})")

    async def _narrowed(
        self, connection: Connection, query: KeysetQuery, where: dict[str, Sql]
    ) -> KeysetPage:
        if any(column in where for column in SELECTIVE_COLUMNS):
            few = PageConditions(rest=list(where.values()), among=0, total=None)
            return await query.fetch_page(connection, few)
        entered = {
            "created_at",
            next((one for one in INDEX_PREFIX_COLUMNS if one in where), "created_at"),
        }
        served = [sql for column, sql in where.items() if column in entered]
        rest = [sql for column, sql in where.items() if column not in entered]
        p = Parameters([query.project])
        among = " AND ".join([OF_PROJECT, *p.all_of(served)])
        matches = " AND ".join(p.all_of(rest)) or "true"
        sql = f"SELECT count(*), count(*) FILTER (WHERE {matches}) FROM {self.table.name}"
        row = await connection.fetchrow(f"{sql} WHERE {among}", *p.values)
        assert row is not None  # an aggregate
        return await query.fetch_page(
            connection, PageConditions(served=served, rest=rest, among=row[0], total=row[1])
        )


def filter_conditions[S: Score](table: ScoreTable[S], matching: ScoreFilter) -> dict[str, Sql]:
    """The conditions of `ScoreFilter.matches`, all of which have to hold, by column."""
    found = {
        column: Sql(f"{column} = {{}}", (value,)) for column, value in _equality_values(matching)
    }
    if (status := matching.status) is not None:
        found["status"] = Sql("outcome = ANY({}::text[])", (_outcomes(status),))
    bounds = [(">=", matching.created_after), ("<", matching.created_before)]
    if within := [(sign, bound) for sign, bound in bounds if bound is not None]:
        sql = " AND ".join(f"created_at {sign} {{}}" for sign, _ in within)
        found["created_at"] = Sql(sql, tuple(bound for _, bound in within))
    for column in {"trace_id", "environment", "session_id"} & found.keys() - set(table.names):
        found[column] = Sql("false")  # no score of this target type has it
    return found


def _equality_values(matching: ScoreFilter) -> Iterator[tuple[str, object]]:
    for column in EQUALITY_COLUMNS:
        if (value := getattr(matching, column)) is not None:
            yield column, value


def _outcomes(status: ScoreStatus) -> list[str]:
    return [one for one in ScoreOutcome if one.status is status]
