"""Examples of costs in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.organizations.examples import ORGANIZATION_ID, PROJECT_ID

ESTIMATE: Final[dict[str, Any]] = {
    "model": "openai/gpt-4o",
    "targets": 75,
    "looked_at": 20,
    "questions": {"low": 58, "high": 75},
    "input_tokens": {"low": 121_400, "high": 189_300},
    "output_tokens": {"low": 3_480, "high": 112_500},
    "cost_usd": {"low": 0.3383, "high": 1.59825},
    "remembered_share": 0.1,
    "assumptions": "Sampled traces: 20. The others are assumed to be similar, …",
}
USAGE: Final[dict[str, Any]] = {
    "calls": 120,
    "failed_calls": 2,
    "unpriced_calls": 0,
    "estimated_calls": 0,
    "input_tokens": 310_000,
    "cache_read_tokens": 120_000,
    "cache_write_tokens": 0,
    "output_tokens": 14_000,
    "reasoning_tokens": 0,
    "cost_usd": 0.765,
}
ORGANIZATION_USAGE: Final[dict[str, Any]] = {
    "date_from": "2026-03-01T00:00:00+00:00",
    "date_to": None,
    "by": "project",
    "total": USAGE,
    "parts": [{"key": PROJECT_ID} | USAGE],
}
LIMITS_REQUEST: Final[dict[str, Any]] = {
    "monthly_usd": 100.0,
    "project_monthly_usd": 25.0,
    "project_retention_days": 90,
    "key_days": 90,
}
LIMITS: Final[dict[str, Any]] = {
    "org_id": ORGANIZATION_ID,
    "month": "2026-03",
    "monthly_usd": 100.0,
    "spent_usd": 0.765,
    "unpriced_calls": 0,
    "project_monthly_usd": 25.0,
    "project_retention_days": 90,
    "key_days": 90,
}
BUDGET: Final[dict[str, Any]] = {
    "project_id": PROJECT_ID,
    "month": "2026-03",
    "monthly_usd": 25.0,
    "spent_usd": 0.765,
    "unpriced_calls": 0,
}
