"""Score analytics, as `domain.evaluation.scores.analytics` defines them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.read_transactions import NARROW_BY_DATE, RETRY_LATER, PoolReader
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.evaluation.scores.score_cells import SCORES_OF
from adapters.postgres.evaluation.scores.score_days import find_score_days
from domain.evaluation.scores.analytics import (
    FINGERPRINTS_MAX,
    PERIOD_BOUNDS,
    TREND_PERCENTILES,
    Histogram,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    SeparateKind,
    TrendPoint,
    comparison_rank,
    histogram_bins,
)
from domain.evaluation.scores.rollup import (
    MEDIAN,
    PARTS,
    distribution_of_cells,
    summaries_of_cells,
    trend_of_cells,
)
from domain.evaluation.scores.score import (
    CreatedWithin,
    DataType,
    ScoreOutcome,
    ScoreSource,
    ScoreTarget,
)
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity, check_bucket_count

REDUCE_LIMIT: Final = "ask for fewer with limit"

# Whether a name has scores of runs: see `scores_of_source`.
_IS_AUTOMATED: Final = f"source = '{ScoreSource.AUTOMATED}'"
_HAS_AUTOMATED: Final = f"""
EXISTS (
  SELECT 1 FROM {{table}} WHERE {{among}} AND name = {{name}} AND {{within}} AND {_IS_AUTOMATED}
)
"""
# Whether the chosen scores are those of runs, by the source that a caller asks for.
CHOOSE_FROM_RUNS: Final[dict[ScoreSource | None, str]] = {
    None: "has_automated",
    ScoreSource.AUTOMATED: "true",
    ScoreSource.ANNOTATION: "false",
    ScoreSource.PROGRAMMATIC: "false",
}
CHOOSE_AUTOMATED: Final = f"({_IS_AUTOMATED}) = has_automated"
# The kind of judge of a name's numbers: see `comparable_scores`. Only scores of runs have one: if
# there is any, those are chosen.
_SELECT_JUDGE_KIND: Final = """
SELECT judge_kind FROM {table}
WHERE {among} AND name = {name} AND {within} AND number IS NOT NULL AND {source_condition}
  AND judge_kind IN ({kinds})
ORDER BY created_at DESC, id DESC LIMIT 1
"""
_KINDS: Final = ", ".join(f"'{kind}'" for kind in SeparateKind)
_OTHER_JUDGE_KIND: Final = f"""
CASE coalesce({{asked_kind}}, kind)
{" ".join(f"WHEN '{kind}' THEN '{kind.other}'" for kind in SeparateKind)} END
"""
_IS_COMPARABLE: Final = "coalesce(judge_kind <> other, true)"
# For each name: whether runs have scored it, the kind of judge, and the kind that is left out.
_CHOICE: Final = f"""
CROSS JOIN LATERAL (
  SELECT {_HAS_AUTOMATED.replace("{name}", "names.name")} AS has_automated OFFSET 0
) AS runs
CROSS JOIN LATERAL (
  SELECT ({_SELECT_JUDGE_KIND.replace("{name}", "names.name")}) AS kind OFFSET 0
) AS judges
CROSS JOIN LATERAL (SELECT {_OTHER_JUDGE_KIND} AS other OFFSET 0) AS left_out
"""
# The scores of a name. OFFSET 0 keeps the planner from computing the conditions for each aggregate.
_SCORES_OF_NAME: Final = f"""
SELECT outcome, created_at, number, threshold, fingerprint, {{chosen}} AS is_chosen,
       {{chosen}} AND {_IS_COMPARABLE} AND number IS NOT NULL AS is_compared
