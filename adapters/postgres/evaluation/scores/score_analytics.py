"""Score analytics, as `domain.evaluation.scores.analytics` defines them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT
from adapters.postgres.database.read_transactions import NARROW_BY_DATE, PoolReader
from adapters.postgres.database.sql_builder import Parameters
from adapters.postgres.evaluation.scores.score_rows import SCORE_TABLES
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.analytics import (
    HEURISTIC,
    MODEL,
    PERIOD_BOUNDS,
    HistogramBin,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    TrendPoint,
    comparison_rank,
    histogram_bin,
)
from domain.evaluation.scores.score import CreatedWithin, DataType, ScoreOutcome
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity, check_bucket_count

REDUCE_LIMIT: Final = "ask for fewer with limit"

# The judge kind of the newest number of a name, if numbers of that kind must not be mixed with
# others: see `comparable`.
_SELECT_NEWEST_JUDGE_KIND: Final = f"""
SELECT judge_kind FROM {{table}}
WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL
  AND judge_kind IN ('{HEURISTIC}', '{MODEL}')
ORDER BY created_at DESC, id DESC LIMIT 1
"""
_OTHER_JUDGE_KIND: Final = (
    f"CASE newest WHEN '{MODEL}' THEN '{HEURISTIC}' WHEN '{HEURISTIC}' THEN '{MODEL}' END"
)
_IS_COMPARABLE: Final = "coalesce(judge_kind <> other, true)"
# Walks from one name to the next, and reads the scores of each within the bounds: both by one
# index.
SELECT_SUMMARIES: Final = f"""
WITH RECURSIVE names AS (
  (SELECT name FROM {{table}} WHERE {OF_PROJECT} ORDER BY name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT name FROM {{table}} WHERE {OF_PROJECT} AND name > names.name ORDER BY name LIMIT 1
  ) FROM names WHERE names.name IS NOT NULL
)
SELECT names.name, newest AS judge_kind, figures.* FROM names
CROSS JOIN LATERAL (
  SELECT ({_SELECT_NEWEST_JUDGE_KIND.replace("{name}", "names.name")}) AS newest OFFSET 0
) AS judges
CROSS JOIN LATERAL (SELECT {_OTHER_JUDGE_KIND} AS other OFFSET 0) AS left_out
CROSS JOIN LATERAL (
  SELECT avg(number) FILTER (WHERE is_compared) AS mean,
         min(number) FILTER (WHERE is_compared) AS minimum,
         max(number) FILTER (WHERE is_compared) AS maximum,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY number) FILTER (WHERE is_compared) AS median,
         count(*) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}') AS scored,
         count(*) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
         max(created_at) AS latest_at
  FROM (
    SELECT number, outcome, created_at, {_IS_COMPARABLE} AS is_compared FROM {{table}}
    WHERE {OF_PROJECT} AND name = names.name AND {{within}} OFFSET 0
  ) AS of_name
  HAVING count(*) > 0
) AS figures
ORDER BY names.name
"""
# The numbers of one name that may be averaged.
_COMPARABLE_NUMBERS: Final = f"""
{{table}} CROSS JOIN (
  SELECT {_OTHER_JUDGE_KIND} AS other
  FROM (SELECT ({_SELECT_NEWEST_JUDGE_KIND}) AS newest OFFSET 0) AS judges OFFSET 0
) AS left_out
WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL AND {_IS_COMPARABLE}
"""
SELECT_TREND: Final = f"""
SELECT date_trunc({{granularity}}, created_at) AS bucket, avg(number) AS mean, count(*) AS count
FROM {_COMPARABLE_NUMBERS} GROUP BY 1 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
# Bins by decimal digits, as `part_of` explains; each distinct number once, because the conversion
# to text is slow.
SELECT_DISTRIBUTION: Final = f"""
SELECT least(floor(number::text::numeric * {{parts}}::int)::int + 1, {{parts}}::int) AS part,
       sum(count)::bigint AS count
FROM (SELECT number, count(*) AS count FROM {_COMPARABLE_NUMBERS} GROUP BY number) AS counted
GROUP BY 1 ORDER BY 1
"""
SELECT_HISTORY: Final = f"""
SELECT name, number, run_id, created_at, outcome FROM session_scores
WHERE {OF_PROJECT} AND session_id = $2 AND ($3::text IS NULL OR name = $3)
  AND data_type = '{DataType.NUMERIC}' AND outcome <> '{ScoreOutcome.PENDING}'
ORDER BY created_at DESC, id DESC LIMIT $4
"""
SELECT_COMPARISON: Final = f"""
WITH newest AS MATERIALIZED (
  SELECT DISTINCT ON (session_id) session_id, number, created_at, run_id FROM session_scores
  WHERE {OF_PROJECT} AND name = $2 AND number IS NOT NULL
  ORDER BY session_id DESC, created_at DESC, id DESC
), shown AS (
  SELECT * FROM newest WHERE {{after}}
  ORDER BY number {{direction}}, session_id LIMIT {{limit}} OFFSET {{offset}}
)
SELECT total, shown.* FROM (SELECT count(*) AS total FROM newest) AS counted
LEFT JOIN shown ON true ORDER BY number {{direction}}, session_id
"""


