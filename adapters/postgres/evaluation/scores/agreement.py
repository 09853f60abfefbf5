"""Compares human labels with judge scores: read by name, then trace by trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.database.read_transactions import NARROW_BY_DATE, RETRY_LATER, PoolReader
from adapters.postgres.database.statements.sql_builder import Parameters
from adapters.postgres.evaluation.scores.score_analytics import created_within
from adapters.postgres.evaluation.scores.score_rows import SCORES_OF_TRACES, TRACE_SCORES
from domain.evaluation.agreement.calibration import (
    CANDIDATES_MAX,
    JUDGE_SCORES_PER_TRACE_MAX,
    JUDGED_MAX,
    LABELS_MAX,
    JudgeScores,
    JudgeVolume,
    PairedTrace,
    QueueItem,
    group_by_judge,
    interleave,
)
from domain.evaluation.agreement.statistics import ScorePair
from domain.evaluation.metrics.metric import JudgeKind
from domain.evaluation.scores.score import CreatedWithin, ScoreSource, TraceScore
from domain.ids import ProjectId, TraceId

IS_ANNOTATION: Final = f"source = '{ScoreSource.ANNOTATION}'"
_IS_AUTOMATED: Final = f"source = '{ScoreSource.AUTOMATED}'"
# `Score.has_machine_value` of an ANNOTATION in SQL.
_HAS_MACHINE_VALUE: Final = f"""
(history->0->>'source' IS NOT DISTINCT FROM '{ScoreSource.AUTOMATED}' AND NOT EXISTS (
  SELECT 1 FROM json_array_elements(history) AS revisions (revision)
  WHERE revision->>'value' IS DISTINCT FROM value
))
"""
# `judge_score` of the domain in SQL. Once a run is deleted, its original values count no longer.
JUDGE_VALUE: Final = f"""
CASE WHEN {_IS_AUTOMATED} THEN number
     WHEN run_id IS NOT NULL AND original IS NOT NULL THEN original
     WHEN {_HAS_MACHINE_VALUE} THEN number END
"""
# `human_label` of the domain in SQL.
_IS_LABEL: Final = f"""
{IS_ANNOTATION} AND number IS NOT NULL
AND CASE WHEN run_id IS NULL THEN NOT {_HAS_MACHINE_VALUE} ELSE original IS NOT NULL END
"""
SELECT_LABEL_PAIRS: Final = f"""
WITH newest_labels AS MATERIALIZED (
  SELECT trace_id, number, updated_at, id FROM trace_scores
  WHERE {SCORES_OF_TRACES} AND name = $2 AND {{within}} AND {_IS_LABEL}
  ORDER BY created_at DESC, id DESC LIMIT {LABELS_MAX}
), labels AS MATERIALIZED (
  SELECT DISTINCT ON (trace_id) trace_id, number AS person, updated_at FROM newest_labels
  ORDER BY trace_id, updated_at DESC, id DESC
)
SELECT trace_id, fingerprint, judge, person, updated_at FROM labels CROSS JOIN LATERAL (
  SELECT DISTINCT ON (fingerprint) fingerprint, judge FROM (
    SELECT fingerprint, {JUDGE_VALUE} AS judge, created_at, id FROM trace_scores
    WHERE {SCORES_OF_TRACES} AND trace_id = labels.trace_id AND name = $2
      AND {JUDGE_VALUE} IS NOT NULL
    ORDER BY created_at DESC, id DESC LIMIT {JUDGE_SCORES_PER_TRACE_MAX}
  ) AS newest ORDER BY fingerprint, created_at DESC, id DESC
) AS judged
"""
COUNT_JUDGED: Final = f"""
SELECT fingerprint, count(*) AS judged, count(*) FILTER (WHERE judge >= {{threshold}}) AS passed,
       max(judge_kind) FILTER (WHERE judge_kind = ANY({{kinds}}::text[])) AS judge_kind
