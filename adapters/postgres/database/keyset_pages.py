"""Pages of a table in one total order: by a column, then by the id, no value last.

Two ways lead to a page. Walking goes along the index of the order and drops what doesn't match:
for much that matches, and for no condition at all. Sorting takes all that matches by indexes of
their own: for little. Which one is said here and not left to the planner, whose statistics know
nothing of one project among many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import IS_VEILED
from adapters.postgres.database.sql_builder import Parameters, Sql
from domain.ids import ProjectId
from domain.page import PageRequest, Position

NEAR: Final = 1_000  # an offset up to which it doesn't matter from which end one counts
# Rows that a walk may pass for each that it was expected to pass, and beside: enough for what is
# spread at random. Where matches lie together at the far end, sorting takes over.
WALK_FACTOR: Final = 4
WALK_MORE: Final = 1_000

_LOOK_UP: Final = """
SELECT matching.total, {columns}
FROM (SELECT {total} AS total) AS matching
LEFT JOIN ({page}) AS page ON true
ORDER BY {by}
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The number of matches; the rows of the page, and one more where more follow."""

    total: int
    rows: Sequence[Record] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Conditions that all have to hold; in them $1 is the project.

    Those of `served` are what the index of the order is entered by; `among` is a number of rows
    that they admit at most. `total`: how many rows match, None where sorting may count them.
    """

    served: Sequence[Sql] = ()
    rest: Sequence[Sql] = ()
    among: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A page of the rows of a project in `table`, ordered by `value` and then by `id`."""

    project: ProjectId
    table: str
    id: str
    value: str
    columns: Sequence[str]
    down: bool
    window: PageRequest
    is_nullable: bool = False

    async def among_all(self, connection: Connection, total: Sql) -> Found | None:
        """Where nothing narrows the list and the page is near; one statement, so one moment.

        None where something of the project is being erased: a snapshot hides it.
        """
        p = Parameters([self.project])
        walk = self._walked(p, [], self.window.offset + self.rows)
        told = f"CASE WHEN {IS_VEILED} THEN -1 ELSE {p.sql(total)} END"
        found = await self.fetch(connection, p, self.keys(p, walk), told)
        return None if found.total < 0 else found

    async def matching(self, connection: Connection, where: Where) -> Found:
        """Any page; in a snapshot, where `where` was counted too."""
        total, offset = where.total, self.window.offset
        if total is None:
            return await self._sorted(connection, where)
        if offset >= total:
            return Found(total)
        if not where.rest:
            return await self._straight(connection, where, total)
        expected = (offset + self.rows) * where.among // total
        if 2 * expected <= total:
            found = await self._dropping(connection, where, total, expected)
            if len(found.rows) == min(self.rows, total - offset):
                return found
        return await self._sorted(connection, where)

    async def _straight(self, connection: Connection, where: Where, total: int) -> Found:
        p = Parameters([self.project])
        rows = min(self.rows, total - self.window.offset)
        behind = total - self.window.offset - rows
        is_backwards = self.window.after is None and behind + NEAR < self.window.offset
        passed = behind if is_backwards else self.window.offset
        walk = self._walked(p, p.all_of(where.served), passed + rows, is_backwards=is_backwards)
        keys = self._cut(walk, rows if is_backwards else self.rows, p.put(passed))
        return await self.fetch(connection, p, keys, f"{p.put(total)}::bigint")

    async def _dropping(
        self, connection: Connection, where: Where, total: int, expected: int
    ) -> Found:
        # The limit inside is a wall: the planner can't take another way past it.
        p = Parameters([self.project])
        end = WALK_FACTOR * expected + WALK_MORE
        walk = self._walked(p, p.all_of(where.served), end, columns="*")
        walk = f"SELECT * FROM ({walk}) AS ahead LIMIT {p.put(end)}::bigint"
        rest = " AND ".join(p.all_of(where.rest))
        keys = self.keys(p, f"SELECT {self._key_columns} FROM ({walk}) AS walked WHERE {rest}")
        return await self.fetch(connection, p, keys, f"{p.put(total)}::bigint")

    async def _sorted(self, connection: Connection, where: Where) -> Found:
        p = Parameters([self.project])
        conditions = [OF_PROJECT, *p.all_of([*where.served, *where.rest])]
        matches = f"SELECT {self._key_columns} FROM {self.table} WHERE {' AND '.join(conditions)}"
        keys = f"matches AS MATERIALIZED ({matches}), {self.sorted_keys(p, 'matches')}"
        return await self.fetch(connection, p, keys, "(SELECT count(*) FROM matches)")

    async def fetch(
        self, connection: Connection, p: Parameters, keys: str, total: str, page: str = ""
    ) -> Found:
        """What `keys`, common tables, lead to: rows of `table`, or of `page` where it is given."""
        # Columns are looked up for the keys of the page alone: what is passed over on the way
        # there costs entries of an index, and no rows.
        # For each of them by itself: of a project that its statistics don't know the planner takes
        # a join to be cheapest by the project alone, and looks at all of it for every key.
        page = page or (
            f"SELECT found.* FROM keys CROSS JOIN LATERAL (SELECT * FROM {self.table}"
            f" WHERE {OF_PROJECT} AND {self.id} = keys.id LIMIT 1) AS found"
        )
        columns = ", ".join(f"page.{column}" for column in self.columns)
        by = self._by(f"page.{self.value}", f"page.{self.id}")
        sql = f"WITH {keys} {_LOOK_UP.format(columns=columns, total=total, page=page, by=by)}"
        rows = await connection.fetch(sql, *p.values)
        return Found(rows[0]["total"], [row for row in rows if row[self.id] is not None])

    @property
    def rows(self) -> int:
        return self.window.limit + 1  # one more tells whether more follow

    @property
    def _key_columns(self) -> str:
        return f"{self.value} AS value, {self.id} AS id"

    def keys(self, p: Parameters, source: str) -> str:
        """The common table of the keys of the page, out of `source`, which is in order."""
        return self._cut(source, self.rows, p.put(self.window.offset))

    def sorted_keys(self, p: Parameters, source: str) -> str:
        """As `keys`, of a relation of values and ids that is in no order."""
        conditions = self._after(p, "value", "id")
        where = f"WHERE {' OR '.join(conditions)}" if conditions else ""
        by = self._by("value", "id")
        return self.keys(p, f"SELECT * FROM {source} {where} ORDER BY {by}")

    def _cut(self, source: str, rows: int, offset: str) -> str:
        # The limit is part of the text: the planner has to know how few rows there will be.
        return f"keys AS (SELECT * FROM ({source}) AS ahead LIMIT {rows:d} OFFSET {offset}::bigint)"

    def _walked(
        self,
        p: Parameters,
        where: Sequence[str],
        end: int,
        *,
        columns: str | None = None,
        is_backwards: bool = False,
    ) -> str:
        """The first `end` rows, or the last, in order or against it."""
        direction = "DESC" if self.down is not is_backwards else "ASC"
        by = f"{self.value} {direction}, {self.id} {direction}"
        limit = f"{p.put(end)}::bigint"
        branches = [
            f"(SELECT {columns or self._key_columns} FROM {self.table}"
            f" WHERE {' AND '.join([OF_PROJECT, *where, *more])}"
            f" ORDER BY {by} LIMIT {limit})"
            for more in self._branches(p)
        ]
        # One after the other: the first isn't left before it ends.
        return " UNION ALL ".join(reversed(branches) if is_backwards else branches)

    def _by(self, value: str, key: str) -> str:
        direction = "DESC" if self.down else "ASC"
        return f"{value} {direction} NULLS LAST, {key} {direction}"

    def _branches(self, p: Parameters) -> list[list[str]]:
        # An index has its NULLs at one end, a list has them last in either direction.
        after = self._after(p, self.value, self.id)
        if not self.is_nullable:
            return [after]
        has_value, has_none = f"{self.value} IS NOT NULL", f"{self.value} IS NULL"
        match after:
            case []:
                return [[has_value], [has_none]]
            case [beyond_value, beyond_all]:
                return [[has_value, beyond_value], [beyond_all]]
            case _:
                return [[has_none, *after]]

    def _after(self, p: Parameters, value: str, key: str) -> list[str]:
        """Of these conditions one holds for what comes after the window's position; none: all."""
        match self.window.after:
            case None:
                return []
            case Position(None, last):
                return [f"({value} IS NULL AND {key} {self._sign} {p.put(last)})"]
            case Position(reached, last):
                row = f"({value}, {key}) {self._sign} ({p.put(reached)}, {p.put(last)})"
                return [row, f"{value} IS NULL"] if self.is_nullable else [row]

    @property
    def _sign(self) -> str:
        return "<" if self.down else ">"
