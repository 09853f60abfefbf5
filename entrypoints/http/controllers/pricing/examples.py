"""Examples of prices in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.traces.examples import SPAN_ID, TRACE_ID

PRICE_ID: Final = "9d3c1e52-6a0b-4d57-8c2e-7b1f4a5d6e01"
REPRICING_ID: Final = "4b7e2f90-1c3d-4e5f-9a6b-8c7d6e5f4a32"
PROJECT_ID: Final = "7c1e0b52-0f0e-4d0b-8a4e-2f1d9b6c1111"

SPAN_PRICE: Final[dict[str, Any]] = {
    "span_id": SPAN_ID,
    "model": "gpt-4o",
    "cost_source": "client",
    "amount": 0.0004,
    "price": {"amount": 0.00008, "version": "genai-prices 0.2.3", "effective_from": None},
}

REQUEST: Final[dict[str, Any]] = {
    "match": "our-llama*",
    "input": "0.20",
    "output": "0.40",
    "cache_read": "0.05",
    "effective_from": "2026-03-01T00:00:00+00:00",
}
PRICE: Final[dict[str, Any]] = {
    "id": PRICE_ID,
    "project_id": PROJECT_ID,
    **REQUEST,
    "cache_write": None,
    "effective_to": None,
    "created_at": "2026-03-02T09:00:00+00:00",
}
UNPRICED: Final[dict[str, Any]] = {
    "model": "our-llama-70b",
    "spans": 1200,
    "prompt_tokens": 2400000,
    "completion_tokens": 360000,
    "last_seen_at": "2026-03-02T08:59:00+00:00",
}
REPRICE: Final[dict[str, Any]] = {
    "from": "2026-03-01T00:00:00+00:00",
    "models": ["our-llama-70b"],
    "dry_run": True,
}
_DIFFERENCE: Final[dict[str, Any]] = {
    "spans": 1200,
    "changed": 1200,
    "cost_before": 0.0,
    "cost_after": 0.624,
}
REPRICING: Final[dict[str, Any]] = {
    "id": REPRICING_ID,
    "project_id": PROJECT_ID,
    "status": "COMPLETED",
    **REPRICE,
    "to": None,
    **_DIFFERENCE,
    "by_model": [{"model": "our-llama-70b", **_DIFFERENCE}],
    "sample": [
        {
            "trace_id": TRACE_ID,
            "span_id": SPAN_ID,
            "model": "our-llama-70b",
            "started_at": "2026-03-01T09:00:00.100000+00:00",
            "before": {"cost_source": "unpriced", "amount": None, "version": None},
            "after": {"cost_source": "table", "amount": 0.00052, "version": f"project {PRICE_ID}"},
        }
    ],
    "created_at": "2026-03-02T09:05:00+00:00",
    "completed_at": "2026-03-02T09:05:01+00:00",
    "error_message": None,
}
REPRICING_STARTED: Final[dict[str, Any]] = REPRICING | {
    "status": "PENDING",
    "spans": 0,
    "changed": 0,
    "cost_after": 0.0,
    "by_model": [],
    "sample": [],
    "completed_at": None,
}
