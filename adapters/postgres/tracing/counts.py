"""Counts of traces that match a filter: from the roll-ups if possible, else counted by a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.sql_builder import Parameters, Sql, like
from adapters.postgres.tracing.facets import Facet
from adapters.postgres.tracing.trace_filters import COUNT_ALL_TRACES, Clause
from domain.ids import ProjectId

NAMES_MAX: Final = 1_000  # looked up one by one; if more names match, names are compared instead

_SELECT_MATCHING_NAMES: Final = f"""
WITH names AS MATERIALIZED (
  SELECT value, trace_count FROM trace_facets
  WHERE {OF_PROJECT} AND kind = '{Facet.NAME}' AND search_value LIKE $2
)
SELECT coalesce(sum(trace_count), 0)::bigint AS traces, count(*) AS names,
       ARRAY(SELECT value FROM names LIMIT $3) AS some
FROM names
"""


@dataclass(frozen=True, slots=True)
class ClauseCount:
    """A clause and the most traces that satisfy it, or None if no roll-up counts it."""

    clause: Clause
    most: int | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """`all`: the traces of the project. `total`: the matching traces, or None if unknown.

    With `has_active_erasure`, the roll-ups include rows that are hidden, and no number is exact.
    """

    all: int
    clauses: Sequence[ClauseCount]
    has_active_erasure: bool = False

    @property
    def most(self) -> int:
        """The maximum number of traces that match."""
        return min([self.all, *(one.most for one in self.clauses if one.most is not None)])

    @property
    def total(self) -> int | None:
        match self.clauses:
            case [] if not self.has_active_erasure:
                return self.all
            case [one] if one.is_exact and not self.has_active_erasure:
                return one.most
        return 0 if self.most == 0 else None


async def fetch_counts(
    connection: Connection, project: ProjectId, clauses: Sequence[Clause], part: str
) -> FilterCounts:
    """Reads the roll-up counts of each clause, and of the names that contain `part`.

    `part` is case-folded; empty for none.
    """
    p = Parameters([project])
    counters = [COUNT_ALL_TRACES, *(one.counter for one in clauses if one.counter is not None)]
    columns = [f"coalesce({sql}, 0)::bigint" for sql in p.all_of(counters)]
    row = await connection.fetchrow(
        f"SELECT {', '.join([HAS_ACTIVE_ERASURE, *columns])}", *p.values
    )
    assert row is not None  # no FROM, so one row
    numbers = iter(row[2:])
    counted = []
    for clause in clauses:
        number = -1 if clause.counter is None else next(numbers)
        most = None if number < 0 else number
        counted.append(ClauseCount(clause, most, clause.is_exact and most is not None))
    if part:
        counted.append(await _count_names(connection, project, part))
    return FilterCounts(row[1], counted, has_active_erasure=row[0])


async def count_traces(
    connection: Connection, project: ProjectId, clauses: Sequence[ClauseCount]
) -> int:
    """Counts the traces that match, by a query."""
    p = Parameters([project])
    where = " AND ".join([OF_PROJECT, *p.all_of(one.clause.sql for one in clauses)])
    total: int = await connection.fetchval(f"SELECT count(*) FROM traces WHERE {where}", *p.values)
    return total


async def _count_names(connection: Connection, project: ProjectId, part: str) -> ClauseCount:
    row = await connection.fetchrow(_SELECT_MATCHING_NAMES, project, like(part), NAMES_MAX)
    assert row is not None  # an aggregate
    if row["names"] <= NAMES_MAX:
        sql = Sql("name = ANY({}::text[])", (row["some"],))
    else:
        sql = Sql("search_name LIKE {}", (like(part),))
    return ClauseCount(Clause(sql), row["traces"], is_exact=True)