@dataclass(frozen=True, slots=True)
class PostgresScoreAnalytics(PoolReader):
    """Each result is from one snapshot."""

    async def summaries(
        self, project: ProjectId, of: TargetType, within: CreatedWithin
    ) -> Sequence[ScoreSummary]:
        p = Parameters([project])
        sql = SELECT_SUMMARIES.format(table=SCORE_TABLES[of].name, within=created_within(p, within))
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return [ScoreSummary(**row) for row in rows]

    async def trend(
        self,
        project: ProjectId,
        of: TargetType,
        name: str,
        granularity: Granularity,
        within: CreatedWithin,
    ) -> Sequence[TrendPoint]:
        p = Parameters([project])
        sql = SELECT_TREND.format(
            table=SCORE_TABLES[of].name,
            name=p.put(name),
            within=created_within(p, within),
            granularity=p.put(granularity),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return check_bucket_count([TrendPoint(**row) for row in rows], PERIOD_BOUNDS)

    async def distribution(
        self, project: ProjectId, of: TargetType, name: str, parts: int, within: CreatedWithin
    ) -> Sequence[HistogramBin]:
        p = Parameters([project])
        sql = SELECT_DISTRIBUTION.format(
            table=SCORE_TABLES[of].name,
            name=p.put(name),
            within=created_within(p, within),
            parts=p.put(parts),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return [histogram_bin(row["part"], parts, row["count"]) for row in rows]

    async def history(
        self, project: ProjectId, session: str, name: str | None, limit: int
    ) -> Sequence[HistoryPoint]:
        asked = (project, session, name, limit)
        rows = await self._fetch_visible(REDUCE_LIMIT, project, SELECT_HISTORY, *asked)
        return [
            HistoryPoint(
                row["name"],
                row["number"],
                row["run_id"],
                row["created_at"],
                ScoreOutcome(row["outcome"]).status,
            )
            for row in reversed(rows)
        ]

    async def comparison(
        self, project: ProjectId, name: str, order: SortOrder, window: PageRequest
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
            direction=direction,
            limit=p.put(window.limit + 1),
            offset=p.put(window.offset if place is None else 0),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        items = [
            RankedSession(row["session_id"], row["number"], row["created_at"], row["run_id"])
            for row in rows
            if row["session_id"] is not None
        ]
        shown = items[: window.limit]
        end = shown[-1].position if len(items) > len(shown) else None
        return Page(shown, rows[0]["total"], end)


def created_within(p: Parameters, within: CreatedWithin) -> str:
    """The condition of `CreatedWithin.matches` in SQL."""
    conditions = []
    if within.after is not None:
        conditions.append(f"created_at >= {p.put(within.after)}")
    if within.before is not None:
        conditions.append(f"created_at < {p.put(within.before)}")
    return " AND ".join(conditions) or "true"
