"""Figures of scores, as `domain.evaluation.score_analytics` defines them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT, Pool
from adapters.postgres.database.read_transactions import READ_TIMEOUT_S, snapshot
from adapters.postgres.database.sql_builder import Parameters
from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.analytics import (
    HEURISTIC,
    MODEL,
    HistogramBin,
    HistoryPoint,
    RankedSession,
    ScoreSummary,
    TrendPoint,
    check_bucket_count,
    comparison_rank,
    histogram_bin,
)
from domain.evaluation.scores.query import CreatedWithin
from domain.evaluation.scores.score import DataType, ScoreOutcome
from domain.ids import ProjectId
from domain.page import Page, PageRequest, SortOrder
from domain.tracing.analytics import BUCKETS_MAX, Granularity

ADVICE: Final = "narrow date_from and date_to"
HISTORY_ADVICE: Final = "ask for fewer with limit"

_TABLES: Final = {TargetType.TRACE: "trace_scores", TargetType.SESSION: "session_scores"}
# The kind of the newest number of a name, where it is of one that can't be mixed with another: see
# `comparable`.
_NEWEST: Final = f"""
SELECT judge_kind FROM {{table}}
WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL
  AND judge_kind IN ('{HEURISTIC}', '{MODEL}')
ORDER BY created_at DESC, id DESC LIMIT 1
"""
_OTHER: Final = (
    f"CASE newest WHEN '{MODEL}' THEN '{HEURISTIC}' WHEN '{HEURISTIC}' THEN '{MODEL}' END"
)
_COMPARED: Final = "coalesce(judge_kind <> other, true)"
# From one name to the next, and of each what lies within the bounds: both by one index.
SUMMARIES: Final = f"""
WITH RECURSIVE names AS (
  (SELECT name FROM {{table}} WHERE {OF_PROJECT} ORDER BY name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT name FROM {{table}} WHERE {OF_PROJECT} AND name > names.name ORDER BY name LIMIT 1
  ) FROM names WHERE names.name IS NOT NULL
)
SELECT names.name, newest AS judge_kind, figures.* FROM names
CROSS JOIN LATERAL (SELECT ({_NEWEST.replace("{name}", "names.name")}) AS newest OFFSET 0) AS told
CROSS JOIN LATERAL (SELECT {_OTHER} AS other OFFSET 0) AS left_out
CROSS JOIN LATERAL (
  SELECT avg(number) FILTER (WHERE is_compared) AS mean,
         min(number) FILTER (WHERE is_compared) AS minimum,
         max(number) FILTER (WHERE is_compared) AS maximum,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY number) FILTER (WHERE is_compared) AS median,
         count(*) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}') AS scored,
         count(*) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
         max(created_at) AS latest_at
  FROM (
    SELECT number, outcome, created_at, {_COMPARED} AS is_compared FROM {{table}}
    WHERE {OF_PROJECT} AND name = names.name AND {{within}} OFFSET 0
  ) AS of_name
  HAVING count(*) > 0
) AS figures
ORDER BY names.name
"""
# The numbers of one name that may be averaged.
_NUMBERS: Final = f"""
{{table}} CROSS JOIN (
  SELECT {_OTHER} AS other FROM (SELECT ({_NEWEST}) AS newest OFFSET 0) AS told OFFSET 0
) AS left_out
WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL AND {_COMPARED}
"""
TREND: Final = f"""
SELECT date_trunc({{granularity}}, created_at) AS bucket, avg(number) AS mean, count(*) AS count
FROM {_NUMBERS} GROUP BY 1 ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
# As the number is written, which `part_of` explains; each number once, since writing takes long.
DISTRIBUTION: Final = f"""
SELECT least(floor(number::text::numeric * {{parts}}::int)::int + 1, {{parts}}::int) AS part,
       sum(count)::bigint AS count
FROM (SELECT number, count(*) AS count FROM {_NUMBERS} GROUP BY number) AS counted
GROUP BY 1 ORDER BY 1
"""
HISTORY: Final = f"""
SELECT name, number, run_id, created_at, outcome FROM session_scores
WHERE {OF_PROJECT} AND session_id = $2 AND ($3::text IS NULL OR name = $3)
  AND data_type = '{DataType.NUMERIC}' AND outcome <> '{ScoreOutcome.PENDING}'
ORDER BY created_at DESC, id DESC LIMIT $4
"""
COMPARISON: Final = f"""
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
class PostgresScoreAnalytics:
    """Each answer is of one moment, and takes `timeout_s` at most."""

    pool: Pool
    timeout_s: float = READ_TIMEOUT_S

    async def summaries(
        self, project: ProjectId, of: TargetType, within: CreatedWithin
    ) -> Sequence[ScoreSummary]:
        p = Parameters([project])
        sql = SUMMARIES.format(table=_TABLES[of], within=created_within(p, within))
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            rows = await connection.fetch(sql, *p.values)
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
        sql = TREND.format(
            table=_TABLES[of],
            name=p.put(name),
            within=created_within(p, within),
            granularity=p.put(granularity),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            rows = await connection.fetch(sql, *p.values)
        return check_bucket_count(
            [TrendPoint(row["bucket"], row["mean"], row["count"]) for row in rows]
        )

    async def distribution(
        self, project: ProjectId, of: TargetType, name: str, parts: int, within: CreatedWithin
    ) -> Sequence[HistogramBin]:
        p = Parameters([project])
        sql = DISTRIBUTION.format(
            table=_TABLES[of],
            name=p.put(name),
            within=created_within(p, within),
            parts=p.put(parts),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            rows = await connection.fetch(sql, *p.values)
        return [histogram_bin(row["part"], parts, row["count"]) for row in rows]

    async def history(
        self, project: ProjectId, session: str, name: str | None, limit: int
    ) -> Sequence[HistoryPoint]:
        async with snapshot(
            self.pool, HISTORY_ADVICE, self.timeout_s, shown_of=project
        ) as connection:
            rows = await connection.fetch(HISTORY, project, session, name, limit)
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
            comparison_rank(place, order)  # refuses what is no place in this list
            number, session = p.put(place.value), p.put(place.id)
            sign = "<" if order is SortOrder.DESC else ">"
            after = f"(number {sign} {number} OR number = {number} AND session_id > {session})"
        sql = COMPARISON.format(
            after=after,
            direction=direction,
            limit=p.put(window.limit + 1),
            offset=p.put(window.offset if place is None else 0),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s, shown_of=project) as connection:
            rows = await connection.fetch(sql, *p.values)
        items = [
            RankedSession(row["session_id"], row["number"], row["created_at"], row["run_id"])
            for row in rows
            if row["session_id"] is not None
        ]
        shown = items[: window.limit]
        end = shown[-1].position if len(items) > len(shown) else None
        return Page(shown, rows[0]["total"], end)


def created_within(p: Parameters, within: CreatedWithin) -> str:
    """What `CreatedWithin.matches` says."""
    conditions = []
    if within.after is not None:
        conditions.append(f"created_at >= {p.put(within.after)}")
    if within.before is not None:
        conditions.append(f"created_at < {p.put(within.before)}")
    return " AND ".join(conditions) or "true"
