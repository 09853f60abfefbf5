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
    "noise_floor": None,
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
_SIDE: Final[dict[str, Any]] = {
    "id": EXPERIMENT_ID,
    "name": "shorter prompt",
    "release": "2.1.0",
    "git": {"sha": "9fceb02", "branch": "shorter-prompt", "pull_request": "128"},
    "run_id": RUN_ID,
    "cases": 300,
    "results": 300,
    "latency_ms": 1250.0,
    "latency_items": 300,
    "tokens": 840.0,
    "tokens_items": 300,
    "cost_usd": 0.0021,
    "cost_items": 300,
    "total_cost_usd": 0.63,
    "judge_cost_usd": 0.31,
    "unpriced_calls": 0,
}
_RULE: Final[dict[str, Any]] = {
    "metric": "task_completion",
    "max_drop": 0.05,
    "min": None,
    "max_ratio": None,
    "confidence": 0.95,
}
COMPARE: Final[dict[str, Any]] = {
    "base": "0d9e8f5c-1a2b-4c3d-8e4f-5a6b7c8d9e0f",
    "candidate": EXPERIMENT_ID,
    "rules": [{"metric": "task_completion", "max_drop": 0.05}],
}
COMPARISON: Final[dict[str, Any]] = {
    "verdict": "inconclusive",
    "base": _SIDE | {"id": COMPARE["base"], "name": "release 2.0"},
    "candidate": _SIDE,
    "results": [
        {
            "rule": _RULE,
            "verdict": "inconclusive",
            "why": "the interval contains the limit",
            "items": 100,
            "base_coverage": 1.0,
            "candidate_coverage": 1.0,
            "base_mean": 0.82,
            "candidate_mean": 0.8,
            "change": -0.02,
            "low": -0.06,
            "high": 0.02,
            "p_value": 0.93,
            "kappa": None,
            "needed": {
                "items": 78,
                "items_cost_usd": 1.47,
                "repetitions": 6,
                "repetitions_cost_usd": 1.88,
            },
        }
    ],
    "mismatches": [],
    "rescoring": None,
    "failures": 1,
    "new_failures": [
        {
            "metric": "task_completion",
            "item": ITEM_ID,
            "base": 0.9,
            "candidate": 0.2,
            "threshold": 0.5,
            "results": EXPERIMENT_ITEM["results"],
        }
    ],
    "noise_floor": None,
}
