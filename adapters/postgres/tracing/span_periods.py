"""The hours in which spans that match can have started, from roll-ups.

A list of spans that few spans match skips all other hours. The roll-ups may name an hour too many,
never one too few.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.statements.sql_builder import Parameters, Sql
from adapters.postgres.tracing.trace_filters import BY_START, ClauseCount
from domain.ids import ProjectId
from domain.tracing.analytics import Granularity
from domain.tracing.span import SpanStatus
from domain.tracing.spans.span_figures import ID_PLACEHOLDER, name_group
from domain.tracing.spans.span_query import SpanFilter

SHORT_GAP_SPANS: Final = 1_000  # skipping fewer takes as long as reading them
_US: Final = timedelta(microseconds=1)
REST_OF_HOUR: Final = timedelta(hours=1) - _US

# Hops from each hour with traces that match to the next one, by the index of the value. A bound is
# a column: a policy keeps a sum out of the index, so that each hop would read all hours before.
_SELECT_HOURS_OF_TRACES: Final = f"""
WITH RECURSIVE found AS (
  (SELECT date_trunc('hour', started_at) AS hour,
          date_trunc('hour', started_at) + interval '1 hour' AS until
   FROM traces WHERE {IN_PROJECT} AND {{where}} ORDER BY started_at LIMIT 1)
  UNION ALL
  SELECT next.hour, next.hour + interval '1 hour'
  FROM found CROSS JOIN LATERAL (
    SELECT date_trunc('hour', started_at) AS hour FROM traces
    WHERE {IN_PROJECT} AND {{where}} AND started_at >= found.until ORDER BY started_at LIMIT 1
  ) AS next
)
SELECT found.hour, first_span_at, last_span_at
FROM found LEFT JOIN LATERAL (
  SELECT first_span_at, last_span_at FROM trace_hours AS h
  WHERE h.{IN_PROJECT} AND h.hour = found.hour LIMIT 1
) AS spans ON true
ORDER BY found.hour
"""
_SELECT_HOURS_OF_SPANS: Final = f"""
SELECT hour, sum(span_count)::bigint AS spans, bool_or({{matches}}) AS may_match
FROM span_hours AS s WHERE s.{IN_PROJECT} AND hour >= {{since}} AND hour <= {{until}}
GROUP BY hour ORDER BY hour
"""


class SpanPeriod(NamedTuple):
    """Both ends are inclusive."""

    since: datetime
    until: datetime


async def fetch_periods(
    connection: Connection,
    project: ProjectId,
    matching: SpanFilter,
    trace_clauses: Sequence[ClauseCount],
    within: SpanPeriod,
) -> Sequence[SpanPeriod]:
    """The periods in which spans that match started, in order. They don't overlap.

    `trace_clauses` are the conditions on traces, with their counts.
    """
    periods = [within]
    if conditions := list(_row_conditions(matching)):
        p = Parameters([project])
        sql = _SELECT_HOURS_OF_SPANS.format(
            matches=" AND ".join(p.all_of(conditions)),
            since=p.put(Granularity.HOUR.bucket(within.since)),
            until=p.put(within.until),
        )
        periods = list(_hours_to_read(await connection.fetch(sql, *p.values)))
    rarest = min(
        (one for one in trace_clauses if one.clause.sorts == BY_START and not one.clause.is_range),
        key=lambda one: one.most or 0,
        default=None,
    )
    if rarest is not None:
        p = Parameters([project])
        sql = _SELECT_HOURS_OF_TRACES.format(where=p.sql(rarest.clause.sql))
        rows = await connection.fetch(sql, *p.values)
        periods = list(_overlaps(periods, _joined(_extent(row) for row in rows)))
    return periods


def is_name_rolled_up(name: str | None) -> bool:
    """Whether the roll-up has the spans of a name, and no others, under this name."""
    return name is None or (name_group(name) == name and ID_PLACEHOLDER not in name)


def _row_conditions(matching: SpanFilter) -> Iterator[Sql]:
    """Conditions on rows of the roll-up: a row that lacks one has no span that matches."""
    for name in ("kind", "name", "model"):
        if (value := getattr(matching, name)) is not None and (
            name != "name" or is_name_rolled_up(matching.name)
        ):
            yield Sql(f"s.{name} = {{}}", (value,))
    if matching.has_error or matching.status is SpanStatus.ERROR or matching.error_group:
        yield Sql("s.error_count > 0")
    for column, bounds in (
        ("max_latency_us", matching.latency_us),
        ("max_tokens", matching.tokens),
        ("max_cost", matching.cost),
    ):
        if bounds is not None and bounds[0] is not None:
            yield Sql(f"s.{column} >= {{}}", (bounds[0],))


def _hours_to_read(rows: Iterable[Record]) -> Iterator[SpanPeriod]:
    """The hours that may match, joined if few spans are between them."""
    current, gap = None, 0
    for row in rows:
        hour = row["hour"]
        if not row["may_match"]:
            gap += row["spans"]
            continue
        if current is not None and gap > SHORT_GAP_SPANS:
            yield current
            current = None
        current = SpanPeriod(hour if current is None else current.since, hour + REST_OF_HOUR)
        gap = 0
    if current is not None:
        yield current


def _extent(row: Record) -> SpanPeriod:
    """Where the spans of the traces of an hour started."""
    since, until = row["hour"], row["hour"] + REST_OF_HOUR
    first, last = row["first_span_at"], row["last_span_at"]
    return SpanPeriod(
        since if first is None else min(since, first),
        until if last is None else max(until, last),
    )


def _joined(periods: Iterable[SpanPeriod]) -> Iterator[SpanPeriod]:
    """Periods that don't overlap, in order."""
    current: SpanPeriod | None = None
    for one in sorted(periods):
        if current is not None and one.since - current.until <= _US:
            current = SpanPeriod(current.since, max(current.until, one.until))
        else:
            if current is not None:
                yield current
            current = one
    if current is not None:
        yield current


def _overlaps(some: Iterable[SpanPeriod], others: Iterable[SpanPeriod]) -> Iterator[SpanPeriod]:
    """The overlaps of two lists of periods, each in order and without overlaps."""
    left, right = iter(some), iter(others)
    one, two = next(left, None), next(right, None)
    while one is not None and two is not None:
        since, until = max(one.since, two.since), min(one.until, two.until)
        if since <= until:
            yield SpanPeriod(since, until)
        if one.until <= two.until:
            one = next(left, None)
        else:
            two = next(right, None)
