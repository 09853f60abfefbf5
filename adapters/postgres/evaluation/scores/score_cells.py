"""Statements that count scores into cells, as `domain.evaluation.scores.rollup` defines them."""

from typing import Final

from adapters.postgres.database.pool import IN_PROJECT
from adapters.postgres.evaluation.scores.score_rows import (
    SCORES_OF_TRACES,
    SESSION_SCORES,
    TRACE_SCORES,
)
from domain.evaluation.scores.rollup import PART_BOUNDS
from domain.evaluation.scores.score import ScoreTarget

# The table of the scores of each target, and the condition that selects them among the others.
SCORES_OF: Final[dict[ScoreTarget, tuple[str, str]]] = {
    ScoreTarget.TRACE: (TRACE_SCORES.name, SCORES_OF_TRACES),
    ScoreTarget.SPAN: (TRACE_SCORES.name, f"{IN_PROJECT} AND is_of_span"),
    ScoreTarget.SESSION: (SESSION_SCORES.name, IN_PROJECT),
}
PART: Final = f"width_bucket(number, ARRAY{list(PART_BOUNDS)}::float8[])"
COUNTED_COLUMNS: Final = (
    "name, source, judge_kind, fingerprint, threshold, outcome, number, created_at"
)
# The fields that the scores of a cell share.
_CELL: Final = "name, bucket, source, judge_kind, fingerprint, threshold, outcome"


def count_scores(scores: str, bucket: str, parts: str) -> str:
    """A row for each cell of the rows of `scores`, which have COUNTED_COLUMNS.

    `parts` are the last columns. They are made of `part`, which is null without a number, and `n`.
    """
    return f"""
    SELECT {_CELL}, sum(n)::bigint AS score_count,
           coalesce(sum(n) FILTER (WHERE part IS NOT NULL), 0)::bigint AS number_count,
           coalesce(sum(total), 0) AS number_sum,
           min(minimum) AS minimum, max(maximum) AS maximum,
           sum(passed)::bigint AS passed_count, max(latest_at) AS latest_at,
           max(latest_at) FILTER (WHERE part IS NOT NULL) AS newest_number_at, {parts}
    FROM (
      SELECT name, {bucket} AS bucket, source, judge_kind, fingerprint, threshold, outcome,
             {PART} AS part, count(*) AS n, sum(number) AS total, min(number) AS minimum,
             max(number) AS maximum, count(*) FILTER (WHERE number >= threshold) AS passed,
             max(created_at) AS latest_at
      FROM {scores} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) AS counted_parts GROUP BY 1, 2, 3, 4, 5, 6, 7
    """
