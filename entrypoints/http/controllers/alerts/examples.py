"""Examples of alerts and webhooks in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.monitors.examples import MONITOR_ID
from entrypoints.http.controllers.runs.examples import RUN_ID
from entrypoints.http.controllers.scores.examples import PROJECT_ID

ALERT_ID: Final = "5f0c9a52-3c1e-4a57-9d1b-7e0b6c2f8a11"
CHANGE_ID: Final = "0b8e1f64-6f0d-5c2a-8a93-2d4c5e6f7081"
WEBHOOK_ID: Final = "a9d3e7c0-1b2c-4d5e-8f60-718293a4b5c6"
DELIVERY_ID: Final = "c1d2e3f4-0516-5728-939a-4b5c6d7e8f90"

_CHANGED_AT: Final = "2026-03-02T06:01:10+00:00"
_RULE: Final[dict[str, Any]] = {
    "metric": "agent_reliability",
    "figure": "score_mean",
    "threshold": 0.7,
    "clear_at": 0.75,
    "samples_min": 20,
    "breaches": 2,
}
_TURNED: Final[dict[str, Any]] = {"before": "OK", "state": "ALERTING", "value": 0.61}

ALERT_REQUEST: Final[dict[str, Any]] = _RULE
ALERT: Final[dict[str, Any]] = _RULE | {
    "id": ALERT_ID,
    "project_id": PROJECT_ID,
    "monitor_id": MONITOR_ID,
    "recoveries": 1,
    "state": "OK",
    "since": "2026-03-01T10:05:00+00:00",
    "value": None,
    "created_at": "2026-03-01T10:05:00+00:00",
}
ALERT_CHANGE: Final[dict[str, Any]] = _TURNED | {
    "id": CHANGE_ID,
    "monitor_id": MONITOR_ID,
    "alert_id": ALERT_ID,
    "run_id": RUN_ID,
    "scored": 40,
    "failed": 0,
    "skipped": 2,
    "at": _CHANGED_AT,
}
PREVIEWED_RUN: Final[dict[str, Any]] = _TURNED | {
    "run_id": RUN_ID,
    "completed_at": _CHANGED_AT,
    "scored": 48,
    "passed": 31,
    "failed": 1,
    "skipped": 1,
    "mean": 0.61,
}
WEBHOOK_REQUEST: Final[dict[str, Any]] = {"url": "https://hooks.example.com/agents"}
WEBHOOK: Final[dict[str, Any]] = WEBHOOK_REQUEST | {
    "format": "standard",
    "id": WEBHOOK_ID,
    "project_id": PROJECT_ID,
    "created_at": "2026-03-01T10:04:00+00:00",
}
WEBHOOK_CREATED: Final[dict[str, Any]] = WEBHOOK | {
    "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
}
TEST_DELIVERY: Final[dict[str, Any]] = {
    "id": DELIVERY_ID,
    "webhook_id": WEBHOOK_ID,
    "change_id": None,
    "message": {
        "type": "webhook.test",
        "timestamp": _CHANGED_AT,
        "data": {"project_id": PROJECT_ID, "webhook_id": WEBHOOK_ID},
        "text": "PandaProbe can send messages to this webhook.",
    },
    "status": "PENDING",
    "attempts": 0,
    "http_status": None,
    "error": None,
    "next_attempt_at": _CHANGED_AT,
    "delivered_at": None,
    "created_at": _CHANGED_AT,
}
DELIVERY: Final[dict[str, Any]] = TEST_DELIVERY | {
    "change_id": CHANGE_ID,
    "message": {
        "type": "alert.changed",
        "timestamp": _CHANGED_AT,
        "data": _TURNED
        | {
            "change_id": CHANGE_ID,
            "project_id": PROJECT_ID,
            "project_name": "shop",
            "monitor_id": MONITOR_ID,
            "monitor_name": "reliability of the agents",
            "alert_id": ALERT_ID,
            "run_id": RUN_ID,
            "metric": "agent_reliability",
            "figure": "score_mean",
            "threshold": 0.7,
            "scored": 40,
            "failed": 0,
            "skipped": 2,
            "url": f"https://pandaprobe.example.com/app/p/{PROJECT_ID}/monitors/{MONITOR_ID}",
        },
        "text": "ALERTING: reliability of the agents in shop: the mean score of agent_reliability "
        "is 0.61, below 0.7; 40 scored, 2 skipped — "
        f"https://pandaprobe.example.com/app/p/{PROJECT_ID}/monitors/{MONITOR_ID}",
    },
    "status": "DELIVERED",
    "attempts": 1,
    "http_status": 204,
    "next_attempt_at": None,
    "delivered_at": "2026-03-02T06:01:11+00:00",
}
