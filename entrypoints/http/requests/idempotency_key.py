"""Recognises a retried write by its Idempotency-Key and a hash of the request."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from application.ports import IdempotentRequest
from domain.identity.caller import Caller
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
        "A request that is repeated with the same key and the same credential has no further "
        "effect and gets the response of the first one, which is stored for a day by default"
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX, "pattern": "^[!-~]+$"},
}


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Identifies a write. Requests of one credential with equal values are the same write."""

    operation: str
    key: str
    request_hash: bytes
    target: str | None = None  # the trace or session in the body

    def for_caller(self, caller: Caller, *, has_text: bool = True) -> IdempotentRequest:
        """The write of this caller. A key of another credential is another key.

        `has_text`: the response may quote what is stored, so that an erasure deletes it.

        Otherwise a key that leaks, in a log for example, would give the response to every other
        credential of the project.
        """
        credential = caller.key_id or caller.user_id
        return IdempotentRequest(
            project=caller.project_id,
            operation=self.operation,
            key=f"{credential} {self.key}",
            request_hash=self.request_hash,
            target=self.target,
            has_text=has_text,
        )


def parse_idempotency_key(
    scope: Any,
    body: bytes,
    content: object,
    errors: FieldErrors,
    *,
    accepts_request_id: bool = False,
) -> IdempotencyKey | None:
    """None without a key. `body` is the body as sent, decompressed; `content` is what it means.

    `accepts_request_id`: without a key, requests with one X-Request-ID and one body are the same
    write. Published clients send no key, but repeat a write with its X-Request-ID. Many clients use
    one X-Request-ID for several requests, so with another body it is another write.
    """
    given = next((value.strip() for name, value in scope["headers"] if name == _HEADER), b"")
    if given and _FORM.fullmatch(given) is None:
        message = f"must contain 1 to {KEY_CHARS_MAX} visible ASCII characters"
        errors.add(f"header.{HEADER_NAME}", message)
        return None
    request_id = client_request_id(scope) if accepts_request_id else None
    if not given and request_id is None:
        return None
    path = scope["path"].rstrip("/").encode(errors="surrogateescape")
    request_hash = sha256(path + b"\0" + body).digest()
    # No Idempotency-Key contains a space, so the two kinds of keys never meet.
    key = given.decode() if given else f"request {request_id} {request_hash.hex()}"
    return IdempotencyKey(
        operation=f"{scope['method']} {scope['path_template'].rstrip('/')}",
        key=key,
        request_hash=request_hash,
        target=_target_of(content),
    )


def _target_of(content: object) -> str | None:
    """The trace or session that the response is about, and may quote."""
    for field in ("trace_id", "session_id"):
        if (target := getattr(content, field, None)) is not None:
            return str(target)
    return None
