"""Recognises a retried write by its Idempotency-Key and a hash of the request."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from application.ports import IdempotentRequest
from domain.ids import ProjectId
from entrypoints.http.middleware.request_ids import client_request_id
from entrypoints.http.requests.errors import FieldErrors

HEADER_NAME: Final = "Idempotency-Key"
KEY_CHARS_MAX: Final = 255
_HEADER: Final = HEADER_NAME.lower().encode()
_FORM: Final = re.compile(rb"[\x21-\x7e]{1,%d}" % KEY_CHARS_MAX)

KEY_PARAMETER: Final = {
    "name": HEADER_NAME,
    "in": "header",
    "required": False,
    "description": (
        "A request that is repeated with the same key has no further effect and gets the response "
        "of the first one, which is stored for a day by default. Without this header, the "
        "X-Request-ID is used as the key"
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[!-~]+$"},
}


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Identifies a write. Two requests with equal values in one project are the same write."""

    operation: str
    key: str
    request_hash: bytes
    target: str | None = None  # the trace or session in the body

    def in_project(self, project: ProjectId) -> IdempotentRequest:
        return IdempotentRequest(
            project=project,
            operation=self.operation,
            key=self.key,
            request_hash=self.request_hash,
            target=self.target,
        )


def parse_idempotency_key(
    scope: Any, body: bytes, content: object, errors: FieldErrors
) -> IdempotencyKey | None:
    """None without a key. `body` is the body as sent, decompressed; `content` is what it means."""
    given = next((value.strip() for name, value in scope["headers"] if name == _HEADER), b"")
    if given and _FORM.fullmatch(given) is None:
        message = f"must contain 1 to {KEY_CHARS_MAX} visible ASCII characters"
        errors.add(f"header.{HEADER_NAME}", message)
        return None
    key = given.decode() if given else client_request_id(scope)
    if key is None:
        return None
    path = scope["path"].rstrip("/").encode(errors="surrogateescape")
    return IdempotencyKey(
        operation=f"{scope['method']} {scope['path_template'].rstrip('/')}",
        key=key,
        request_hash=sha256(path + b"\0" + body).digest(),
        target=_target_of(content),
    )


def _target_of(content: object) -> str | None:
    """The trace or session that the response is about, and may quote."""
    for field in ("trace_id", "session_id"):
        if (target := getattr(content, field, None)) is not None:
            return str(target)
    return None
