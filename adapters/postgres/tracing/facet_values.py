"""The most frequent values of fields of traces: from the roll-ups, or from traces that match."""

from collections.abc import Mapping
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.tracing.rollups.facets import Facet
from adapters.postgres.tracing.trace_filters import fetch_counts, filter_clauses
from domain.ids import ProjectId
from domain.tracing.facet_values import (
    COUNTED_MEMBERS_MAX,
    FACET_VALUES_MAX,
    MEMBER_KEY_CHARS_MAX,
    MEMBER_TEXT_CHARS_MAX,
    SEPARATOR,
    FacetField,
    FacetQuery,
    FacetValue,
)
from domain.tracing.query import ALL_TRACES, fold_case
from domain.tracing.trace_breakdown import check_trace_count

# The last code point. Text never contains it, so each value with the prefix sorts before it.
_AFTER_PREFIX: Final = "\U0010ffff"


def _first_values(value: str, table: str, where: str = "true") -> str:
    """The first values with the prefix $2, in the order of an index.

    Ranges use the index with row-level security too, LIKE doesn't.
    """
    return f"""
SELECT {value} AS value, trace_count AS count FROM {table}
WHERE {IN_PROJECT} AND {where} AND {value} >= $2 AND {value} < $2 || $4
ORDER BY {value} LIMIT {FACET_VALUES_MAX}
"""


def _counted_values(value: str, source: str = "traces", where: str = "true") -> str:
    """The same, counted from the traces themselves: from visible ones, in a visible snapshot."""
    return f"""
SELECT value, count(*) AS count FROM (
  SELECT DISTINCT trace_id, {value} AS value FROM {source} WHERE {IN_PROJECT} AND {where}
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
    FacetField.METADATA_KEY: Facet.METADATA_KEY,
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
# The scalar members of the metadata of each trace. The last value of a repeated key counts.
_MEMBERS: Final = """
(SELECT key, coalesce(value #>> '{}', 'null') AS text, count(*) OVER () AS members
 FROM (
   SELECT DISTINCT ON (key) key, value
   FROM json_each(metadata) WITH ORDINALITY AS member (key, value, place)
   ORDER BY key, place DESC
 ) AS last WHERE json_typeof(value) NOT IN ('object', 'array')) AS member
"""
_HAS_KEY: Final = f"members <= {COUNTED_MEMBERS_MAX} AND length(key) <= {MEMBER_KEY_CHARS_MAX}"
_HAS_TEXT: Final = (
    f"{_HAS_KEY} AND key = $5 AND length(text) <= {MEMBER_TEXT_CHARS_MAX}"
    " AND strpos(text, E'\\x1f') = 0"
)
_WITH_MEMBERS: Final = f"traces CROSS JOIN LATERAL {_MEMBERS}"


def select_counted(field: FacetField, condition: str = "true") -> str:
    """Counts the values of traces for which a condition on `traces` holds."""
    match field:
        case FacetField.TAG | FacetField.MODEL:
            counted = _counted_values(f'unnest({field}s) COLLATE "C"', where=condition)
        case FacetField.USER | FacetField.SESSION:
            counted = _counted_values(f'{field}_id COLLATE "C"', where=condition)
        case FacetField.METADATA_KEY:
            where = f"{_HAS_KEY} AND {condition}"
            counted = _counted_values('key COLLATE "C"', _WITH_MEMBERS, where)
        case FacetField.METADATA_VALUE:
            where = f"{_HAS_TEXT} AND {condition}"
            counted = _counted_values('text COLLATE "C"', _WITH_MEMBERS, where)
        case FacetField.ENVIRONMENT | FacetField.RELEASE | FacetField.NAME | FacetField.STATUS:
            counted = _counted_values(f'{field} COLLATE "C"', where=condition)
    return _most_frequent(counted)


# Members are stored as key, separator and text. With $2 the prefix of a whole member, $5 is the
# length of what comes before its text. A key may contain the separator, a text doesn't.
_TEXT: Final = "substr(value, $5::int + 1)"
_IS_TEXT: Final = f"strpos({_TEXT}, E'\\x1f') = 0"
SELECT_MEMBER_TEXTS: Final = f"""
SELECT {_TEXT} AS value, count FROM (
{_first_values("value", "trace_facets", f"kind = '{Facet.METADATA}' AND {_IS_TEXT}")}
) AS members ORDER BY count DESC, value LIMIT $3
"""
_HAS_ERASURE: Final = f"SELECT {HAS_ACTIVE_ERASURE}"


async def fetch_facet_values(
    connection: Connection, project: ProjectId, query: FacetQuery, filtered_max: int
) -> list[FacetValue]:
    """Reads the values; in a visible snapshot.

    Under conditions the traces that match are read one by one. So are all visible ones during an
    erasure, since the roll-ups count traces until they are deleted. Raises Invalid if more than
    `filtered_max` traces may match.
    """
    field, prefix = query.field, query.prefix
    values = [project, prefix, query.limit, _AFTER_PREFIX]
    keys = [query.key] if field is FacetField.METADATA_VALUE else []
    if query.matching != ALL_TRACES:
        clauses = filter_clauses(project, query.matching)
        part = fold_case(query.matching.name or "")
        counted = await fetch_counts(connection, project, clauses, part)
        check_trace_count(counted.most, filtered_max)
        p = Parameters([*values, *keys])
        conditions = " AND ".join(p.all_of(one.clause.scan_condition for one in counted.clauses))
        return await _fetch(connection, select_counted(field, conditions), *p.values)
    if field not in _OWNERS and await connection.fetchval(_HAS_ERASURE, project):
        return await _fetch(connection, select_counted(field), *values, *keys)
    if field is not FacetField.METADATA_VALUE:
        return await _fetch(connection, SELECT_VALUES[field], *values)
    before = f"{query.key}{SEPARATOR}"
    values[1] = before + prefix
    return await _fetch(connection, SELECT_MEMBER_TEXTS, *values, len(before))


async def _fetch(connection: Connection, sql: str, *values: object) -> list[FacetValue]:
    rows = await connection.fetch(sql, *values)
    return [FacetValue(row["value"], row["count"]) for row in rows]
