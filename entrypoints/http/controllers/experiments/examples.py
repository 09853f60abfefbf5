"""Examples of experiments in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.datasets.examples import ITEM, ITEM_ID, NAME, VERSION
from entrypoints.http.controllers.runs.examples import RUN_ID
from entrypoints.http.controllers.scores.examples import PROJECT_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID

EXPERIMENT_ID: Final = "5c0d9e8f-1a2b-4c3d-8e4f-5a6b7c8d9e0f"
_AT: Final = "2026-03-01T10:00:00+00:00"

REQUEST: Final[dict[str, Any]] = {
    "name": "shorter prompt",
    "dataset": NAME,
    "split": "test",
    "repetitions": 3,
    "metrics": ["task_completion"],
    "release": "2.1.0",
    "git": {"sha": "9fceb02", "branch": "shorter-prompt", "pull_request": "128"},
}
EXPERIMENT: Final[dict[str, Any]] = {
    "id": EXPERIMENT_ID,
    "project_id": PROJECT_ID,
    "name": "shorter prompt",
    "dataset": NAME,
    "version": VERSION,
    "version_number": 1,
    "split": "test",
    "items": 1,
    "repetitions": 3,
    "metrics": ["task_completion"],
    "release": "2.1.0",
    "git": {"sha": "9fceb02", "branch": "shorter-prompt", "pull_request": "128"},
    "model": None,
    "votes": 1,
    "max_cost_usd": None,
    "run_id": None,
    "created_at": _AT,
    "closed_at": None,
}
PROGRESS: Final[dict[str, Any]] = EXPERIMENT | {
    "run_id": RUN_ID,
    "closed_at": _AT,
    "status": "COMPLETED",
    "results": 2,
    "coverage": {
        "total": 3,
        "scored": 2,
        "failed": 0,
        "skipped": 0,
        "pending": 0,
        "missing": 1,
    },
    "judge_cost_usd": 0.0031,
    "unpriced_calls": 0,
}
RESULTS: Final[dict[str, Any]] = {
    "results": [{"item": ITEM_ID, "repetition": 1, "trace_id": TRACE_ID}]
}
WRITTEN: Final[dict[str, Any]] = {"stored": 1, "unchanged": 0, "results": 1, "rejected": []}
CLOSED: Final[dict[str, Any]] = {"id": EXPERIMENT_ID, "run_id": RUN_ID, "status": "PENDING"}
EXPERIMENT_ITEM: Final[dict[str, Any]] = {
    "item": ITEM_ID,
    "input": ITEM["input"],
    "expected": ITEM["expected"],
    "missing": 2,
    "results": [
        {
            "repetition": 1,
            "trace_id": TRACE_ID,
            "latency_ms": 1250.0,
            "tokens": 840,
            "cost_usd": 0.0021,
            "scores": [
                {
                    "metric": "task_completion",
                    "outcome": "scored",
                    "value": "0.8",
                    "code": None,
                    "reason": "The refund was promised",
                }
            ],
        }
    ],
}
