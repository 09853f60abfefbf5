"""Pages of a table in one total order: by a column, then by the id, no value last.

Two ways lead to a page. Walking goes along the index of the order and drops what doesn't match:
for much that matches, and for no condition at all. Sorting takes all that matches by indexes of
their own: for little. Which one is said here and not left to the planner, whose statistics know
nothing of one project among many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.fragments import Parameters
from domain.page import Position

# Rows that a walk may pass for each that it was expected to pass, and beside: enough for what is
# spread at random. Where matches lie together at the far end, sorting takes over.
WALK_FACTOR: Final = 4
WALK_MORE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The rows of a project in `table`, ordered by `value` and then by `id`, columns both."""

    table: str
    id: str
    value: str
    is_nullable: bool
    down: bool
    after: Position | None = None

    @property
    def keys(self) -> str:
        return f"{self.value} AS value, {self.id} AS id"

    def walked(
        self,
        p: Parameters,
        where: Sequence[str],
        end: int,
        *,
        columns: str | None = None,
        is_backwards: bool = False,
    ) -> str:
        """The first `end` rows where all of `where` holds, or the last, in order or against it.

        `where` should be what the index of the order serves.
        """
        direction = "DESC" if self.down is not is_backwards else "ASC"
        by = f"{self.value} {direction}, {self.id} {direction}"
        limit = p.put(end)
        branches = [
            f"(SELECT {columns or self.keys} FROM {self.table}"
            f" WHERE {' AND '.join(['project_id = $1', *where, *more])}"
            f" ORDER BY {by} LIMIT {limit}::bigint)"
            for more in self._branches(p)
        ]
        # One after the other: the first isn't left before it ends.
        return " UNION ALL ".join(reversed(branches) if is_backwards else branches)

    def sorted(self, p: Parameters, source: str) -> str:
        """What of `source`, a relation of `keys`, comes after `after`, in order."""
        conditions = self._after(p, "value", "id")
        where = f"WHERE {' OR '.join(conditions)}" if conditions else ""
        return f"SELECT value, id FROM {source} {where} ORDER BY {self.by('value', 'id')}"

    def by(self, value: str, key: str) -> str:
        direction = "DESC" if self.down else "ASC"
        return f"{value} {direction} NULLS LAST, {key} {direction}"

    def _branches(self, p: Parameters) -> list[list[str]]:
        # An index has its NULLs at one end, a list has them last in either direction.
        if not self.is_nullable:
            return [self._after(p, self.value, self.id)]
        valued, bare = [f"{self.value} IS NOT NULL"], [f"{self.value} IS NULL"]
        if self.after is None:
            return [valued, bare]
        first, *rest = self._after(p, self.value, self.id)
        return [[*valued, first], bare] if rest else [[*bare, first]]

    def _after(self, p: Parameters, value: str, key: str) -> list[str]:
        """Of these conditions one holds for what comes after; none where all does."""
        if self.after is None:
            return []
        sign = "<" if self.down else ">"
        if self.after.value is None:
            return [f"({value} IS NULL AND {key} {sign} {p.put(self.after.id)})"]
        row = f"({value}, {key}) {sign} ({p.put(self.after.value)}, {p.put(self.after.id)})"
        return [row, f"{value} IS NULL"] if self.is_nullable else [row]


def walk_bound(rows: int, among: int, matching: int) -> int:
    """How many entries a walk may pass to find `rows` of the `matching` ones `among` all."""
    return WALK_FACTOR * (rows * among // max(matching, 1)) + WALK_MORE
