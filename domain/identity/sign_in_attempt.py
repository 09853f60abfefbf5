"""A sign-in with the identity provider that is under way: authorization code flow with PKCE.

All secrets of an attempt are derived from one cookie, which only the browser has. What is stored
is a hash of it, so an attempt can be finished only by the browser that began it, and once.

Sources: OpenID Connect Core 1.0; RFC 7636; RFC 9700 (best practice of OAuth 2.0).
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from domain.errors import Unauthenticated
from domain.identity.browser_session import SessionPurpose, cookie_digest

ATTEMPT_LIFETIME: Final = timedelta(minutes=10)
DESTINATION_MAX: Final = 4_000  # characters; the link of a command line has a label
HOME: Final = "/app/"
CLI_LOGIN: Final = "/cli-login?"
# A path of this service: nothing that a browser could take for another host.
_DESTINATION: Final = re.compile(r"(/app/|/cli-login\?)[\x21-\x5b\x5d-\x7e]*")
# Browsers resolve these, and would leave the path below which a proxy serves this service.
_DOT_SEGMENT: Final = re.compile(r"[^?#]*/(\.|%2e){1,2}([/?#]|\Z)", re.IGNORECASE)


class SignInProblem(StrEnum):
    """Why a sign-in with the identity provider didn't succeed."""

    DENIED = "denied"
    EXPIRED = "expired"
    REFUSED = "refused"
    NOT_ALLOWED = "not_allowed"
    UNAVAILABLE = "unavailable"
    PROVIDER_ERROR = "provider_error"
    NOT_OFFERED = "not_offered"
    INVALID = "invalid"
    TOO_MANY = "too_many"

    @property
    def text(self) -> str:
        return _TEXTS[self]


_TEXTS: Final = {
    SignInProblem.DENIED: "You or your identity provider declined the sign-in",
    SignInProblem.EXPIRED: (
        "This sign-in took longer than 10 minutes, was finished already, or began in another "
        "browser: sign in again"
    ),
    SignInProblem.REFUSED: (
        "The identity provider's answer isn't valid for this sign-in: sign in again, and tell the "
        "operator if it happens again"
    ),
    SignInProblem.NOT_ALLOWED: "You aren't allowed to sign in here: ask for an invitation",
    SignInProblem.UNAVAILABLE: "The identity provider doesn't answer: try again later",
    SignInProblem.PROVIDER_ERROR: (
        "The identity provider reported an error: the operator finds it in the log"
    ),
    SignInProblem.NOT_OFFERED: "This service has no identity provider to sign in with",
    SignInProblem.INVALID: "This link isn't valid: sign in from the page",
    SignInProblem.TOO_MANY: "Too many sign-ins from your address: wait a minute",
}


class SignInFailed(Unauthenticated):
    """A sign-in that didn't succeed, and where the browser was to go afterwards."""

    def __init__(self, problem: SignInProblem, destination: str = HOME) -> None:
        super().__init__(problem.text)
        self.problem = problem
        self.destination = destination


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInAttempt:
    """`digest` is the hash of the cookie, `verifier_hash` that of the page's verifier."""

    digest: bytes
    verifier_hash: bytes
    destination: str
    created_at: datetime
    expires_at: datetime

    @classmethod
    def begin(cls, cookie: str, verifier_hash: bytes, destination: str, now: datetime) -> Self:
        return cls(
            digest=cookie_digest(cookie),
            verifier_hash=verifier_hash,
            destination=destination,
            created_at=now,
            expires_at=now + ATTEMPT_LIFETIME,
        )


def purpose_of(destination: str) -> SessionPurpose:
    """The purpose of a session that starts on the way to this page."""
    is_cli = destination.startswith(CLI_LOGIN)
    return SessionPurpose.CLI if is_cli else SessionPurpose.DASHBOARD


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """Values sent to the identity provider, which prove that its answer belongs to the attempt."""

    state: str
    nonce: str
    code_verifier: str

    @classmethod
    def from_cookie(cls, cookie: str) -> Self:
        return cls(*(_derive(cookie, purpose) for purpose in ("state", "nonce", "code verifier")))

    def has_state(self, state: str) -> bool:
        return hmac.compare_digest(self.state.encode(), state.encode(errors="surrogatepass"))

    def has_nonce(self, nonce: str | None) -> bool:
        sent = (nonce or "").encode(errors="surrogatepass")
        return hmac.compare_digest(self.nonce.encode(), sent)


def is_destination(text: str) -> bool:
    """Whether a browser may be sent there after the sign-in: a page of this service."""
    return (
        len(text) <= DESTINATION_MAX
        and _DESTINATION.fullmatch(text) is not None
        and _DOT_SEGMENT.match(text) is None
    )


def _derive(cookie: str, purpose: str) -> str:
    """43 characters of base64url. One purpose reveals nothing about another, or the cookie."""
    digest = hmac.digest(cookie.encode(errors="surrogatepass"), purpose.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
