"""Examples of a trace and its session in requests; `schemas` derives those of responses."""

from typing import Any, Final
from uuid import UUID

from domain.ids import ProjectId

PROJECT_ID: Final = ProjectId(UUID("7c1e0b52-0f0e-4d0b-8a4e-2f1d9b6c1111"))
TRACE_ID: Final = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
SPAN_ID: Final = "0d6c2c2e-3b55-4a35-9f0b-55b0a8a0c001"

SPAN: Final[dict[str, Any]] = {
    "span_id": SPAN_ID,
    "name": "chat",
    "kind": "LLM",
    "status": "OK",
    "model": "gpt-4o",
    "started_at": "2026-03-01T09:00:00.100000+00:00",
    "completion_start_time": "2026-03-01T09:00:00.400000+00:00",
    "ended_at": "2026-03-01T09:00:01.100000+00:00",
    "token_usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
    "cost": {"total": 0.0004},
}

_LABELS: Final[dict[str, Any]] = {
    "session_id": "conv-42",
    "user_id": "u-7",
    "tags": ["prod"],
    "environment": "production",
    "release": "1.4.0",
}
_FIELDS: Final[dict[str, Any]] = {
    "trace_id": TRACE_ID,
    "name": "answer-question",
    "status": "COMPLETED",
    "started_at": "2026-03-01T09:00:00+00:00",
    "ended_at": "2026-03-01T09:00:01.250000+00:00",
    **_LABELS,
}
_PAYLOADS: Final[dict[str, Any]] = {
    "input": {"messages": [{"role": "user", "content": "hi"}]},
    "output": {"messages": [{"role": "assistant", "content": "hello"}]},
}

TRACE: Final[dict[str, Any]] = {**_FIELDS, **_PAYLOADS, "spans": [SPAN]}

ACCEPTED: Final[dict[str, Any]] = {
    "trace_id": TRACE_ID,
    "task_id": "8f2c0c1e-5d7b-4b0a-9d3e-6a1f0e4b2c77",
}

SESSION: Final[dict[str, Any]] = {
    "session_id": "conv-42",
    "trace_count": 1,
    "first_trace_at": "2026-03-01T09:00:00+00:00",
    "last_trace_at": "2026-03-01T09:00:01.250000+00:00",
    "total_latency_ms": 1250.0,
    "has_error": False,
    "has_failed_span": False,
    "user_id": "u-7",
    "tags": ["prod"],
    "total_span_count": 1,
    "total_tokens": 17,
    "total_cost": 0.0004,
    "unpriced_span_count": 0,
}

USER: Final[dict[str, Any]] = {
    "user_id": "u-7",
    "trace_count": 1,
    "first_seen": "2026-03-01T09:00:00+00:00",
    "last_seen": "2026-03-01T09:00:00+00:00",
    "error_count": 0,
}


def page_of(item: dict[str, Any], limit: int = 50) -> dict[str, Any]:
    """An example of a `PaginatedResponse`."""
    return {"items": [item], "total": 1, "limit": limit, "offset": 0, "next_cursor": None}
