"""Examples of custom metrics in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.scores.examples import PROJECT_ID
from entrypoints.http.controllers.traces.examples import TRACE_ID

METRIC_ID: Final = "3d0f7c62-95b1-4c08-8e53-0a1b2c3d4e5f"
NAME: Final = "polite_answer"

CONTENT: Final[dict[str, Any]] = {
    "description": "How politely the customer was answered",
    "threshold": 0.6,
    "definition": {
        "criterion": "How politely was the customer answered, whatever the result?",
        "anchors": [
            "insulting",
            "curt, or blaming the customer",
            "correct, without a word of courtesy",
            "courteous once",
            "courteous throughout, with one cold passage",
            "courteous throughout",
        ],
        "template": "What the customer wrote\n{{task}}\nWhat was answered\n{{final_output}}",
    },
}
REQUEST: Final[dict[str, Any]] = {"name": NAME, "kind": "judge"} | CONTENT

_AT: Final = "2026-03-01T10:00:00+00:00"
METRIC: Final[dict[str, Any]] = REQUEST | {
    "id": METRIC_ID,
    "project_id": PROJECT_ID,
    "revision": 1,
    "archived_at": None,
    "created_at": _AT,
    "updated_at": _AT,
}
REVISION: Final[dict[str, Any]] = CONTENT | {"revision": 1, "created_at": _AT}

TRY: Final[dict[str, Any]] = {"trace_id": TRACE_ID}
TRY_DRAFT: Final[dict[str, Any]] = {
    "kind": "judge",
    "definition": CONTENT["definition"],
    "trace_id": TRACE_ID,
}
TRIED: Final[dict[str, Any]] = {
    "name": NAME,
    "revision": 1,
    "kind": "judge",
    "trace_id": TRACE_ID,
    "evidence_hash": "9f2c" * 16,
    "prompt": [{"stage": "judge", "prompt": "You grade one run …\n\nCriterion: How politely …"}],
    "outcome": None,
    "run_id": None,
    "model": "openai/gpt-4o-mini",
    "estimated_cost_usd": 0.0004,
}
