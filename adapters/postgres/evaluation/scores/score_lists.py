"""Lists of scores, newest first, with exact totals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.keyset_pages import NEAR, Found, Ordered, Where
from adapters.postgres.database.pool import OF_PROJECT, Connection, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, reading, snapshot
from adapters.postgres.database.sql_builder import Parameters, Sql
from adapters.postgres.evaluation.scores.score_rows import ScoreTable
from domain.evaluation.scores.query import ScoreFilter, list_position
from domain.evaluation.scores.score import Score, ScoreOutcome, ScoreStatus
from domain.ids import ProjectId
from domain.page import Page, PageRequest

ADVICE: Final = "narrow the list with date_from and date_to, or with another filter"
EQUAL: Final = (
    *("trace_id", "session_id", "environment", "name"),
    *("source", "outcome", "data_type", "run_id"),
)
ALL_ADVICE: Final = "ask for a page of the list instead"
# The index of each of these goes on with the order of the list: matches are one piece of it. The
# first that is asked for is entered, as the one that has the least.
PIECES: Final = ("run_id", "name")
FEW: Final = ("trace_id", "session_id")  # of which there are so few that they are sorted


@dataclass(frozen=True, slots=True)
class ScoreLists[S: Score]:
    """Each list is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    table: ScoreTable[S]
    timeout_s: float = READ_TIMEOUT_S

    async def page(self, project: ProjectId, matching: ScoreFilter, window: PageRequest) -> Page[S]:
        ordered = Ordered(
            project=project,
            table=self.table.name,
            id="id",
            value="created_at",
            columns=self.table.names,
            down=True,
            window=window,
        )
        where = conditions(self.table, matching)
        found = None
        if not where and window.offset <= NEAR:
            async with reading(self.pool, ADVICE, self.timeout_s) as connection:
                found = await ordered.among_all(connection, self._count_all)
        if found is None:
            async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
                found = await self._narrowed(connection, ordered, where)
        items = [self.table.score(row) for row in found.rows]
        shown = items[: window.limit]
        end = list_position(shown[-1]) if len(items) > len(shown) else None
        return Page(shown, found.total, end)

    async def all(self, project: ProjectId, column: str, value: object) -> Sequence[S]:
        """Those with a value in a column, newest first."""
        sql = f"""
        SELECT {self.table.select()} FROM {self.table.name}
        WHERE {OF_PROJECT} AND {column} = $2 ORDER BY created_at DESC, id DESC
        """
        async with snapshot(self.pool, ALL_ADVICE, self.timeout_s, shown_of=project) as connection:
            rows = await connection.fetch(sql, project, value)
        return [self.table.score(row) for row in rows]

    @property
    def _count_all(self) -> Sql:
        return Sql(f"(SELECT count(*) FROM {self.table.name} WHERE {OF_PROJECT})")

    async def _narrowed(
        self, connection: Connection, ordered: Ordered, where: dict[str, Sql]
    ) -> Found:
        if any(column in where for column in FEW):
            few = Where(rest=list(where.values()), among=0, total=None)
            return await ordered.matching(connection, few)
        entered = {"created_at", next((one for one in PIECES if one in where), "created_at")}
        served = [sql for column, sql in where.items() if column in entered]
        rest = [sql for column, sql in where.items() if column not in entered]
        p = Parameters([ordered.project])
        among = " AND ".join([OF_PROJECT, *p.all_of(served)])
        matches = " AND ".join(p.all_of(rest)) or "true"
        sql = f"SELECT count(*), count(*) FILTER (WHERE {matches}) FROM {self.table.name}"
        row = await connection.fetchrow(f"{sql} WHERE {among}", *p.values)
        assert row is not None  # an aggregate
        return await ordered.matching(
            connection, Where(served=served, rest=rest, among=row[0], total=row[1])
        )


def conditions[S: Score](table: ScoreTable[S], matching: ScoreFilter) -> dict[str, Sql]:
    """What `ScoreFilter.matches` says, all of which has to hold, by the column that it regards."""
    found = {column: Sql(f"{column} = {{}}", (value,)) for column, value in _equal(matching)}
    if (status := matching.status) is not None:
        found["status"] = Sql("outcome = ANY({}::text[])", (_outcomes(status),))
    bounds = [(">=", matching.created_after), ("<", matching.created_before)]
    if within := [(sign, bound) for sign, bound in bounds if bound is not None]:
        sql = " AND ".join(f"created_at {sign} {{}}" for sign, _ in within)
        found["created_at"] = Sql(sql, tuple(bound for _, bound in within))
    for column in {"trace_id", "environment", "session_id"} & found.keys() - set(table.names):
        found[column] = Sql("false")  # no score of this kind has it
    return found


def _equal(matching: ScoreFilter) -> Iterator[tuple[str, object]]:
    for column in EQUAL:
        if (value := getattr(matching, column)) is not None:
            yield column, value


def _outcomes(status: ScoreStatus) -> list[str]:
    return [one for one in ScoreOutcome if one.status is status]
