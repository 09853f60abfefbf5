"""Score analytics, as `domain.evaluation.scores.analytics` defines them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import OF_PROJECT
from adapters.postgres.database.read_transactions import NARROW_BY_DATE, PoolReader
from adapters.postgres.database.sql_builder import Parameters
from adapters.postgres.evaluation.scores.score_rows import OF_TRACES, SESSION_SCORES, TRACE_SCORES
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

# The table of the scores of each target, and the condition that selects them among the others.
_TABLES: Final[dict[ScoreTarget, tuple[str, str]]] = {
    ScoreTarget.TRACE: (TRACE_SCORES.name, OF_TRACES),
    ScoreTarget.SPAN: (TRACE_SCORES.name, f"{OF_PROJECT} AND is_of_span"),
    ScoreTarget.SESSION: (SESSION_SCORES.name, OF_PROJECT),
}
# Whether a name has scores of runs: see `scores_of_source`.
_IS_AUTOMATED: Final = f"source = '{ScoreSource.AUTOMATED}'"
_HAS_AUTOMATED: Final = f"""
EXISTS (
  SELECT FROM {{table}} WHERE {{among}} AND name = {{name}} AND {{within}} AND {_IS_AUTOMATED}
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
# The judge kind of the newest number of a name, if numbers of that kind must not be mixed with
# others: see `comparable_scores`. Only scores of runs have one: if there is any, those are chosen.
_SELECT_NEWEST_JUDGE_KIND: Final = f"""
SELECT judge_kind FROM {{table}}
WHERE {{among}} AND name = {{name}} AND {{within}} AND number IS NOT NULL AND {{of_source}}
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
  (SELECT name FROM {{table}} WHERE {{among}} ORDER BY name LIMIT 1)
  UNION ALL
  SELECT (
    SELECT name FROM {{table}} WHERE {{among}} AND name > names.name ORDER BY name LIMIT 1
  ) FROM names WHERE names.name IS NOT NULL
)
SELECT names.name, newest AS judge_kind, {{from_runs}} AS from_runs, figures.* FROM names
CROSS JOIN LATERAL (
  SELECT {_HAS_AUTOMATED.replace("{name}", "names.name")} AS has_automated OFFSET 0
) AS runs
CROSS JOIN LATERAL (
  SELECT ({_SELECT_NEWEST_JUDGE_KIND.replace("{name}", "names.name")}) AS newest OFFSET 0
) AS judges
CROSS JOIN LATERAL (SELECT {_OTHER_JUDGE_KIND} AS other OFFSET 0) AS left_out
CROSS JOIN LATERAL (
  SELECT avg(number) FILTER (WHERE is_compared) AS mean,
         min(number) FILTER (WHERE is_compared) AS minimum,
         max(number) FILTER (WHERE is_compared) AS maximum,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY number) FILTER (WHERE is_compared) AS median,
         count(number) FILTER (WHERE is_compared) AS counted,
         count(number) FILTER (WHERE NOT is_compared) AS left_out,
         count(*) FILTER (WHERE is_chosen AND outcome = '{ScoreOutcome.SCORED}') AS scored,
         count(*) FILTER (WHERE is_chosen AND outcome = '{ScoreOutcome.FAILED}') AS failed,
         max(created_at) FILTER (WHERE is_chosen) AS latest_at
  FROM (
    SELECT number, outcome, created_at, {{chosen}} AS is_chosen,
           {{chosen}} AND {_IS_COMPARABLE} AS is_compared
    FROM {{table}} WHERE {{among}} AND name = names.name AND {{within}} OFFSET 0
  ) AS of_name
  HAVING count(*) FILTER (WHERE is_chosen) > 0
) AS figures
ORDER BY names.name
"""
# The numbers of one name that may be averaged.
_COMPARABLE_NUMBERS: Final = f"""
{{table}} CROSS JOIN (
  SELECT has_automated, {_OTHER_JUDGE_KIND} AS other FROM (
    SELECT {_HAS_AUTOMATED} AS has_automated, ({_SELECT_NEWEST_JUDGE_KIND}) AS newest OFFSET 0
  ) AS judges OFFSET 0
) AS left_out
WHERE {{among}} AND name = {{name}} AND {{within}} AND number IS NOT NULL AND {{chosen}}
  AND {_IS_COMPARABLE}
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
SELECT name, number, run_id, created_at, outcome, source FROM (
  SELECT *, bool_or({_IS_AUTOMATED}) OVER (PARTITION BY name) AS has_automated
  FROM session_scores
  WHERE {OF_PROJECT} AND session_id = $2 AND ($3::text IS NULL OR name = $3)
) AS of_session
WHERE data_type = '{DataType.NUMERIC}' AND outcome <> '{ScoreOutcome.PENDING}' AND {{chosen}}
ORDER BY created_at DESC, id DESC LIMIT $4
"""
SELECT_COMPARISON: Final = f"""
WITH runs AS MATERIALIZED (
  SELECT EXISTS (
    SELECT FROM session_scores WHERE {OF_PROJECT} AND name = $2 AND {_IS_AUTOMATED}
  ) AS has_automated
), newest AS MATERIALIZED (
  SELECT DISTINCT ON (session_id) session_id, number, created_at, run_id, source
  FROM session_scores CROSS JOIN runs
  WHERE {OF_PROJECT} AND name = $2 AND number IS NOT NULL AND {{chosen}}
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
        self,
        project: ProjectId,
        of: ScoreTarget,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[ScoreSummary]:
        p = Parameters([project])
        sql = SELECT_SUMMARIES.format(
            **_scope(of),
            within=created_within(p, within),
            from_runs=CHOOSE_FROM_RUNS[source],
            **_chosen(p, source),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return [ScoreSummary(**row) for row in rows]

    async def trend(
        self,
        project: ProjectId,
        of: ScoreTarget,
        name: str,
        granularity: Granularity,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[TrendPoint]:
        p = Parameters([project])
        sql = SELECT_TREND.format(
            **_scope(of),
            name=p.put(name),
            within=created_within(p, within),
            **_chosen(p, source),
            granularity=p.put(granularity),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return check_bucket_count([TrendPoint(**row) for row in rows], PERIOD_BOUNDS)

    async def distribution(
        self,
        project: ProjectId,
        of: ScoreTarget,
        name: str,
        parts: int,
        within: CreatedWithin,
        *,
        source: ScoreSource | None = None,
    ) -> Sequence[HistogramBin]:
        p = Parameters([project])
        sql = SELECT_DISTRIBUTION.format(
            **_scope(of),
            name=p.put(name),
            within=created_within(p, within),
            **_chosen(p, source),
            parts=p.put(parts),
        )
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return [histogram_bin(row["part"], parts, row["count"]) for row in rows]

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
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
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


def _scope(of: ScoreTarget) -> dict[str, str]:
    table, among = _TABLES[of]
    return {"table": table, "among": among}


def _chosen(p: Parameters, source: ScoreSource | None) -> dict[str, str]:
    """The condition of `scores_of_source` in SQL, and the part of it that names a source."""
    if source is None:
        return {"chosen": CHOOSE_AUTOMATED, "of_source": "true"}
    of_source = f"source = {p.put(source)}"
    return {"chosen": of_source, "of_source": of_source}


def created_within(p: Parameters, within: CreatedWithin) -> str:
    """The condition of `CreatedWithin.matches` in SQL."""
    conditions = []
    if within.after is not None:
        conditions.append(f"created_at >= {p.put(within.after)}")
    if within.before is not None:
        conditions.append(f"created_at < {p.put(within.before)}")
    return " AND ".join(conditions) or "true"
