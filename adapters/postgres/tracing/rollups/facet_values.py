"""The most frequent values of fields of traces, from the roll-ups."""

from collections.abc import Mapping
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.tracing.rollups.facets import Facet
from domain.ids import ProjectId
from domain.tracing.facet_values import (
    COUNTED_MEMBERS_MAX,
    FACET_VALUES_MAX,
    MEMBER_KEY_CHARS_MAX,
    MEMBER_TEXT_CHARS_MAX,
    SEPARATOR,
    FacetField,
    FacetValue,
)

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


def _counted_values(value: str, source: str = "traces", where: str = "true") -> str:
    """The same, counted from the traces themselves: from visible ones, in a visible snapshot."""
    return f"""
SELECT value, count(*) AS count FROM (
  SELECT DISTINCT trace_id, {value} AS value FROM {source} WHERE {OF_PROJECT} AND {where}
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
} | {
    FacetField.METADATA_KEY: _most_frequent(
        _counted_values('key COLLATE "C"', f"traces CROSS JOIN LATERAL {_MEMBERS}", _HAS_KEY)
    )
}
# Members are stored as key, separator and text. With $2 the prefix of a whole member, $5 is the
# length of what comes before its text. A key may contain the separator, a text doesn't.
_TEXT: Final = "substr(value, $5::int + 1)"
_IS_TEXT: Final = f"strpos({_TEXT}, E'\\x1f') = 0"
SELECT_MEMBER_TEXTS: Final = f"""
SELECT {_TEXT} AS value, count FROM (
{_first_values("value", "trace_facets", f"kind = '{Facet.METADATA}' AND {_IS_TEXT}")}
) AS members ORDER BY count DESC, value LIMIT $3
"""
SELECT_VISIBLE_TEXTS: Final = _most_frequent(
    _counted_values(
        'text COLLATE "C"',
        f"traces CROSS JOIN LATERAL {_MEMBERS}",
        f"{_HAS_KEY} AND key = $5 AND length(text) <= {MEMBER_TEXT_CHARS_MAX}"
        " AND strpos(text, E'\\x1f') = 0",
    )
)
_HAS_ERASURE: Final = f"SELECT {HAS_ACTIVE_ERASURE}"


async def fetch_facet_values(
    connection: Connection,
    project: ProjectId,
    field: FacetField,
    *,
    prefix: str,
    limit: int,
    key: str,
) -> list[FacetValue]:
    """Reads the values; in a visible snapshot. `key` is that of METADATA_VALUE."""
    is_veiled = field not in _OWNERS and await connection.fetchval(_HAS_ERASURE, project)
    more: list[object] = []
    if field is FacetField.METADATA_VALUE:
        sql = SELECT_VISIBLE_TEXTS if is_veiled else SELECT_MEMBER_TEXTS
        before = f"{key}{SEPARATOR}"
        more = [key if is_veiled else len(before)]
        prefix = prefix if is_veiled else before + prefix
    else:
        sql = (SELECT_VISIBLE_VALUES if is_veiled else SELECT_VALUES)[field]
    rows = await connection.fetch(sql, project, prefix, limit, _AFTER_PREFIX, *more)
    return [FacetValue(row["value"], row["count"]) for row in rows]