FROM {{table}} WHERE {{among}} AND name = names.name AND {{within}} AND {{bounds}} OFFSET 0
"""
_FIGURES: Final = f"""
avg(number) FILTER (WHERE is_compared) AS mean,
count(*) FILTER (WHERE is_compared) AS numbers,
count(*) FILTER (WHERE is_chosen) AS chosen,
count(*) FILTER (WHERE is_chosen AND outcome = '{ScoreOutcome.SKIPPED}') AS skipped,
count(*) FILTER (WHERE is_chosen AND outcome = '{ScoreOutcome.FAILED}') AS failed,
count(*) FILTER (WHERE is_chosen AND outcome = '{ScoreOutcome.PENDING}') AS pending,
count(threshold) FILTER (WHERE is_compared) AS with_threshold,
CASE WHEN count(threshold) FILTER (WHERE is_compared) > 0
     THEN count(*) FILTER (WHERE is_compared AND number >= threshold) END AS passed,
min(fingerprint) FILTER (WHERE is_compared) AS first_fingerprint,
max(fingerprint) FILTER (WHERE is_compared) AS last_fingerprint
"""
# Mostly there is one, or none: only otherwise are they collected.
_FINGERPRINTS: Final = f"""
CASE WHEN first_fingerprint IS NULL THEN '{{{{}}}}'::text[]
     WHEN first_fingerprint = last_fingerprint THEN ARRAY[first_fingerprint]
     ELSE ARRAY(
       SELECT fingerprint FROM (
         SELECT fingerprint FROM ({_SCORES_OF_NAME}) AS named_scores
         WHERE is_compared AND fingerprint IS NOT NULL GROUP BY fingerprint OFFSET 0
       ) AS found ORDER BY fingerprint LIMIT {FINGERPRINTS_MAX}
     ) END AS fingerprints
"""
# Walks from one name to the next, and reads the scores of each within the bounds: both by one
# index.
SELECT_SUMMARIES: Final = f"""
WITH RECURSIVE names AS (
  (SELECT name FROM {{table}} WHERE {{among}} ORDER BY name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT name FROM {{table}} WHERE {{among}} AND name > names.name ORDER BY name LIMIT 1
  ) FROM names WHERE names.name IS NOT NULL
)
SELECT names.name, kind AS judge_kind, {{from_runs}} AS from_runs,
       {_FINGERPRINTS.replace("{bounds}", "true")}, figures.*
FROM names {_CHOICE}
CROSS JOIN LATERAL (
  SELECT {_FIGURES},
         min(number) FILTER (WHERE is_compared) AS minimum,
         max(number) FILTER (WHERE is_compared) AS maximum,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY number) FILTER (WHERE is_compared) AS median,
         min(threshold) FILTER (WHERE is_compared) AS minimum_threshold,
         max(threshold) FILTER (WHERE is_compared) AS maximum_threshold,
         count(number) FILTER (WHERE NOT is_compared) AS left_out,
         max(created_at) FILTER (WHERE is_chosen) AS latest_at
  FROM ({_SCORES_OF_NAME.replace("{bounds}", "true")}) AS named_scores
  HAVING count(*) FILTER (WHERE is_chosen) > 0
) AS figures
ORDER BY names.name
"""
_WITHIN_BUCKET: Final = "created_at >= bucket AND created_at < bucket + {step} AND {chosen}"
# Walks from one bucket to the next as well. Each is one range of the index, which is aggregated
# without grouping: neither is the time of each score truncated, nor are all of them sorted.
SELECT_TREND: Final = f"""
SELECT names.name, bucket, kind AS judge_kind,
       {_FINGERPRINTS.replace("{bounds}", _WITHIN_BUCKET)}, figures.*
