"""Examples of runs in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.scores.examples import PROJECT_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID

RUN_ID: Final = "1d0a6c1e-2f4b-4f0d-9c55-0a6d1e7b8f21"

_REQUEST: Final[dict[str, Any]] = {"name": "nightly", "metrics": ["task_completion"]}
_SESSION_REQUEST: Final[dict[str, Any]] = {"name": "nightly", "metrics": ["agent_reliability"]}
_TRACES: Final[dict[str, Any]] = {"date_from": "2026-03-01", "status": "COMPLETED"}
_SESSIONS: Final[dict[str, Any]] = {"date_from": "2026-03-01", "min_trace_count": 1}

TRACE_REQUEST: Final = _REQUEST | {"filters": _TRACES, "sampling_rate": 0.5}
TRACE_BATCH: Final = _REQUEST | {"trace_ids": [TRACE_ID]}
SESSION_REQUEST: Final = _SESSION_REQUEST | {"filters": _SESSIONS}
SESSION_BATCH: Final = _SESSION_REQUEST | {"session_ids": ["conv-42"]}

TRACE_RUN: Final[dict[str, Any]] = {
    "id": RUN_ID,
    "name": "nightly",
    "status": "PENDING",
    "metric_names": ["task_completion"],
    "total_targets": 75,
    "evaluated_count": 0,
    "failed_count": 0,
    "skipped_count": 0,
    "created_at": "2026-03-02T01:00:00.120000+00:00",
    "completed_at": None,
    "project_id": PROJECT_ID,
    "target_type": "TRACE",
    "filters": _TRACES,
    "sampling_rate": 0.5,
    "settled_only": True,
    "model": "heuristic/1",
    "votes": 1,
    "max_cost_usd": None,
    "monitor_id": None,
    "error_message": None,
    "waiting_for": None,
}
SESSION_RUN: Final[dict[str, Any]] = TRACE_RUN | {
    "metric_names": ["agent_reliability"],
    "target_type": "SESSION",
    "filters": _SESSIONS,
    "sampling_rate": 1.0,
}

TRACE_COUNT: Final[dict[str, Any]] = {"filters": _TRACES, "sampling_rate": 0.5}
SESSION_COUNT: Final[dict[str, Any]] = {"filters": _SESSIONS}
COUNTED: Final[dict[str, Any]] = {"matches": 150, "targets": 75, "total_is_at_least": False}
_SUMMARY: Final[dict[str, Any]] = {
    "metric": "task_completion",
    "is_signal": False,
    "scored": 68,
    "skipped": 3,
    "failed": 4,
    "pending": 0,
    "mean": 0.8125,
    "counted": 68,
    "threshold": 0.5,
    "passed": 57,
    "codes": {"rate_limited": 4, "empty_output": 3},
    "judge_kind": "model",
    "calls": 64,
    "unpriced_calls": 0,
    "cost_usd": 0.3383,
    "cache_hits": 8,
}
TRACE_SUMMARY: Final[dict[str, Any]] = {"run_id": RUN_ID, "metrics": [_SUMMARY]}
SESSION_SUMMARY: Final[dict[str, Any]] = {
    "run_id": RUN_ID,
    "metrics": [
        _SUMMARY | {"metric": "agent_reliability", "judge_kind": None, "calls": 0, "cost_usd": 0},
        _SUMMARY | {"metric": "confidence", "is_signal": True},
    ],
}
