"""Reads cells of scores: of days that are counted from the roll-up, of others from scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT, Connection
from adapters.postgres.database.read_transactions import HAS_ACTIVE_ERASURE
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.database.statements.time_buckets import Bounds, split_period
from adapters.postgres.evaluation.scores.score_cells import (
    COUNTED_COLUMNS,
    SCORES_OF,
    count_scores,
)
from adapters.postgres.tracing.rollups.span_bins import unpack_bins
from application.concurrency import compute
from domain.evaluation.scores.analytics import SeparateKind
from domain.evaluation.scores.rollup import (
    PART_BOUNDS,
    WHOLE_PERIOD,
    NameCells,
    NumberCounts,
    NumberPart,
    ScoreCell,
    choose_cells,
    undecided_names,
    wanted_parts,
)
from domain.evaluation.scores.score import CreatedWithin, ScoreOutcome, ScoreSource, ScoreTarget
from domain.ids import ProjectId
from domain.tracing.analytics import BUCKET_WIDTHS, Granularity

CHANGED_DAYS_MAX: Final = 50  # of a target, that are read score by score
CELLS_MAX: Final = 50_000  # of one answer; with more, scores are read
CELLS_ON_LOOP_MAX: Final = 300  # reading their parts takes 5 ms
_DAY: Final = timedelta(days=1)

SELECT_ROLLUP: Final = f"""
SELECT until, {HAS_ACTIVE_ERASURE} AS is_hiding, ARRAY(
  SELECT DISTINCT day FROM changed_score_days
  WHERE {IN_PROJECT} AND target = $2 AND day < until LIMIT {CHANGED_DAYS_MAX + 1}
) AS changed
FROM score_rollups WHERE {IN_PROJECT} AND target = $2
"""
_COUNTED_DAYS: Final = """
  AND target = {target}
  AND day >= coalesce({first}::text::date, '-infinity') AND day < {past}::text::date
  AND NOT day = ANY({changed}::text[]::date[])
"""
_SELECT_COUNTED: Final = f"""
SELECT name, {{bucket}} AS bucket, source, judge_kind, fingerprint, threshold, outcome,
       sum(score_count)::bigint AS score_count, sum(number_count)::bigint AS number_count,
       sum(number_sum) AS number_sum, min(minimum) AS minimum, max(maximum) AS maximum,
       sum(passed_count)::bigint AS passed_count, max(latest_at) AS latest_at,
       max(newest_number_at) AS newest_number_at, sum(number_parts)::text AS packed