FROM unnest({{names}}::text[]) WITH ORDINALITY AS names (name, place) {_CHOICE}
CROSS JOIN LATERAL (
  WITH RECURSIVE buckets AS (
    (
      SELECT date_trunc({{granularity}}, created_at) AS bucket FROM {{table}}
      WHERE {{among}} AND name = names.name AND {{within}} ORDER BY created_at LIMIT 1
    )
    UNION ALL
    SELECT (
      SELECT date_trunc({{granularity}}, created_at) FROM {{table}}
      WHERE {{among}} AND name = names.name AND {{within}}
        AND created_at >= buckets.bucket + {{step}}
      ORDER BY created_at LIMIT 1
    ) FROM buckets WHERE buckets.bucket IS NOT NULL
  )
  SELECT bucket FROM buckets WHERE bucket IS NOT NULL
) AS buckets
CROSS JOIN LATERAL (
  SELECT {_FIGURES},
         percentile_cont(ARRAY{list(TREND_PERCENTILES)})
           WITHIN GROUP (ORDER BY number) FILTER (WHERE is_compared) AS percentiles
  FROM ({_SCORES_OF_NAME.replace("{bounds}", _WITHIN_BUCKET)}) AS named_scores
  HAVING count(*) FILTER (WHERE {{is_shown}}) > 0
) AS figures
ORDER BY place, bucket LIMIT {BUCKETS_MAX + 1}
"""
_IS_SHOWN: Final[dict[bool, str]] = {True: "is_chosen", False: "is_compared"}  # by `empty_buckets`
# Bins by decimal digits, as `bin_number` explains; each distinct number once, because the
# conversion to text is slow. Scores without a number are in no bin.
SELECT_DISTRIBUTION: Final = f"""
WITH names AS (SELECT {{name}}::text AS name),
counted AS MATERIALIZED (
  SELECT CASE WHEN is_compared THEN number END AS number, outcome, count(*) AS count
  FROM names {_CHOICE}
  CROSS JOIN LATERAL ({_SCORES_OF_NAME.replace("{bounds}", "true")}) AS named_scores
  WHERE is_chosen GROUP BY 1, 2
)
SELECT CASE WHEN number IS NOT NULL THEN
         least(floor(number::text::numeric * {{parts}}::int)::int + 1, {{parts}}::int)
       END AS part,
       outcome, sum(count)::bigint AS count
