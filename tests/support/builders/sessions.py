"""Sessions of browsers."""

import random
import uuid
from typing import Any

from domain.identity.browser_session import (
    BrowserSession,
    SessionLifetime,
    SignInMethod,
    challenge_hash,
)
from domain.identity.login_code import challenge_of
from domain.ids import BrowserSessionId
from tests.support.builders.values import NOON

VERIFIER = "v" * 43


def a_session(**overrides: Any) -> BrowserSession:
    """A session of `user_id`, or of `key_id` and `key_digest`."""
    start = overrides.get("created_at", NOON)
    defaults: dict[str, Any] = {
        "id": BrowserSessionId(uuid.uuid4()),
        "digest": random.randbytes(32),
        "verifier_hash": challenge_hash(challenge_of(VERIFIER)),
        "method": SignInMethod.TOKEN,
        "verified_email": "ada@example.com",
        "created_at": start,
        "last_used_at": start,
        "ends_at": start + SessionLifetime().total,
        "address": "192.0.2.1",
        "agent": "a browser",
    }
    return BrowserSession(**defaults | overrides)
