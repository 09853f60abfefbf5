"""Examples of scores in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.traces.examples import TRACE_ID

SCORE_ID: Final = "c9d1f1a0-7d0e-4a39-8a0b-3e5a3d1c9b02"
PROJECT_ID: Final = "7c1e0b52-0f0e-4d0b-8a4e-2f1d9b6c1111"
AT: Final = "2026-03-01T09:00:02.010203+00:00"

_GIVEN: Final[dict[str, Any]] = {
    "name": "user_satisfaction",
    "value": "0.9",
    "data_type": "NUMERIC",
    "source": "PROGRAMMATIC",
    "reason": "thumbs up",
}
GIVEN_TO_TRACE: Final[dict[str, Any]] = {"trace_id": TRACE_ID, **_GIVEN}
GIVEN_TO_SESSION: Final[dict[str, Any]] = {"session_id": "conv-42", **_GIVEN}

_STORED: Final[dict[str, Any]] = {
    "id": SCORE_ID,
    "project_id": PROJECT_ID,
    "status": "SUCCESS",
    "outcome": "scored",
    "eval_run_id": None,
    "author_user_id": None,
    "metadata": {},
    "created_at": AT,
    "updated_at": AT,
}
TRACE_SCORE: Final[dict[str, Any]] = (
    GIVEN_TO_TRACE | _STORED | {"environment": None, "config_id": None, "span_id": None}
)
_CHANGED: Final[dict[str, Any]] = {
    "value": "0.9",
    "source": "AUTOMATED",
    "author_user_id": None,
    "reason": "thumbs up",
    "metadata": {},
}
REVISION: Final[dict[str, Any]] = {
    "changed_at": AT,
    "user_id": "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    "api_key_id": None,
    "before": _CHANGED,
    "after": _CHANGED
    | {
        "value": "0.4",
        "source": "ANNOTATION",
        "author_user_id": "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    },
}
SESSION_SCORE: Final[dict[str, Any]] = GIVEN_TO_SESSION | _STORED

SUMMARY: Final[dict[str, Any]] = {
    "metric_name": "task_completion",
    "avg_score": 0.8,
    "min_score": 0.5,
    "max_score": 1.0,
    "median_score": 0.9,
    "success_count": 3,
    "failed_count": 0,
    "latest_score_at": AT,
    "judge_kind": "heuristic",
    "from_runs": True,
    "count": 3,
    "left_out_count": 0,
    "skipped_count": 1,
    "pending_count": 0,
    "passed_count": 2,
    "threshold_count": 3,
    "min_threshold": 0.7,
    "max_threshold": 0.7,
    "fingerprints": ["heuristic/1"],
}
_COUNTS: Final[dict[str, Any]] = {
    "success_count": 3,
    "skipped_count": 1,
    "failed_count": 0,
    "pending_count": 0,
}
TREND: Final[dict[str, Any]] = {
    "bucket": "2026-03-01T00:00:00+00:00",
    "metric_name": "task_completion",
    "avg_score": 0.8,
    "count": 3,
    "p10": 0.58,
    "p50": 0.9,
    "p90": 0.98,
    **_COUNTS,
    "passed_count": 2,
    "threshold_count": 3,
    "judge_kind": "heuristic",
    "fingerprints": ["heuristic/1"],
}
DISTRIBUTION: Final[dict[str, Any]] = {
    "bucket": 9,
    "bucket_min": 0.8,
    "bucket_max": 0.9,
    "count": 3,
    **_COUNTS,
}