FROM counted GROUP BY 1, 2
"""
SELECT_HISTORY: Final = f"""
SELECT name, number, run_id, created_at, outcome, source FROM (
  SELECT *, bool_or({_IS_AUTOMATED}) OVER (PARTITION BY name) AS has_automated
  FROM session_scores
  WHERE {IN_PROJECT} AND session_id = $2 AND ($3::text IS NULL OR name = $3)
) AS session_rows
WHERE data_type = '{DataType.NUMERIC}' AND outcome <> '{ScoreOutcome.PENDING}' AND {{chosen}}
ORDER BY created_at DESC, id DESC LIMIT $4
"""
SELECT_COMPARISON: Final = f"""
WITH runs AS MATERIALIZED (
  SELECT EXISTS (
    SELECT 1 FROM session_scores WHERE {IN_PROJECT} AND name = $2 AND {_IS_AUTOMATED}
  ) AS has_automated
), newest AS MATERIALIZED (
  SELECT DISTINCT ON (session_id) session_id, number, created_at, run_id, source
  FROM session_scores CROSS JOIN runs
  WHERE {IN_PROJECT} AND name = $2 AND number IS NOT NULL AND {{chosen}}
  ORDER BY session_id DESC, created_at DESC, id DESC
), shown AS (
  SELECT * FROM newest WHERE {{after}}
  ORDER BY number {{direction}}, session_id LIMIT {{limit}} OFFSET {{offset}}
)
SELECT total, shown.* FROM (SELECT count(*) AS total FROM newest) AS counted
LEFT JOIN shown ON true ORDER BY number {{direction}}, session_id
"""


_COMMON_COLUMNS: Final = (
    *("name", "mean", "skipped", "failed", "pending", "passed", "with_threshold", "judge_kind"),
    "fingerprints",
)
SUMMARY_COLUMNS: Final = (
    *(*_COMMON_COLUMNS, "minimum", "maximum", "median", "latest_at", "from_runs", "left_out"),
    *("minimum_threshold", "maximum_threshold"),
)
TREND_COLUMNS: Final = (*_COMMON_COLUMNS, "bucket")


@dataclass(frozen=True, slots=True)
class PostgresScoreAnalytics(PoolReader):
    """Each result is from one snapshot.

    Summaries, trends by day and week, and distributions in a number of bins that divides PARTS are
    read from the roll-up of days, with the scores of days that it doesn't have. What it can't
    answer is read from scores.
    """

    async def summaries(
        self,
        project: ProjectId,
        target: ScoreTarget,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
    ) -> Sequence[ScoreSummary]:
        p = Parameters([project])
        sql = SELECT_SUMMARIES.format(
            **_scope(target),
            within=created_within(p, within),
            from_runs=CHOOSE_FROM_RUNS[source],
            **_chosen(p, source),
            **_of_kind(judge_kind),
        )
        async with self._visible_snapshot(NARROW_BY_DATE, project) as connection:
            days = await find_score_days(connection, project, target, within)
            if days is not None:
                cells = await days.choose(connection, None, None, source, judge_kind)
                if cells is not None:
                    numbers = await days.fetch_numbers(connection, cells, MEDIAN, None, source)
                    return summaries_of_cells(cells, numbers)
            rows = await connection.fetch(sql, *p.values)
        return [
            ScoreSummary(
                counted=row["numbers"],
                scored=_scored(row),
                **{key: row[key] for key in SUMMARY_COLUMNS},
            )
            for row in rows
        ]

    async def trend(
        self,
        project: ProjectId,
        target: ScoreTarget,
        names: Sequence[str],
        granularity: Granularity,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> Sequence[TrendPoint]:
        p = Parameters([project])
        sql = SELECT_TREND.format(
            **_scope(target),
            names=p.put(list(dict.fromkeys(names))),
            within=created_within(p, within),
            **_chosen(p, source),
            **_of_kind(judge_kind),
            granularity=p.put(granularity),
            step=f"interval '1 {granularity}'",
            is_shown=_IS_SHOWN[empty_buckets],
        )
        wanted = list(dict.fromkeys(names))
        async with self._visible_snapshot(NARROW_BY_DATE, project) as connection:
            days = None
            if granularity is not Granularity.HOUR:
                days = await find_score_days(connection, project, target, within)
            if days is not None:
                cells = await days.choose(connection, wanted, granularity, source, judge_kind)
                if cells is not None:
                    numbers = await days.fetch_numbers(
                        connection, cells, TREND_PERCENTILES, granularity, source
                    )
                    found = trend_of_cells(cells, numbers, empty_buckets=empty_buckets)
                    found.sort(key=lambda one: (wanted.index(one.name), one.bucket))
                    return check_bucket_count(found, PERIOD_BOUNDS)
            rows = await connection.fetch(sql, *p.values)
        points = [
            TrendPoint(
                count=row["numbers"],
                scored=_scored(row),
                **dict(zip(("p10", "p50", "p90"), row["percentiles"] or [None] * 3, strict=True)),
                **{key: row[key] for key in TREND_COLUMNS},
            )
            for row in rows
        ]
        return check_bucket_count(points, PERIOD_BOUNDS)

    async def distribution(
        self,
        project: ProjectId,
        target: ScoreTarget,
        name: str,
        parts: int,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
        judge_kind: SeparateKind | None = None,
        empty_buckets: bool = False,
    ) -> Histogram:
        p = Parameters([project])
        sql = SELECT_DISTRIBUTION.format(
            **_scope(target),
            name=p.put(name),
            within=created_within(p, within),
            **_chosen(p, source),
            **_of_kind(judge_kind),
            parts=p.put(parts),
        )
        async with self._visible_snapshot(NARROW_BY_DATE, project) as connection:
            days = None
            if PARTS % parts == 0:
                days = await find_score_days(connection, project, target, within)
            if days is not None:
                cells = await days.choose(connection, [name], None, source, judge_kind)
                if cells is not None:
                    return distribution_of_cells(cells, parts, empty_buckets=empty_buckets)
            rows = await connection.fetch(sql, *p.values)
        counts = {row["part"]: row["count"] for row in rows if row["part"] is not None}
        outcomes = dict.fromkeys(map(str, ScoreOutcome), 0)
        for row in rows:
            outcomes[row["outcome"]] += row["count"]
        bins = histogram_bins(counts, parts, empty_buckets=empty_buckets)
        return Histogram(bins=bins, **outcomes)

    async def history(
        self,
        project: ProjectId,
        session: str,
        name: str | None,
        limit: int,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[HistoryPoint]:
        p = Parameters([project, session, name, limit])
        sql = SELECT_HISTORY.format(**_chosen(p, source))
        rows = await self._fetch_visible(REDUCE_LIMIT, project, sql, *p.values)
        return [
            HistoryPoint(
                row["name"],
                row["number"],
                row["run_id"],
                row["created_at"],
                ScoreOutcome(row["outcome"]).status,
                ScoreSource(row["source"]),
            )
            for row in reversed(rows)
        ]

    async def comparison(
        self,
        project: ProjectId,
        name: str,
        order: SortOrder,
        window: PageRequest,
        *,
        source: ScoreSource | None = None,
    ) -> Page[RankedSession]:
        p = Parameters([project, name])
        direction, after = ("DESC" if order is SortOrder.DESC else "ASC"), "true"
        if (place := window.after) is not None:
            comparison_rank(place, order)  # raises Invalid for a cursor of another list
            number, session = p.put(place.value), p.put(place.id)
            sign = "<" if order is SortOrder.DESC else ">"
            after = f"(number {sign} {number} OR number = {number} AND session_id > {session})"
        sql = SELECT_COMPARISON.format(
            after=after,
            **_chosen(p, source),
            direction=direction,
            limit=p.put(window.limit + 1),
            offset=p.put(window.offset if place is None else 0),
        )
        rows = await self._fetch_visible(RETRY_LATER, project, sql, *p.values)
        items = [
            RankedSession(
                row["session_id"],
                row["number"],
                row["created_at"],
                row["run_id"],
                ScoreSource(row["source"]),
            )
            for row in rows
            if row["session_id"] is not None
        ]
        shown = items[: window.limit]
        end = shown[-1].position if len(items) > len(shown) else None
        return Page(shown, rows[0]["total"], end)


def _scope(target: ScoreTarget) -> dict[str, str]:
    table, among = SCORES_OF[target]
    return {"table": table, "among": among}


def _chosen(p: Parameters, source: ScoreSource | None) -> dict[str, str]:
    """The condition of `scores_of_source` in SQL, and the part of it that names a source."""
    if source is None:
        return {"chosen": CHOOSE_AUTOMATED, "source_condition": "true"}
    source_condition = f"source = {p.put(source)}"
    return {"chosen": source_condition, "source_condition": source_condition}


def _scored(row: Record) -> int:
    """As many as are left: counting an outcome costs more than subtracting it."""
    scored: int = row["chosen"] - row["skipped"] - row["failed"] - row["pending"]
    return scored


def _of_kind(judge_kind: SeparateKind | None) -> dict[str, str]:
    if judge_kind is None:
        return {"kinds": _KINDS, "asked_kind": "NULL"}
    return {"kinds": f"'{judge_kind}'", "asked_kind": f"'{judge_kind}'"}


def created_within(p: Parameters, within: CreatedWithin) -> str:
    """The condition of `CreatedWithin.matches` in SQL."""
    conditions = []
    if within.after is not None:
        conditions.append(f"created_at >= {p.put(within.after)}")
    if within.before is not None:
        conditions.append(f"created_at < {p.put(within.before)}")
    return " AND ".join(conditions) or "true"