FROM score_days WHERE {IN_PROJECT} {_COUNTED_DAYS} {{names_condition}}
GROUP BY 1, 2, 3, 4, 5, 6, 7 LIMIT {CELLS_MAX + 1}
"""
# Bounds of other tables are plain columns in these conditions. With a policy on the table,
# PostgreSQL uses an index only for expressions that it knows to leak nothing. `coalesce` isn't one,
# nor is a comparison of an instant with a date.
# From name to name in the index, as summaries do, and by range.
_ALL_NAMES: Final = """
names AS (
  (SELECT name FROM {table} WHERE {among} ORDER BY name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT name FROM {table} WHERE {among} AND name > names.name ORDER BY name LIMIT 1
  ) FROM names WHERE names.name IS NOT NULL
)
"""
_GIVEN_NAMES: Final = "names AS (SELECT unnest({names}::text[]) AS name)"
_OF_RANGES: Final = f"""(
  SELECT scores.* FROM names
  CROSS JOIN (
    SELECT coalesce(after, '-infinity') AS after, coalesce(before, 'infinity') AS before
    FROM unnest({{afters}}::timestamptz[], {{befores}}::timestamptz[]) AS given (after, before)
    OFFSET 0
  ) AS ranges
  CROSS JOIN LATERAL (
    SELECT {COUNTED_COLUMNS} FROM {{table}}
    WHERE {{among}} AND name = names.name
      AND created_at >= after AND created_at < before
    OFFSET 0
  ) AS scores
) AS range_rows"""
_PARTS: Final = (
    "array_agg(part) FILTER (WHERE part IS NOT NULL) AS parts,"
    " array_agg(n) FILTER (WHERE part IS NOT NULL) AS counts"
)
_SELECT_READ: Final = (
    f"WITH RECURSIVE {{selected}} {count_scores(_OF_RANGES, '{bucket}', _PARTS)}"
    f" LIMIT {CELLS_MAX + 1}"
)
# The kind of the newest number of a name, if numbers of both kinds are of that time.
_SELECT_NEWEST: Final = """
SELECT DISTINCT ON (name) name, judge_kind
FROM unnest({names}::text[], {times}::timestamptz[]) AS undecided (name, at)
JOIN LATERAL (
  SELECT id, judge_kind FROM {table} WHERE {among} AND name = undecided.name AND created_at = at
    AND number IS NOT NULL AND judge_kind IN ({kinds}) {source_condition}
  ORDER BY id DESC LIMIT 1
) AS newest ON true
"""
_KINDS: Final = ", ".join(f"'{kind}'" for kind in SeparateKind)
_IS_COMPARED: Final = "{source_condition} AND coalesce(judge_kind <> wanted.other, true)"
# For each part that is wanted, its numbers on counted days and in ranges of others.
_SELECT_NUMBERS: Final = f"""
SELECT place, number, sum(n)::bigint AS n FROM (
  SELECT wanted.place, number, n
  FROM (
    SELECT place, name, part, coalesce(first, '-infinity') AS first, past, from_runs, other
    FROM unnest({{counted_places}}::int[], {{counted_names}}::text[], {{counted_parts}}::int[],
                {{firsts}}::text[]::date[], {{pasts}}::text[]::date[], {{counted_runs}}::bool[],
                {{counted_others}}::text[])
      AS given (place, name, part, first, past, from_runs, other)
    OFFSET 0
  ) AS wanted
  CROSS JOIN LATERAL (
    SELECT numbers, counts FROM score_day_numbers
    WHERE {IN_PROJECT} AND target = {{target}} AND name = wanted.name AND part = wanted.part
      AND day >= wanted.first AND day < wanted.past
      AND NOT day = ANY({{changed}}::text[]::date[]) AND {_IS_COMPARED}
    OFFSET 0
  ) AS day_rows CROSS JOIN LATERAL unnest(numbers, counts) AS each (number, n)
  UNION ALL
  SELECT wanted.place, number, n
  FROM (
    SELECT place, name, lower, upper, coalesce(after, '-infinity') AS after,
           coalesce(before, 'infinity') AS before, from_runs, other
    FROM unnest({{read_places}}::int[], {{read_names}}::text[], {{lowers}}::float8[],
                {{uppers}}::float8[], {{afters}}::timestamptz[], {{befores}}::timestamptz[],
                {{read_runs}}::bool[], {{read_others}}::text[])
      AS given (place, name, lower, upper, after, before, from_runs, other)
    OFFSET 0
  ) AS wanted
  CROSS JOIN LATERAL (
    SELECT number, count(*) AS n FROM {{table}}
    WHERE {{among}} AND name = wanted.name
      AND created_at >= wanted.after AND created_at < wanted.before
      AND number >= wanted.lower AND number < wanted.upper AND {_IS_COMPARED}
    GROUP BY number OFFSET 0
  ) AS range_scores
) AS found GROUP BY place, number ORDER BY place, number
"""


@dataclass(frozen=True, slots=True)
class ScoreDays:
    """A question about the scores of a project, whose counted days `find_score_days` has found.

    `first` to `past` are days, but for the `changed` ones; `ranges` are the rest of the period.
    """

    project: ProjectId
    target: ScoreTarget
    first: datetime | None
    past: datetime
    changed: Sequence[str]
    ranges: Sequence[Bounds]

    async def choose(
        self,
        connection: Connection,
        names: Sequence[str] | None,
        granularity: Granularity | None,
        source: ScoreSource | None,
        judge_kind: SeparateKind | None,
    ) -> Sequence[NameCells] | None:
        """The cells of the names, or of all, by bucket; None if there are more than CELLS_MAX."""
        rows = [
            *await self._fetch_counted(connection, names, granularity),
            *await self._fetch_read(connection, names, granularity),
        ]
        if len(rows) > CELLS_MAX:
            return None
        is_long = len(rows) > CELLS_ON_LOOP_MAX
        cells = await compute(lambda: [_cell(row) for row in rows], is_long=is_long)
        undecided = undecided_names(cells, source) if judge_kind is None else {}
        newest = await self._fetch_newest(connection, undecided, source) if undecided else {}
        return choose_cells(cells, source, judge_kind, newest)

    async def fetch_numbers(
        self,
        connection: Connection,
        names: Sequence[NameCells],
        shares: Sequence[float],
        granularity: Granularity | None,
        source: ScoreSource | None,
    ) -> NumberCounts:
        """The numbers of the parts in which the percentiles lie."""
        wanted = wanted_parts(names, shares)
        if not wanted:
            return {}
        by_name = {one.name: one for one in names}
        counted, read = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for place, one in enumerate(wanted):
            summary = by_name[one.name]
            compared = summary.from_runs, summary.left_out
            for first, past in _overlaps((self.first, self.past), one, granularity):
                counted.append((place, one.name, one.part, _day(first), _day(past), *compared))
            lower, upper = _bounds(one.part)
            read += [
                (place, one.name, lower, upper, *within, *compared)
                for among in self.ranges
                for within in _overlaps(among, one, granularity)
            ]
        p = Parameters([self.project])
        source_condition = (
            "(source = 'AUTOMATED') = wanted.from_runs"
            if source is None
            else f"source = {p.put(source)}"
        )
        counted_names = (
            *("counted_places", "counted_names", "counted_parts", "firsts", "pasts"),
            *("counted_runs", "counted_others"),
        )
        read_names = (
            *("read_places", "read_names", "lowers", "uppers", "afters", "befores"),
            *("read_runs", "read_others"),
        )
        sql = _SELECT_NUMBERS.format(
            **self._scope(),
            source_condition=source_condition,
            target=p.put(self.target),
            changed=p.put(self.changed),
            **_columns(p, counted_names, counted),
            **_columns(p, read_names, read),
        )
        found: dict[NumberPart, list[tuple[float, int]]] = {}
        for row in await connection.fetch(sql, *p.values):
            found.setdefault(wanted[row["place"]], []).append((row["number"], row["n"]))
        return found

    async def _fetch_counted(
        self,
        connection: Connection,
        names: Sequence[str] | None,
        granularity: Granularity | None,
    ) -> Sequence[Record]:
        p = Parameters([self.project])
        sql = _SELECT_COUNTED.format(
            bucket=_bucket("day::timestamptz", granularity),
            target=p.put(self.target),
            first=p.put(_day(self.first)),
            past=p.put(_day(self.past)),
            changed=p.put(self.changed),
            names_condition="" if names is None else f"AND name = ANY({p.put(names)}::text[])",
        )
        return await connection.fetch(sql, *p.values)

    async def _fetch_read(
        self,
        connection: Connection,
        names: Sequence[str] | None,
        granularity: Granularity | None,
    ) -> Sequence[Record]:
        if not self.ranges:
            return []
        p, scope = Parameters([self.project]), self._scope()
        selected = (
            _ALL_NAMES.format(**scope) if names is None else _GIVEN_NAMES.format(names=p.put(names))
        )
        sql = _SELECT_READ.format(
            **scope,
            selected=selected,
            bucket=_bucket("created_at", granularity),
            **_columns(p, ("afters", "befores"), self.ranges),
        )
        return await connection.fetch(sql, *p.values)

    async def _fetch_newest(
        self,
        connection: Connection,
        undecided: Mapping[str, datetime],
        source: ScoreSource | None,
    ) -> Mapping[str, SeparateKind]:
        p = Parameters([self.project])
        sql = _SELECT_NEWEST.format(
            **self._scope(),
            names=p.put([*undecided]),
            times=p.put([*undecided.values()]),
            kinds=_KINDS,
            source_condition="" if source is None else f"AND source = {p.put(source)}",
        )
        rows = await connection.fetch(sql, *p.values)
        return {row["name"]: SeparateKind(row["judge_kind"]) for row in rows}

    def _scope(self) -> dict[str, str]:
        table, among = SCORES_OF[self.target]
        return {"table": table, "among": among}


async def find_score_days(
    connection: Connection, project: ProjectId, target: ScoreTarget, within: CreatedWithin
) -> ScoreDays | None:
    """The counted days of a period; None if there are none, or if scores have to be read.

    That is so if data of the project is being erased, which the roll-up still counts, and while
    many days have changed.
    """
    rollup = await connection.fetchrow(SELECT_ROLLUP, project, target)
    if rollup is None or rollup["is_hiding"] or len(rollup["changed"]) > CHANGED_DAYS_MAX:
        return None
    until = _start(rollup["until"])
    period = split_period((within.after, within.before), Granularity.DAY)
    if period.whole is None:
        return None
    first, end = period.whole
    past = until if end is None else min(end, until)
    if first is not None and first >= past:
        return None
    changed = sorted(
        day
        for day in rollup["changed"]
        if (first is None or day >= first.date()) and day < past.date()
    )
    days = [day.isoformat() for day in changed]
    ranges = [*period.cuts, *_ranges_of_days(changed)]
    if end is None or end > past:
        ranges.append((past, end))
    return ScoreDays(project, target, first, past, days, ranges)


def _ranges_of_days(days: Sequence[date]) -> Sequence[Bounds]:
    """Ranges that contain these days, which are ascending; days that follow each other in one."""
    ranges: list[Bounds] = []
    for day in days:
        start = _start(day)
        first = ranges.pop()[0] if ranges and ranges[-1][1] == start else start
        ranges.append((first, start + _DAY))
    return ranges


def _overlaps(
    range_: Bounds, part: NumberPart, granularity: Granularity | None
) -> Iterator[Bounds]:
    """The part of a range in the bucket; none, or one."""
    after, before = range_
    if granularity is not None:
        width = BUCKET_WIDTHS[granularity]
        after = part.bucket if after is None else max(after, part.bucket)
        # Beyond the last year, the bucket has no end.
        end = (
            None if datetime.max.replace(tzinfo=UTC) - part.bucket < width else part.bucket + width
        )
        before = before if end is None else end if before is None else min(before, end)
    if after is None or before is None or after < before:
        yield after, before


def _bounds(part: int) -> tuple[float, float]:
    """The bounds of a part, of which the first and the last are open."""
    lower = PART_BOUNDS[part - 1] if part else float("-inf")
    return lower, PART_BOUNDS[part] if part < len(PART_BOUNDS) else float("inf")


def _columns(
    p: Parameters, names: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> dict[str, str]:
    """A placeholder with the values of each column."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: p.put(list(column)) for name, column in zip(names, columns, strict=True)}


def _bucket(instant: str, granularity: Granularity | None) -> str:
    if granularity is None:
        return "NULL::timestamptz"
    return f"date_trunc('{granularity}', {instant})"


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day(instant: datetime | None) -> str | None:
    """A text, because asyncpg takes the first day of the year 1 for -infinity."""
    return None if instant is None else instant.date().isoformat()


def _cell(row: Record) -> ScoreCell:
    parts: Mapping[int, int]
    if "packed" in row:
        parts = unpack_bins(row["packed"])
    else:
        parts = dict(zip(row["parts"] or (), row["counts"] or (), strict=True))
    return ScoreCell(
        name=row["name"],
        bucket=row["bucket"] or WHOLE_PERIOD,
        source=ScoreSource(row["source"]),
        judge_kind=row["judge_kind"],
        fingerprint=row["fingerprint"],
        threshold=row["threshold"],
        outcome=ScoreOutcome(row["outcome"]),
        scores=row["score_count"],
        numbers=row["number_count"],
        total=row["number_sum"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        passed=row["passed_count"],
        latest_at=row["latest_at"],
        newest_at=row["newest_number_at"],
        parts=parts,
    )