FROM (
  SELECT fingerprint, judge_kind, {JUDGE_VALUE} AS judge FROM trace_scores
  WHERE {SCORES_OF_TRACES} AND name = $2 AND {{within}} AND {JUDGE_VALUE} IS NOT NULL
  ORDER BY created_at DESC, id DESC LIMIT {JUDGED_MAX}
) AS newest GROUP BY fingerprint
"""
# `unlabelled_scores` of the domain in SQL, as common table expressions. Whether a label exists is
# looked up trace by trace.
WAITING: Final = f"""
newest AS MATERIALIZED (
  SELECT id, trace_id, number, created_at FROM trace_scores
  WHERE {SCORES_OF_TRACES} AND name = $2 AND {_IS_AUTOMATED} AND number IS NOT NULL
  ORDER BY created_at DESC, id DESC LIMIT {CANDIDATES_MAX}
), per_trace AS MATERIALIZED (
  SELECT DISTINCT ON (trace_id) id, trace_id, number FROM newest
  ORDER BY trace_id, created_at DESC, id DESC
), waiting AS MATERIALIZED (
  SELECT id, trace_id, number FROM per_trace WHERE NOT EXISTS (
    SELECT 1 FROM trace_scores AS label
    WHERE label.{IN_PROJECT} AND NOT label.is_of_span
      AND label.trace_id = per_trace.trace_id AND label.name = $2
      AND label.{IS_ANNOTATION} OFFSET 0
  )
)"""
# `queue_orders` of the domain in SQL.
UNCERTAIN_FIRST: Final = "ORDER BY abs(number - {threshold}::float8), id"
BY_CHANCE_FIRST: Final = 'ORDER BY md5({seed}::text || trace_id::text) COLLATE "C"'
SELECT_QUEUE_ITEMS: Final = f"""
WITH {WAITING}, chosen AS MATERIALIZED (
  (SELECT id, false AS by_chance, row_number() OVER () AS place FROM (
    SELECT id FROM waiting {UNCERTAIN_FIRST.format(threshold="$3")} LIMIT $5
  ) AS uncertain)
  UNION ALL
  (SELECT id, true, row_number() OVER () FROM (
    SELECT id FROM waiting {BY_CHANCE_FIRST.format(seed="$4")} LIMIT $5
  ) AS by_chance)
)
SELECT by_chance, s.* FROM chosen CROSS JOIN LATERAL (
  SELECT {TRACE_SCORES.select()} FROM trace_scores
  WHERE {IN_PROJECT} AND id = chosen.id OFFSET 0
) AS s ORDER BY by_chance, place
"""


@dataclass(frozen=True, slots=True)
class PostgresHumanLabels(PoolReader):
    """Each result is from one snapshot."""

    async def compare_with_human_labels(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        p, q = Parameters([project, name]), Parameters([project, name])
        pairs = SELECT_LABEL_PAIRS.format(within=created_within(p, within))
        rated = COUNT_JUDGED.format(
            within=created_within(q, within),
            threshold=f"{q.put(threshold)}::float8",
            kinds=q.put([*JudgeKind]),
        )
        async with self._visible_snapshot(NARROW_BY_DATE, project) as connection:
            paired = await connection.fetch(pairs, *p.values)
            judged = await connection.fetch(rated, *q.values)
        return group_by_judge(
            [(row["fingerprint"], ScorePair(row["judge"], row["person"])) for row in paired],
            {
                row["fingerprint"]: JudgeVolume(
                    judge_kind=row["judge_kind"], judged=row["judged"], passed=row["passed"]
                )
                for row in judged
            },
        )

    async def paired_traces(
        self, project: ProjectId, name: str, within: CreatedWithin
    ) -> Sequence[PairedTrace]:
        p = Parameters([project, name])
        sql = SELECT_LABEL_PAIRS.format(within=created_within(p, within))
        rows = await self._fetch_visible(NARROW_BY_DATE, project, sql, *p.values)
        return [
            PairedTrace(
                trace=TraceId(row["trace_id"]),
                fingerprint=row["fingerprint"],
                pair=ScorePair(row["judge"], row["person"]),
                labelled_at=row["updated_at"],
            )
            for row in rows
        ]

    async def annotation_queue(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[QueueItem]:
        asked = (project, name, threshold, seed, limit)
        rows = await self._fetch_visible(RETRY_LATER, project, SELECT_QUEUE_ITEMS, *asked)
        lists: dict[bool, list[TraceScore]] = {False: [], True: []}
        for row in rows:
            lists[row["by_chance"]].append(TRACE_SCORES.score(row))
        return interleave(lists[False], lists[True])
