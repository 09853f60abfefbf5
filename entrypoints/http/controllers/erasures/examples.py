"""Examples of erasures in the API reference."""

from typing import Any, Final

from entrypoints.http.controllers.organizations.examples import KEY_ID
from entrypoints.http.controllers.scores.examples import PROJECT_ID

ID: Final = "2c9e4f10-7a6b-4c3d-9e8f-0a1b2c3d4e5f"

REQUEST: Final[dict[str, Any]] = {"user_id": "grace@example.com"}
RECEIPT: Final[dict[str, Any]] = {
    "id": ID,
    "project_id": PROJECT_ID,
    "kind": "user",
    "salt": "00112233445566778899aabbccddeeff",
    "owner_hash": "9a1b04e7" * 8,
    "state": "REMOVED",
    "requested_at": "2026-03-01T10:00:00.000100+00:00",
    "requested_by": {"user_id": None, "api_key_id": KEY_ID, "name": "pp_9a1b04e"},
    "removed_at": "2026-03-01T10:00:00.250000+00:00",
    "rows": {"spans": 36, "trace_payloads": 12, "trace_scores": 5, "traces": 12},
    "receipt_sha256": "5e884898" * 8,
}
CHECK: Final[dict[str, Any]] = {
    "erasure_id": ID,
    "checked_at": "2026-03-08T10:00:00.000100+00:00",
    "is_erased": True,
    "found": {},
    "traces_since": 0,
}
