"""How many traces match: from what is counted at each write where that tells, else counted now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import IS_VEILED
from adapters.postgres.database.sql_builder import Parameters, Sql, like
from adapters.postgres.tracing.facets import Facet
from adapters.postgres.tracing.trace_filters import ALL_TRACES, Clause
from domain.ids import ProjectId

NAMES_MAX: Final = 1_000  # of which each is looked for; where more match, names are compared

_NAMES: Final = f"""
WITH names AS MATERIALIZED (
  SELECT value, trace_count FROM trace_facets
  WHERE {OF_PROJECT} AND kind = '{Facet.NAME}' AND search_value LIKE $2
)
SELECT coalesce(sum(trace_count), 0)::bigint AS traces, count(*) AS names,
       ARRAY(SELECT value FROM names LIMIT $3) AS some
FROM names
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A clause, and how many traces it admits at most; None where nothing tells."""

    clause: Clause
    most: int | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """`all`: the traces of the project. `total`: those that match, None where it isn't known.

    Where the project `is_veiled` what is hidden is counted too: then no number is exact.
    """

    all: int
    clauses: Sequence[Estimate]
    is_veiled: bool = False

    @property
    def most(self) -> int:
        """No more traces than these match."""
        return min([self.all, *(one.most for one in self.clauses if one.most is not None)])

    @property
    def total(self) -> int | None:
        match self.clauses:
            case [] if not self.is_veiled:
                return self.all
            case [one] if one.is_exact and not self.is_veiled:
                return one.most
        return 0 if self.most == 0 else None


async def counts(
    connection: Connection, project: ProjectId, clauses: Sequence[Clause], part: str
) -> Counts:
    """What the counters say of each clause, and of the names that hold `part`, folded, if any."""
    p = Parameters([project])
    counters = [ALL_TRACES, *(one.counter for one in clauses if one.counter is not None)]
    columns = [f"coalesce({sql}, 0)::bigint" for sql in p.all_of(counters)]
    row = await connection.fetchrow(f"SELECT {', '.join([IS_VEILED, *columns])}", *p.values)
    assert row is not None  # no table, one row
    numbers = iter(row[2:])
    counted = []
    for clause in clauses:
        number = -1 if clause.counter is None else next(numbers)
        most = None if number < 0 else number
        counted.append(Estimate(clause, most, clause.is_exact and most is not None))
    if part:
        counted.append(await _named(connection, project, part))
    return Counts(row[1], counted, is_veiled=row[0])


async def count(connection: Connection, project: ProjectId, clauses: Sequence[Estimate]) -> int:
    """How many traces match, counted now."""
    p = Parameters([project])
    where = " AND ".join([OF_PROJECT, *p.all_of(one.clause.sql for one in clauses)])
    total: int = await connection.fetchval(f"SELECT count(*) FROM traces WHERE {where}", *p.values)
    return total


async def _named(connection: Connection, project: ProjectId, part: str) -> Estimate:
    row = await connection.fetchrow(_NAMES, project, like(part), NAMES_MAX)
    assert row is not None  # an aggregate
    if row["names"] <= NAMES_MAX:
        sql = Sql("name = ANY({}::text[])", (row["some"],))
    else:
        sql = Sql("search_name LIKE {}", (like(part),))
    return Estimate(Clause(sql), row["traces"], is_exact=True)
