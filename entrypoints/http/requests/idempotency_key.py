"""Recognises a retried write by its Idempotency-Key and a hash of the request."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from application.ports import IdempotentRequest
from domain.ids import ProjectId
from entrypoints.http.middleware.request_ids import sent_request_id
from entrypoints.http.problems import Mistakes

NAME: Final = "Idempotency-Key"
KEY_MAX: Final = 255  # characters
HEADER: Final = NAME.lower().encode()
_FORM: Final = re.compile(rb"[\x21-\x7e]{1,%d}" % KEY_MAX)

KEY_PARAMETER: Final = {
    "name": NAME,
    "in": "header",
    "required": False,
    "description": (
        "A request that is sent again with the same key has no other effect, and gets the first "
        "answer again; that is kept for a day by default. Without a key an X-Request-ID counts"
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MAX, "pattern": "^[!-~]+$"},
}


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What makes two requests the same write, within a project that is not known yet."""

    operation: str
    key: str
    request_hash: bytes

    def within(self, project: ProjectId) -> IdempotentRequest:
        return IdempotentRequest(
            project=project,
            operation=self.operation,
            key=self.key,
            request_hash=self.request_hash,
        )


def parse_idempotency_key(scope: Any, body: bytes, mistakes: Mistakes) -> IdempotencyKey | None:
    """None without a key; `body` is what was sent, decompressed."""
    given = next((value.strip() for name, value in scope["headers"] if name == HEADER), b"")
    if given and _FORM.fullmatch(given) is None:
        mistakes.add(f"header.{NAME}", f"must hold 1 to {KEY_MAX} visible ASCII characters")
        return None
    key = given.decode() if given else sent_request_id(scope)
    if key is None:
        return None
    path = scope["path"].rstrip("/").encode(errors="surrogateescape")
    return IdempotencyKey(
        operation=f"{scope['method']} {scope['path_template'].rstrip('/')}",
        key=key,
        request_hash=sha256(path + b"\0" + body).digest(),
    )
