"""Many scores of one project, created in the database, for benchmarks and query plans."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from domain.ids import ProjectId

UNTIL: Final = datetime(2026, 6, 1, tzinfo=UTC)
PERIOD: Final = timedelta(days=30)
NAMES: Final = tuple(f"metric_{n}" for n in range(10))  # each on every trace
SESSION_NAMES: Final = ("agent_reliability", "agent_consistency")
OF_RUN: Final = 10_000  # scores

# Out of ten scores, eight are from a model, one from the heuristic judge and one from a person, in
# place of a judge's. Out of twenty, one failed and one was skipped. The fingerprint changes once.
_TOLD: Final = """
CASE i % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'skipped' ELSE 'scored' END,
CASE WHEN i % 20 > 1 THEN number::text END, CASE WHEN i % 20 > 1 THEN number END, 'NUMERIC',
CASE i / 10 % 10 WHEN 9 THEN 'ANNOTATION' ELSE 'AUTOMATED' END,
md5($1::uuid::text || 'run' || i / 10000)::uuid,
'The answer says what was asked for, and leaves out where it was found: part ' || i,
json_build_object('judge_kind', kind, 'evidence_hash', md5(i::text), 'fingerprint', made_by,
                  'model', 'a-provider/a-model', 'tokens', i % 4000, 'threshold', 0.5),
kind, made_by, 0.5, CASE WHEN i % 20 = 1 THEN 'no_output' WHEN i % 20 = 0 THEN 'judge_down' END,
at, at
FROM generate_series(0, $2::int - 1) AS i
CROSS JOIN LATERAL (
  SELECT round((i::bigint * 7919 % 10007) / 10007.0, 4) AS number,
         $3::timestamptz + i * $4::interval AS at,
         CASE i / 10 % 10 WHEN 9 THEN NULL WHEN 8 THEN 'heuristic' ELSE 'model' END AS kind,
         repeat(md5((i > 0.61 * $2::int)::text), 2) AS made_by
) AS made
"""
_COLUMNS: Final = (
    "outcome, value, number, data_type, source, run_id, reason, metadata, judge_kind, fingerprint,"
    " threshold, code, created_at, updated_at"
)
_TRACE_SCORES: Final = f"""
INSERT INTO trace_scores (project_id, id, trace_id, environment, evidence_hash, original, name,
                          {_COLUMNS})
SELECT $1::uuid, gen_random_uuid(), md5($1::uuid::text || i / 10)::uuid,
       CASE WHEN i / 10 % 5 > 0 THEN 'production' ELSE 'staging' END, md5(i::text),
       CASE WHEN i / 10 % 10 = 9 AND i % 20 > 1 THEN 1 - number END, 'metric_' || i % 10, {_TOLD}
"""
_SESSION_SCORES: Final = f"""
INSERT INTO session_scores (project_id, id, session_id, name, {_COLUMNS})
SELECT $1::uuid, gen_random_uuid(), 'conv-' || i / 2 % ($2::int / 4),
       CASE i % 2 WHEN 0 THEN 'agent_reliability' ELSE 'agent_consistency' END, {_TOLD}
"""


# Scores of a span of the same trace, with the same names and times.
_SPAN_SCORES: Final = f"""
INSERT INTO trace_scores (project_id, id, trace_id, span_id, name, {_COLUMNS})
SELECT project_id, gen_random_uuid(), trace_id, md5(trace_id::text)::uuid, name, outcome, value,
       number, data_type, 'PROGRAMMATIC', NULL, reason, metadata, judge_kind, NULL, threshold, code,
       created_at, updated_at
FROM trace_scores WHERE project_id = $1 AND NOT is_of_span ORDER BY created_at LIMIT $2
"""


def inserts(
    project: ProjectId, traces: int, sessions: int, spans: int = 0
) -> Sequence[tuple[str, tuple[Any, ...]]]:
    """Statements, with their arguments, that create this many scores.

    Those of spans are of the first traces.
    """
    return [
        *(
            (sql, (project, scores, UNTIL - PERIOD, PERIOD / scores))
            for sql, scores in ((_TRACE_SCORES, traces), (_SESSION_SCORES, sessions))
        ),
        (_SPAN_SCORES, (project, spans)),
    ]
