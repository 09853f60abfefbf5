"""The most frequent values of fields of traces, from the roll-ups."""

from collections.abc import Mapping
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.tracing.facets import Facet
from domain.ids import ProjectId
from domain.tracing.facet_values import FACET_VALUES_MAX, FacetField, FacetValue

# The last code point. Text never contains it, so each value with the prefix sorts before it.
_AFTER_PREFIX: Final = "\U0010ffff"


def _first_values(value: str, table: str, where: str = "true") -> str:
    """The first values with the prefix $2, in the order of an index.

    Ranges use the index with row-level security too, LIKE doesn't.
    """
    return f"""
SELECT {value} AS value, trace_count AS count FROM {table}
WHERE {OF_PROJECT} AND {where} AND {value} >= $2 AND {value} < $2 || $4
ORDER BY {value} LIMIT {FACET_VALUES_MAX}
"""


def _counted_values(value: str) -> str:
    """The same, counted from the traces themselves: from visible ones, in a visible snapshot."""
    return f"""
SELECT value, count(*) AS count FROM (
  SELECT DISTINCT trace_id, {value} AS value FROM traces WHERE {OF_PROJECT}
) AS valued
WHERE value >= $2 AND value < $2 || $4
GROUP BY value ORDER BY value LIMIT {FACET_VALUES_MAX}
"""


def _most_frequent(values: str) -> str:
    return f"SELECT value, count FROM ({values}) AS valued ORDER BY count DESC, value LIMIT $3"


# Rows of these two tables are hidden while their owner is being erased.
_OWNERS: Final = {
    FacetField.USER: _first_values("user_id", "trace_users"),
    FacetField.SESSION: _first_values("session_id", "sessions"),
}
_ROLLED_UP: Final = {
    FacetField.ENVIRONMENT: Facet.ENVIRONMENT,
    FacetField.RELEASE: Facet.RELEASE,
    FacetField.NAME: Facet.NAME,
    FacetField.STATUS: Facet.STATUS,
    FacetField.TAG: Facet.TAG,
    FacetField.MODEL: Facet.MODEL,
}
SELECT_VALUES: Final[Mapping[FacetField, str]] = {
    field: _most_frequent(sql)
    for field, sql in (
        _OWNERS
        | {
            field: _first_values("value", "trace_facets", f"kind = '{kind}'")
            for field, kind in _ROLLED_UP.items()
        }
    ).items()
}
# The roll-ups count traces under erasure until they are deleted.
SELECT_VISIBLE_VALUES: Final[Mapping[FacetField, str]] = {
    field: _most_frequent(_counted_values(f'{column} COLLATE "C"'))
    for field, column in {
        FacetField.ENVIRONMENT: "environment",
        FacetField.RELEASE: "release",
        FacetField.NAME: "name",
        FacetField.STATUS: "status",
        FacetField.TAG: "unnest(tags)",
        FacetField.MODEL: "unnest(models)",
    }.items()
}
_HAS_ERASURE: Final = f"SELECT {HAS_ACTIVE_ERASURE}"


async def fetch_facet_values(
    connection: Connection, project: ProjectId, field: FacetField, prefix: str, limit: int
) -> list[FacetValue]:
    """Reads the values; in a visible snapshot."""
    sql = SELECT_VALUES[field]
    if field in SELECT_VISIBLE_VALUES and await connection.fetchval(_HAS_ERASURE, project):
        sql = SELECT_VISIBLE_VALUES[field]
    rows = await connection.fetch(sql, project, prefix, limit, _AFTER_PREFIX)
    return [FacetValue(row["value"], row["count"]) for row in rows]
