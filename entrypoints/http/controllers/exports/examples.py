"""Examples of exports in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.scores.examples import PROJECT_ID, SESSION_SCORE, TRACE_SCORE
from entrypoints.http.controllers.traces.schemas import TRACE_RESPONSE

LINE: Final[dict[str, Any]] = {
    **TRACE_RESPONSE,
    "scores": [TRACE_SCORE],
    "session_scores": [SESSION_SCORE],
    "export": {
        "complete": True,
        "traces": 1,
        "spans": 1,
        "scores": 1,
        "session_scores": 1,
        "sha256": "5c7f6f0d3c8f7c2e0d3a4a1b9e6d5f4c3b2a19087f6e5d4c3b2a190817263544",
    },
}

EXPORT_ID: Final = "3f0f6a52-5a0e-4c1f-9a57-0c4f0f9b7a11"

REQUEST: Final[dict[str, Any]] = {
    "format": "parquet",
    "rows": "spans",
    "filters": {"started_after": "2026-03-01T00:00:00+00:00", "tags": ["prod"]},
}

EXPORT: Final[dict[str, Any]] = {
    "id": EXPORT_ID,
    "project_id": PROJECT_ID,
    **REQUEST,
    "status": "COMPLETED",
    "traces_total": 1,
    "traces_done": 1,
    "row_count": 1,
    "size": 5133,
    "sha256": "5c7f6f0d3c8f7c2e0d3a4a1b9e6d5f4c3b2a19087f6e5d4c3b2a190817263544",
    "error_message": None,
    "created_at": "2026-03-02T01:00:00+00:00",
    "completed_at": "2026-03-02T01:00:01.500000+00:00",
    "expires_at": "2026-03-09T01:00:00+00:00",
}
