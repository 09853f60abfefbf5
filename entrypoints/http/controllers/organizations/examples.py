"""Examples of organizations in the API reference."""

from typing import Any, Final

ORGANIZATION_ID: Final = "3f0c2b7e-0a7d-4d4e-9c7a-5a2e1f6b8c90"
USER_ID: Final = "6a1d9c52-7e3b-4f08-a0c4-2b9e8d7f6a15"
INVITATION_ID: Final = "c4d5e6f7-0819-4a2b-8c3d-4e5f60718293"
PROJECT_ID: Final = "9d8c7b6a-5f4e-4d3c-8b2a-190807f6e5d4"
KEY_ID: Final = "b1f2a3c4-d5e6-4f70-8192-a3b4c5d6e7f8"

_CREATED_AT: Final = "2026-03-01T08:00:00.000123+00:00"
_GRACE: Final = {"display_name": "Grace Hopper", "email": "grace@example.com"}

PROFILE: Final[dict[str, Any]] = {
    "id": USER_ID,
    **_GRACE,
    "created_at": _CREATED_AT,
    "last_sign_in_at": "2026-03-02T07:59:30.120004+00:00",
}
ORGANIZATION: Final = {"id": ORGANIZATION_ID, "name": "Acme", "created_at": _CREATED_AT}
MY_ORGANIZATION: Final = ORGANIZATION | {"role": "OWNER"}
MEMBERSHIP: Final[dict[str, Any]] = {
    "id": "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910",
    "user_id": USER_ID,
    "org_id": ORGANIZATION_ID,
    "role": "MEMBER",
    **_GRACE,
    "created_at": _CREATED_AT,
}
INVITATION: Final[dict[str, Any]] = {
    "id": INVITATION_ID,
    "org_id": ORGANIZATION_ID,
    "org_name": "Acme",
    "email": "grace@example.com",
    "role": "MEMBER",
    "status": "PENDING",
    "invited_by": "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9",
    "inviter_display_name": "Ada Lovelace",
    "inviter_email": "ada@example.com",
    "created_at": _CREATED_AT,
    "expires_at": "2026-03-08T08:00:00.000123+00:00",
}
PROJECT_REQUEST: Final = {"name": "checkout-bot", "description": "Answers questions about orders"}
PROJECT: Final[dict[str, Any]] = {
    "id": PROJECT_ID,
    "org_id": ORGANIZATION_ID,
    **PROJECT_REQUEST,
    "created_at": _CREATED_AT,
    "retention_days": None,
}
PROJECT_DETAIL: Final[dict[str, Any]] = PROJECT | {"warnings": []}
KEY: Final[dict[str, Any]] = {
    "id": KEY_ID,
    "org_id": ORGANIZATION_ID,
    "key_prefix": "pp_9a1b04e",
    "name": "ci",
    "is_active": True,
    "created_at": _CREATED_AT,
    "expires_at": "2026-05-30T08:00:00.000100+00:00",
    "raw_key": None,
    "scopes": ["ingest"],
    "project_ids": [PROJECT_ID],
    "networks": ["192.0.2.0/24"],
    "created_by": USER_ID,
    "last_used_at": None,
    "newest_network": None,
    "newest_network_at": None,
}
NEW_KEY: Final = KEY | {"raw_key": "pp_9a1b04e7" + "0123456789abcdef" * 3 + "01234567"}
REFUSAL: Final[dict[str, Any]] = {
    "hour": "2026-03-01T08:00:00+00:00",
    "status": 403,
    "address": "203.0.113.7",
    "credential": KEY_ID,
    "count": 12,
}
AUDIT_ENTRY: Final[dict[str, Any]] = {
    "id": "e5f60718-293a-4b4c-8d5e-6f708192a3b4",
    "occurred_at": _CREATED_AT,
    "action": "api_key.created",
    "actor": {"user_id": USER_ID, "api_key_id": None, "name": "grace@example.com"},
    "resource": {"type": "api_key", "id": KEY_ID},
    "detail": {"name": "ci", "prefix": "pp_9a1b04e"},
    "address": "203.0.113.7",
    "user_agent": "Mozilla/5.0",
    "sequence": 7,
    "hash": "0e5a5ff1b8d9cbbd1f0a6f0c4a1d8e1f3a8d7f7a64dbd9d6a9f6c4a1c0b2d3e4",
}
ACCESS: Final = {
    "organization_id": ORGANIZATION_ID,
    "project_id": PROJECT_ID,
    "scopes": ["evaluate", "read"],
}
