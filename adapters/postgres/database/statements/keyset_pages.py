"""Keyset pagination: pages of a table ordered by a column, then by the id, NULLs last.

A page is read in one of two ways. A walk follows the index of the order and drops rows that do not
match: fast if many rows match, or without conditions. A sort reads all matches by other indexes:
fast if few rows match. This module chooses, not the planner, whose statistics know nothing about
one project among many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.columns import Table
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from domain.ids import ProjectId
from domain.page import OFFSET_MAX, Page, PageRequest, Position

NEAR_OFFSET_MAX: Final = 1_000  # up to this offset, counting from the near end is fast enough
# A walk may read this factor of the rows that it is expected to read, and some more: enough if
# matches are spread at random. If matches cluster at the far end, the sort takes over.
WALK_FACTOR: Final = 4
WALK_EXTRA_ROWS: Final = 1_000

_SELECT_PAGE: Final = """
SELECT matching.total, {columns}
FROM (SELECT {total} AS total) AS matching
LEFT JOIN ({page}) AS page ON true
ORDER BY {by}
"""


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """The number of matches, the rows of the page, and one more row if another page follows.

    With `total_is_at_least`, there may be more matches than `total`.
    """

    total: int
    rows: Sequence[Record] = ()
    total_is_at_least: bool = False

    def counted_up_to(self, most: int) -> "KeysetPage":
        """The page, if the counting of matches ended at `most` and one more."""
        if self.total <= most:
            return self
        return replace(self, total=most, total_is_at_least=True)

    def to_page[Item](
        self,
        limit: int,
        item_from_row: Callable[[Record], Item],
        position: Callable[[Item], Position],
    ) -> Page[Item]:
        """The page of items, with the position of the last one if more follow."""
        shown = [item_from_row(row) for row in self.rows[:limit]]
        has_more = len(self.rows) > limit
        end = position(shown[-1]) if has_more else None
        return Page(shown, self.total, end, self.total_is_at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConditions:
    """Conditions that all have to hold; $1 is the project.

    `served` are the conditions that the index of the order supports; at most `among` rows satisfy
    them. `total` is the number of matches, or None if the sort may count them. With
    `total_is_at_least`, counting ended at `total`, and there are more. With `keys`, the sort looks
    up the rows with these ids, and compares them with `key_conditions` alone.
    """

    served: Sequence[Sql] = ()
    rest: Sequence[Sql] = ()
    among: int
    total: int | None
    total_is_at_least: bool = False
    keys: Sql | None = None
    key_conditions: Sequence[Sql] = ()


def rows_of_keys(keys: str, *, table: str, key: str, columns: str, where: str) -> str:
    """A source of the rows with the ids that `keys` selects, each once, that satisfy `where`.

    Each is looked up by itself: a join might be planned over the whole project.
    """
    # No table has a column `wanted_key`, so `where` can name columns without their table.
    return (
        f"(SELECT found.* FROM (SELECT DISTINCT * FROM ({keys}) AS other_keys)"
        f" AS wanted (wanted_key) CROSS JOIN LATERAL (SELECT {columns} FROM {table}"
        f" WHERE {key} = wanted_key AND {where} OFFSET 0) AS found) AS matching_rows"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysetQuery:
    """A query for one page of the rows of a project, ordered by `value` and then by `id`."""

    project: ProjectId
    table: str
    id: str
    value: str
    columns: Sequence[str]
    down: bool
    window: PageRequest
    is_nullable: bool = False

    @classmethod
    def newest_first(
        cls, project: ProjectId, table: Table, window: PageRequest, *, by: str = "created_at"
    ) -> Self:
        return cls(
            project=project, table=table.name, id="id", value=by, columns=table.names, down=True,
            window=window,
        )  # fmt: skip

    async def fetch_served(self, connection: Connection, where: Sequence[Sql]) -> KeysetPage:
        """Fetches a page of a list whose index supports all conditions; in a snapshot."""
        p = Parameters([self.project])
        counting = f"SELECT count(*) FROM {self.table} WHERE {IN_PROJECT}"
        sql = " AND ".join([counting, *p.all_of(where)])
        total: int = await connection.fetchval(sql, *p.values)
        return await self.fetch_page(
            connection, PageConditions(served=where, among=total, total=total)
        )

    async def fetch_unfiltered(
        self, connection: Connection, total: Sql, served: Sequence[Sql] = ()
    ) -> KeysetPage | None:
        """Fetches a page near the start of an unfiltered list, in one statement.

        `served` are conditions that make the list; the index of the order supports them. Returns
        None if an erasure is active in the project: only `read_snapshot` can hide its rows.
        """
        p = Parameters([self.project])
        walk = self._walk(p, p.all_of(served), self.window.offset + self.rows)
        total_sql = f"CASE WHEN {HAS_ACTIVE_ERASURE} THEN -1 ELSE {p.sql(total)} END"
        page = await self.fetch_keys(connection, p, self.keys(p, walk), total_sql)
        return None if page.total < 0 else page

    async def fetch_page(self, connection: Connection, where: PageConditions) -> KeysetPage:
        """Fetches any page. The connection must be in the snapshot in which `where` was counted."""
        total, offset = where.total, self.window.offset
        if total is None:
            return await self._fetch_sorted(connection, where)
        is_at_least = where.total_is_at_least
        if offset >= total and not is_at_least:
            return KeysetPage(total)
        if not where.rest:
            page = await self._fetch_by_index(connection, where, total)
            return self._partly_counted(page) if is_at_least else page
        expected = min((offset + self.rows) * where.among // total, where.among)
        # Sorting reads all matches: if they are too many to count, walking is tried first.
        if 2 * expected <= total or is_at_least:
            page = await self._fetch_by_walk(connection, where, total, expected)
            if len(page.rows) == self.rows and is_at_least:
                return self._partly_counted(page)
            if len(page.rows) == min(self.rows, total - offset) and not is_at_least:
                return page
        return await self._fetch_sorted(connection, where)  # which counts them all

    def _partly_counted(self, page: KeysetPage) -> KeysetPage:
        seen = self.window.offset + len(page.rows) if page.rows else 0
        return replace(page, total=max(page.total, seen), total_is_at_least=True)

    async def _fetch_by_index(
        self, connection: Connection, where: PageConditions, total: int
    ) -> KeysetPage:
        p = Parameters([self.project])
        is_counted = not where.total_is_at_least
        rows = min(self.rows, total - self.window.offset) if is_counted else self.rows
        behind = total - self.window.offset - rows
        is_near_end = self.window.after is None and behind + NEAR_OFFSET_MAX < self.window.offset
        is_backwards = is_near_end and is_counted
        passed = behind if is_backwards else self.window.offset
        walk = self._walk(p, p.all_of(where.served), passed + rows, is_backwards=is_backwards)
        keys = self._cut(walk, rows if is_backwards else self.rows, p.put(passed))
        return await self.fetch_keys(connection, p, keys, f"{p.put(total)}::bigint")

    async def _fetch_by_walk(
        self, connection: Connection, where: PageConditions, total: int, expected: int
    ) -> KeysetPage:
        # The inner LIMIT is an optimisation barrier: the planner can't choose another path.
        p = Parameters([self.project])
        end = WALK_FACTOR * expected + WALK_EXTRA_ROWS
        walk = self._walk(p, p.all_of(where.served), end, columns="*")
        walk = f"SELECT * FROM ({walk}) AS ahead LIMIT {p.put(end)}::bigint"
        rest = " AND ".join(p.all_of(where.rest))
        keys = self.keys(p, f"SELECT {self._key_columns} FROM ({walk}) AS walked WHERE {rest}")
        return await self.fetch_keys(connection, p, keys, f"{p.put(total)}::bigint")

    async def _fetch_sorted(self, connection: Connection, where: PageConditions) -> KeysetPage:
        p = Parameters([self.project])
        if where.keys is None:
            conditions = " AND ".join([IN_PROJECT, *p.all_of([*where.served, *where.rest])])
            matches = f"SELECT {self._key_columns} FROM {self.table} WHERE {conditions}"
        else:
            conditions = " AND ".join([IN_PROJECT, *p.all_of(where.key_conditions)])
            rows = rows_of_keys(
                p.sql(where.keys),
                table=self.table,
                key=self.id,
                columns=self._key_columns,
                where=conditions,
            )
            matches = f"SELECT * FROM {rows}"
        keys = f"matches AS MATERIALIZED ({matches}), {self.sorted_keys(p, 'matches')}"
        return await self.fetch_keys(connection, p, keys, "(SELECT count(*) FROM matches)")

    async def fetch_keys(
        self, connection: Connection, p: Parameters, keys: str, total: str, page: str = ""
    ) -> KeysetPage:
        """Fetches the rows that the common table expressions `keys` select.

        The rows are those of `table`, or of `page` if it is given.
        """
        # Looks up the columns for the keys of the page only, so that skipped rows cost index
        # entries and no table rows. Each key is looked up by itself: for a project unknown to its
        # statistics, the planner would join by the project alone and read all of it for every key.
        page = page or (
            f"SELECT found.* FROM keys CROSS JOIN LATERAL (SELECT * FROM {self.table}"
            f" WHERE {IN_PROJECT} AND {self.id} = keys.id LIMIT 1) AS found"
        )
        columns = ", ".join(f"page.{column}" for column in self.columns)
        by = self._by(f"page.{self.value}", f"page.{self.id}")
        sql = f"WITH {keys} {_SELECT_PAGE.format(columns=columns, total=total, page=page, by=by)}"
        rows = await connection.fetch(sql, *p.values)
        return KeysetPage(rows[0]["total"], [row for row in rows if row[self.id] is not None])

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
        # The limit is in the SQL text, so that the planner knows how few rows there will be.
        return f"keys AS (SELECT * FROM ({source}) AS ahead LIMIT {rows:d} OFFSET {offset}::bigint)"

    def _walk(
        self,
        p: Parameters,
        where: Sequence[str],
        end: int,
        *,
        columns: str | None = None,
        is_backwards: bool = False,
    ) -> str:
        """The first `end` rows in order, or the last ones if `is_backwards`."""
        direction = "DESC" if self.down is not is_backwards else "ASC"
        by = f"{self.value} {direction}, {self.id} {direction}"
        limit = f"{p.put(min(end, OFFSET_MAX))}::bigint"
        branches = [
            f"(SELECT {columns or self._key_columns} FROM {self.table}"
            f" WHERE {' AND '.join([IN_PROJECT, *where, *more])}"
            f" ORDER BY {by} LIMIT {limit})"
            for more in self._branches(p)
        ]
        # UNION ALL runs the branches in order: the second starts when the first ends.
        return " UNION ALL ".join(reversed(branches) if is_backwards else branches)

    def _by(self, value: str, key: str) -> str:
        direction = "DESC" if self.down else "ASC"
        return f"{value} {direction} NULLS LAST, {key} {direction}"

    def _branches(self, p: Parameters) -> list[list[str]]:
        # An index has its NULLs at one end; a list has them last in both directions.
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
        """OR-ed conditions for rows after the cursor; empty without a cursor."""
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
