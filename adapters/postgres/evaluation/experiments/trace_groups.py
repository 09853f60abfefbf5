"""Groups of traces, as `domain.evaluation.experiments.trace_groups` defines them.

The newest traces that match are found as the list of traces finds them. Their rows and their newest
scores are then looked up by keys, and added up in the database: only sums come to this process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.statements.keyset_pages import KeysetQuery
from adapters.postgres.tracing.trace_filters import HAS_ERROR
from adapters.postgres.tracing.trace_lists import NARROW_LIST, TraceLists
from domain.evaluation.experiments.trace_groups import (
    GROUP_MEANS_MAX,
    GROUP_TRACES_MAX,
    LOWEST_MAX,
    GroupFigures,
    LowScore,
    ScoreFigures,
    ScoreKind,
    check_kinds,
)
from domain.evaluation.scores.score import ScoreOutcome, ScoreSource
from domain.ids import ProjectId
from domain.page import PageRequest
from domain.tracing.analytics import PERCENTILES, Latencies, mean_ms
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.trace import TraceStatus

# OFFSET 0 keeps each a lookup by key, whatever the planner knows of the project.
SELECT_TRACE_FIGURES: Final = f"""
SELECT count(*) FILTER (WHERE status = '{TraceStatus.ERROR}') AS failed,
       count(*) FILTER (WHERE {HAS_ERROR}) AS erroneous,
       count(latency_us) AS latency_count, coalesce(sum(latency_us), 0) AS latency_us,
       percentile_cont($3::float8[]) WITHIN GROUP (ORDER BY latency_us::float8) AS percentiles,
       coalesce(sum(total_tokens), 0) AS tokens, coalesce(sum(total_cost), 0) AS cost,
       count(*) FILTER (WHERE unpriced_span_count > 0) AS unpriced_traces,
       coalesce(sum(unpriced_span_count), 0)::bigint AS unpriced_spans,
       min(started_at) AS first_started_at, max(started_at) AS last_started_at
FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
  SELECT * FROM traces WHERE {IN_PROJECT} AND trace_id = wanted.id OFFSET 0
) AS found
"""
_IS_OF_RUN: Final = f"source = '{ScoreSource.AUTOMATED}'"
_IN_ORDER: Final = "ORDER BY number, trace_id"
SELECT_SCORE_FIGURES: Final = f"""
SELECT name, is_of_run, judge_kind, fingerprint,
       count(number) AS numbers,
       count(*) FILTER (WHERE outcome = '{ScoreOutcome.SCORED}' AND number IS NULL) AS labels,
       count(*) FILTER (WHERE outcome = '{ScoreOutcome.SKIPPED}') AS skipped,
       count(*) FILTER (WHERE outcome = '{ScoreOutcome.FAILED}') AS failed,
       avg(number) AS mean, var_samp(number) AS variance,
       count(*) FILTER (WHERE number IN (0, 1)) AS extremes,
       (array_agg(trace_id {_IN_ORDER}) FILTER (WHERE number IS NOT NULL))[:{LOWEST_MAX}] AS lowest,
       (array_agg(number {_IN_ORDER}) FILTER (WHERE number IS NOT NULL))[:{LOWEST_MAX}] AS lows
FROM (
  SELECT wanted.id AS trace_id, latest.name, is_of_run, outcome, number,
         CASE WHEN is_of_run THEN judge_kind END AS judge_kind,
         CASE WHEN is_of_run THEN fingerprint END AS fingerprint
  FROM unnest($2::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT DISTINCT ON (name, {_IS_OF_RUN}) name, {_IS_OF_RUN} AS is_of_run, outcome, number,
           judge_kind, fingerprint
    FROM trace_scores
    WHERE {IN_PROJECT} AND trace_id = wanted.id AND NOT is_of_span
      AND outcome <> '{ScoreOutcome.PENDING}' AND (cardinality($3::text[]) = 0 OR name = ANY($3))
    ORDER BY name, {_IS_OF_RUN}, created_at DESC, id DESC
  ) AS latest
) AS scores
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT {GROUP_MEANS_MAX + 1}
"""


@dataclass(frozen=True, slots=True)
class PostgresTraceGroups(TraceLists):
    """Each group is read from one snapshot."""

    traces_max: int = field(default=GROUP_TRACES_MAX, kw_only=True)

    async def figures(
        self, project: ProjectId, matching: TraceFilter, metrics: Sequence[str] = ()
    ) -> GroupFigures:
        query = KeysetQuery(
            project=project,
            table="traces",
            id="trace_id",
            value="started_at",
            columns=("trace_id",),
            down=True,
            window=PageRequest(self.traces_max),
        )
        async with self._visible_by_key(NARROW_LIST, project) as connection:
            page = await self._fetch_filtered(connection, query, matching, TraceSort.STARTED_AT)
            ids = [row["trace_id"] for row in page.rows[: self.traces_max]]
            shares = list(PERCENTILES)
            row = await connection.fetchrow(SELECT_TRACE_FIGURES, project, ids, shares)
            score_rows = await connection.fetch(SELECT_SCORE_FIGURES, project, ids, metrics)
        check_kinds(len(score_rows))
        known = dict(row or {})
        count, sum_us, percentiles = (
            known.pop(name) for name in ("latency_count", "latency_us", "percentiles")
        )
        latencies = None
        if count:
            mean = mean_ms(int(sum_us), count)
            latencies = Latencies(count, mean, *(one / 1_000 for one in percentiles))
        return GroupFigures(
            total=page.total,
            total_is_at_least=page.total_is_at_least,
            traces=frozenset(ids),
            latencies=latencies,
            tokens=int(known.pop("tokens")),
            scores=tuple(map(_score_figures, score_rows)),
            **known,
        )


def _score_figures(row: Record) -> ScoreFigures:
    known = dict(row)
    kind = ScoreKind(
        *(known.pop(one) for one in ("name", "is_of_run", "judge_kind", "fingerprint"))
    )
    traces, numbers = known.pop("lowest") or (), known.pop("lows") or ()
    lowest = tuple(LowScore(*one) for one in zip(traces, numbers, strict=True))
    return ScoreFigures(kind=kind, lowest=lowest, **known)
