"""Figures of scores, as `domain.evaluation.score_analytics` defines them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.engine import OF_PROJECT, Pool
from adapters.postgres.reading.fragments import Parameters
from adapters.postgres.reading.snapshots import READ_TIMEOUT_S, snapshot
from domain.evaluation.run import TargetType
from domain.evaluation.score import DataType, ScoreOutcome
from domain.evaluation.score_analytics import (
    HEURISTIC,
    MODEL,
    HistoryPoint,
    Part,
    RankedSession,
    ScoreSummary,
    TrendPoint,
    bounded,
    part,
    rank,
)
from domain.evaluation.score_query import CreatedWithin
from domain.ids import ProjectId
from domain.page import Page, SortOrder, Window
from domain.tracing.analytics import BUCKETS_MAX, Granularity

ADVICE: Final = "narrow date_from and date_to"
HISTORY_ADVICE: Final = "ask for fewer with limit"

_TABLES: Final = {TargetType.TRACE: "trace_scores", TargetType.SESSION: "session_scores"}
# Which kinds of judge can't be mixed: see `comparable`.
_KIND: Final = f"CASE WHEN judge_kind IN ('{HEURISTIC}', '{MODEL}') THEN judge_kind END"
_NEWEST: Final = f"""
SELECT judge_kind FROM {{table}}
WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL
  AND judge_kind IN ('{HEURISTIC}', '{MODEL}')
ORDER BY created_at DESC, id DESC LIMIT 1
"""
# Where one kind is there alone nobody has to look which is the newest.
_TOLD: Final = f"CASE WHEN count(DISTINCT kind) < 2 THEN min(kind) ELSE ({_NEWEST}) END"
# Numbers are counted by their value: a judge's have 4 decimals, and there are few.
SUMMARIES: Final = f"""
WITH tallied AS MATERIALIZED (
  SELECT name, number, CASE WHEN number IS NOT NULL THEN {_KIND} END AS kind, outcome,
         count(*) AS scores, max(created_at) AS latest_at
  FROM {{table}} WHERE {OF_PROJECT} AND {{within}} GROUP BY 1, 2, 3, 4
), told AS MATERIALIZED (
  SELECT name, sum(scores) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}') AS scored,
         sum(scores) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
         max(latest_at) AS latest_at, {
    _TOLD.format(table="{table}", name="tallied.name", within="{within}")
} AS judge_kind
  FROM tallied GROUP BY name
), upto AS (
  SELECT name, number, sum(scores) AS scores,
         sum(sum(scores)) OVER (PARTITION BY name ORDER BY number) AS upto
  FROM tallied JOIN told USING (name)
  WHERE number IS NOT NULL AND (kind IS NULL OR kind = told.judge_kind)
  GROUP BY name, number
), counted AS (
  SELECT *, sum(scores) OVER (PARTITION BY name) AS numbers FROM upto
), figures AS (
  SELECT name, sum(number * scores) / sum(scores) AS mean, min(number) AS least,
         max(number) AS most, min(number) FILTER (WHERE upto > div(numbers - 1, 2)) AS below,
         min(number) FILTER (WHERE upto > div(numbers, 2)) AS above
  FROM counted GROUP BY name
)
SELECT name, mean, least, most, below + (above - below) / 2 AS median,
       coalesce(scored, 0)::bigint AS scored, coalesce(failed, 0)::bigint AS failed, latest_at,
       judge_kind
FROM told LEFT JOIN figures USING (name) ORDER BY name
"""
# The numbers of one name that may be averaged, by one thing that they have in common.
_COMPARED: Final = f"""
WITH tallied AS MATERIALIZED (
  SELECT {{by}} AS by, {_KIND} AS kind, sum(number) AS total, count(*) AS count FROM {{table}}
  WHERE {OF_PROJECT} AND name = {{name}} AND {{within}} AND number IS NOT NULL GROUP BY 1, 2
), compared AS (
  SELECT by, sum(total) AS total, sum(count)::bigint AS count FROM tallied
  WHERE kind IS NULL OR kind = (SELECT {_TOLD} FROM tallied)
  GROUP BY by
)
"""
TREND: Final = f"""
{_COMPARED.replace("{by}", "date_trunc({granularity}, created_at)")}
SELECT by AS bucket, total / count AS mean, count FROM compared
ORDER BY 1 LIMIT {BUCKETS_MAX + 1}
"""
# As the number is written: `part_of` says why.
DISTRIBUTION: Final = f"""
{_COMPARED.replace("{by}", "number")}
SELECT least(floor(by::text::numeric * {{parts}}::int)::int + 1, {{parts}}::int) AS part,
       sum(count)::bigint AS count
FROM compared GROUP BY 1 ORDER BY 1
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
        sql = SUMMARIES.format(table=_TABLES[of], within=_within(p, within))
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
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
            within=_within(p, within),
            granularity=p.put(granularity),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(sql, *p.values)
        return bounded([TrendPoint(row["bucket"], row["mean"], row["count"]) for row in rows])

    async def distribution(
        self, project: ProjectId, of: TargetType, name: str, parts: int, within: CreatedWithin
    ) -> Sequence[Part]:
        p = Parameters([project])
        sql = DISTRIBUTION.format(
            table=_TABLES[of], name=p.put(name), within=_within(p, within), parts=p.put(parts)
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(sql, *p.values)
        return [part(row["part"], parts, row["count"]) for row in rows]

    async def history(
        self, project: ProjectId, session: str, name: str | None, limit: int
    ) -> Sequence[HistoryPoint]:
        async with snapshot(self.pool, HISTORY_ADVICE, self.timeout_s) as connection:
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
        self, project: ProjectId, name: str, order: SortOrder, window: Window
    ) -> Page[RankedSession]:
        p = Parameters([project, name])
        direction, after = ("DESC" if order is SortOrder.DESC else "ASC"), "true"
        if (place := window.after) is not None:
            rank(place, order)  # refuses what is no place in this list
            number, session = p.put(place.value), p.put(place.id)
            sign = "<" if order is SortOrder.DESC else ">"
            after = f"(number {sign} {number} OR number = {number} AND session_id > {session})"
        sql = COMPARISON.format(
            after=after,
            direction=direction,
            limit=p.put(window.limit + 1),
            offset=p.put(window.offset if place is None else 0),
        )
        async with snapshot(self.pool, ADVICE, self.timeout_s) as connection:
            rows = await connection.fetch(sql, *p.values)
        items = [
            RankedSession(row["session_id"], row["number"], row["created_at"], row["run_id"])
            for row in rows
            if row["session_id"] is not None
        ]
        shown = items[: window.limit]
        end = shown[-1].position if len(items) > len(shown) else None
        return Page(shown, rows[0]["total"], end)


def _within(p: Parameters, within: CreatedWithin) -> str:
    conditions = []
    if within.after is not None:
        conditions.append(f"created_at >= {p.put(within.after)}")
    if within.before is not None:
        conditions.append(f"created_at < {p.put(within.before)}")
    return " AND ".join(conditions) or "true"
