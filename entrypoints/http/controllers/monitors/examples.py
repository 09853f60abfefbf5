"""Examples of monitors in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.runs.examples import RUN_ID, SESSION_RUN
from entrypoints.http.controllers.scores.examples import PROJECT_ID

MONITOR_ID: Final = "e4a7c1d2-5b6f-4d0e-8c3a-9f1b2d3e4f50"

_SAID: Final[dict[str, Any]] = {
    "name": "weekly audit",
    "target_type": "SESSION",
    "cadence": "cron:0 6 * * 1",
}
_FILTERS: Final[dict[str, Any]] = {"min_trace_count": 3}
_WEIGHTS: Final[dict[str, Any]] = {"signal_weights": {"loop_detection": 1.5}}

REQUEST: Final[dict[str, Any]] = (
    _SAID | {"metrics": ["agent_reliability"], "filters": _FILTERS} | _WEIGHTS
)
CHANGE: Final[dict[str, Any]] = {"cadence": "daily", "filters": {"has_error": True}}
MONITOR: Final[dict[str, Any]] = _SAID | {
    "id": MONITOR_ID,
    "project_id": PROJECT_ID,
    "metric_names": ["agent_reliability"],
    "filters": _FILTERS | _WEIGHTS,
    "sampling_rate": 1.0,
    "model": None,
    "votes": 1,
    "max_cost_usd": None,
    "only_if_changed": True,
    "settled_only": True,
    "status": "ACTIVE",
    "last_run_at": None,
    "last_run_id": None,
    "next_run_at": "2026-03-02T06:00:00+00:00",
    "empty_slots": 0,
    "created_at": "2026-03-01T10:00:00.500000+00:00",
    "updated_at": "2026-03-01T10:00:00.500000+00:00",
}
RUN: Final[dict[str, Any]] = SESSION_RUN | {
    "id": RUN_ID,
    "name": "[Monitor] weekly audit",
    "filters": MONITOR["filters"],
    "monitor_id": MONITOR_ID,
}
CADENCE: Final[dict[str, Any]] = {
    "cadence": "cron:0 6 * * 1",
    "runs_at": ["2026-03-02T06:00:00+00:00", "2026-03-09T06:00:00+00:00"],
}
