"""Sessions of browsers: a cookie and a verifier, of which only hashes are stored.

The browser sends the cookie by itself, also on requests that another page causes. The verifier is
known to the page that signed in, and has to be sent along: neither opens the session alone.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from domain.identity.api_key import ApiKey
from domain.identity.audit import Origin
from domain.identity.caller import Person
from domain.identity.invitation import normalize_email
from domain.identity.login_code import challenge_of
from domain.ids import ApiKeyId, BrowserSessionId, UserId

COOKIE_BYTES: Final = 32
CHALLENGE_LENGTH: Final = 43  # characters of a SHA-256 in base64url
CLI_SESSION_LIFETIME: Final = timedelta(minutes=10)  # enough to choose a project
USE_STEP: Final = timedelta(minutes=1)  # `last_used_at` is updated at most this often
SESSIONS_PER_HOLDER_MAX: Final = 50  # of one user or key; a further one ends the oldest


class SignInMethod(StrEnum):
    """How a browser signed in."""

    DEVELOPMENT = "development"
    PROVIDER = "provider"
    TOKEN = "token"  # noqa: S105 - a name
    KEY = "key"


class SessionPurpose(StrEnum):
    """What a session is for: it opens nothing else."""

    DASHBOARD = "dashboard"
    CLI = "cli"  # to get a login code for a command line


@dataclass(frozen=True, slots=True)
class SessionLifetime:
    """How long a session lasts without a request, and at most."""

    idle: timedelta = timedelta(hours=12)
    total: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A session of a user, or of an API key.

    `digest` is the hash of the cookie. `verified_email` is the address that the identity provider
    verified at the sign-in, if it did.
    """

    id: BrowserSessionId
    digest: bytes
    verifier_hash: bytes
    method: SignInMethod
    purpose: SessionPurpose = SessionPurpose.DASHBOARD
    user_id: UserId | None = None
    verified_email: str | None = None
    key_id: ApiKeyId | None = None
    key_digest: bytes | None = None
    created_at: datetime
    last_used_at: datetime
    ends_at: datetime
    address: str | None = None
    agent: str | None = None

    def is_open(self, now: datetime, lifetime: SessionLifetime) -> bool:
        return now < self.end(lifetime)

    def end(self, lifetime: SessionLifetime) -> datetime:
        """When it ends if it isn't used again."""
        return min(self.ends_at, self.last_used_at + lifetime.idle)

    def is_verified_by(self, verifier: str) -> bool:
        return hmac.compare_digest(challenge_hash(challenge_of(verifier)), self.verifier_hash)

    def has_verified(self, email: str) -> bool:
        """Whether the sign-in proved this address; the user's may have changed since."""
        return self.verified_email is not None and (
            normalize_email(self.verified_email) == normalize_email(email)
        )

    def is_use_due(self, now: datetime) -> bool:
        """Whether a request at `now` has to be recorded."""
        return now - self.last_used_at >= USE_STEP

    def used(self, at: datetime) -> Self:
        return replace(self, last_used_at=max(self.last_used_at, at))

    def has_holder_of(self, other: Self) -> bool:
        return (self.user_id, self.key_id) == (other.user_id, other.key_id)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An open session and its holder, as one request with it is recognized."""

    session: BrowserSession
    holder: Person | ApiKey
    origin: Origin


def challenge_hash(challenge: str) -> bytes:
    """The SHA-256 in a challenge of CHALLENGE_LENGTH characters of base64url."""
    return base64.urlsafe_b64decode(f"{challenge}=")


def cookie_digest(cookie: str) -> bytes:
    """SHA-256. A plain digest is sufficient for 256 random bits."""
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).digest()
