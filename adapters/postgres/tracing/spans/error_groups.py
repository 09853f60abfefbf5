"""Groups of errors, from the indexes of failed spans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters
from application.concurrency import compute
from application.tracing.workload import errors_take_long
from domain.ids import ProjectId, SpanId, TraceId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.span import SpanStatus
from domain.tracing.spans.error_groups import (
    ERROR_CHARS_MAX,
    ERROR_SAMPLES_MAX,
    FAILED_SPANS_MAX,
    READ_CHARS_MAX,
    RELEASED_ERRORS_MAX,
    ErrorFilter,
    ErrorGroup,
    ErrorSample,
    ErrorSort,
    check_failed_count,
    distinct_releases,
    error_pattern,
)

_FAILED: Final = f"{IN_PROJECT} AND status = '{SpanStatus.ERROR}'"
_TYPES: Final = {
    ErrorSort.LAST_SEEN: "timestamptz",
    ErrorSort.FIRST_SEEN: "timestamptz",
    ErrorSort.COUNT: "bigint",
}
# The failed spans of the period by index alone, and the first one of each group by another index.
_GROUPS: Final = f"""
WITH counted AS MATERIALIZED (
  SELECT error_group AS id, count(*) AS count, max(started_at) AS last_seen FROM (
    SELECT error_group, started_at FROM spans
    WHERE {_FAILED} AND started_at >= $2 AND started_at < $3 LIMIT {FAILED_SPANS_MAX + 1}
  ) AS failed GROUP BY error_group
), groups AS MATERIALIZED (
  SELECT counted.*, first.started_at AS first_seen, first.started_at >= $2 AS is_new
  FROM counted CROSS JOIN LATERAL (
    SELECT started_at FROM spans WHERE {_FAILED} AND error_group = counted.id
    ORDER BY started_at LIMIT 1
  ) AS first
)
"""
_NEWEST: Final = f"""
FROM spans WHERE {_FAILED} AND error_group = wanted.id AND started_at >= $3 AND started_at < $4
ORDER BY started_at DESC, trace_id DESC, span_id DESC
"""
# The ends of a long message are all that a pattern is made of.
_MESSAGE: Final = f"""
CASE WHEN length(error) > {2 * READ_CHARS_MAX}
     THEN left(error, {READ_CHARS_MAX}) || right(error, {READ_CHARS_MAX}) ELSE error END
"""
SELECT_MESSAGES: Final = f"""
SELECT wanted.id, one.error FROM unnest($2::text[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT {_MESSAGE} AS error FROM spans WHERE {_FAILED} AND error_group = wanted.id
  ORDER BY started_at DESC LIMIT 1
) AS one
"""
SELECT_SAMPLES: Final = f"""
SELECT wanted.id, newest.* FROM unnest($2::text[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT trace_id, span_id, name, started_at,
         {_MESSAGE} AS error
  {_NEWEST} LIMIT {ERROR_SAMPLES_MAX}
) AS newest
ORDER BY started_at DESC, trace_id DESC, span_id DESC
"""
SELECT_RELEASES: Final = f"""
SELECT wanted.id, (
  SELECT release FROM traces WHERE {IN_PROJECT} AND traces.trace_id = newest.trace_id
) AS release
FROM unnest($2::text[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT trace_id, span_id, started_at {_NEWEST} LIMIT {RELEASED_ERRORS_MAX}
) AS newest
ORDER BY started_at DESC, trace_id DESC, span_id DESC
"""


async def select_messages(
    connection: Connection, project: ProjectId, groups: Sequence[str]
) -> Mapping[str, str | None]:
    """The message of a failed span of each group; in a visible snapshot."""
    rows = await connection.fetch(SELECT_MESSAGES, project, groups)
    return {row["id"]: row["error"] for row in rows}


@dataclass(frozen=True, slots=True)
class ErrorGroupQuery:
    """One page of groups."""

    project: ProjectId
    matching: ErrorFilter
    sort: ErrorSort
    order: SortOrder
    window: PageRequest

    async def fetch(self, connection: Connection) -> Page[ErrorGroup]:
        """Reads the page; in a visible snapshot. Raises Invalid as `check_failed_count`."""
        rows = await self._fetch_rows(connection)
        check_failed_count(rows[0]["failed"])
        found = [row for row in rows if row["id"] is not None]
        shown = found[: self.window.limit]
        period = self.matching.period
        values = (self.project, [row["id"] for row in shown], period.after, period.before)
        samples = _by_group(await connection.fetch(SELECT_SAMPLES, *values))
        releases = _by_group(await connection.fetch(SELECT_RELEASES, *values))
        is_long = errors_take_long(some[0]["error"] for some in samples.values())
        items = await compute(_groups_from_rows, shown, samples, releases, is_long=is_long)
        end = self.sort.position(items[-1]) if len(found) > self.window.limit else None
        return Page(items, rows[0]["total"], end)

    async def _fetch_rows(self, connection: Connection) -> list[Record]:
        """The groups, and one more if another page follows; a row without id if there are none."""
        p = Parameters([self.project, self.matching.period.after, self.matching.period.before])
        is_new = self.matching.is_new
        matches = "true" if is_new is None else f"is_new = {p.put(is_new)}"
        sign, direction = ("<", "DESC") if self.order is SortOrder.DESC else (">", "ASC")
        after = "true"
        if (last := self.window.after) is not None:
            reached = f"{p.put(last.value)}::{_TYPES[self.sort]}, {p.put(last.id)}::text"
            after = f"({self.sort}, id) {sign} ({reached})"
        sql = f"""
        {_GROUPS}
        SELECT summed.*, page.* FROM (
          SELECT count(*) FILTER (WHERE {matches}) AS total,
                 coalesce(sum(count), 0)::bigint AS failed
          FROM groups
        ) AS summed LEFT JOIN (
          SELECT * FROM groups WHERE {matches} AND {after}
          ORDER BY {self.sort} {direction}, id {direction}
          LIMIT {self.window.limit + 1:d} OFFSET {p.put(self.window.offset)}::bigint
        ) AS page ON true ORDER BY page.{self.sort} {direction}, page.id {direction}
        """
        return list(await connection.fetch(sql, *p.values))


def _by_group(rows: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(row)
    return found


def _groups_from_rows(
    rows: Sequence[Record],
    samples: Mapping[str, Sequence[Record]],
    releases: Mapping[str, Sequence[Record]],
) -> list[ErrorGroup]:
    return [_group_from_row(row, samples, releases) for row in rows]


def _group_from_row(
    row: Record,
    samples: Mapping[str, Sequence[Record]],
    releases: Mapping[str, Sequence[Record]],
) -> ErrorGroup:
    newest = samples[row["id"]]
    return ErrorGroup(
        id=row["id"],
        pattern=error_pattern(newest[0]["error"]),
        count=row["count"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        is_new=row["is_new"],
        releases=distinct_releases(one["release"] for one in releases[row["id"]]),
        samples=[_sample_from_row(one) for one in newest],
    )


def _sample_from_row(row: Record) -> ErrorSample:
    error = row["error"]
    return ErrorSample(
        trace_id=TraceId(row["trace_id"]),
        span_id=SpanId(row["span_id"]),
        name=row["name"],
        started_at=row["started_at"],
        message=None if error is None else error[:ERROR_CHARS_MAX],
    )
