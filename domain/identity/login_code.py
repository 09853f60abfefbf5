"""Login codes for command lines, exchanged for an API key: authorization codes with PKCE.

Source: RFC 7636 (Proof Key for Code Exchange), method S256.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.errors import Unauthenticated
from domain.identity.api_key import KEY_NAME_MAX
from domain.ids import OrganizationId, ProjectId, UserId

CODE_BYTES: Final = 32
CHALLENGE_MAX: Final = 128  # characters; a challenge of S256 has 43
CODE_LIFETIME: Final = timedelta(seconds=120)
KEY_PREFIX: Final = "PandaProbe CLI"
REFUSED: Final = "This code is unknown, used or expired, or its verifier is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCode:
    """A code as it is stored: by digest. The first successful exchange uses it up."""

    digest: bytes
    user_id: UserId
    organization_id: OrganizationId
    project_id: ProjectId
    challenge: str
    label: str
    created_at: datetime
    expires_at: datetime

    def check(self, verifier: str, now: datetime) -> None:
        """Raises Unauthenticated if the code expired or `verifier` doesn't match the challenge."""
        proven = hmac.compare_digest(challenge_of(verifier).encode(), self.challenge.encode())
        if not proven or self.expires_at <= now:
            raise Unauthenticated(REFUSED)


def format_code(random: bytes) -> str:
    """The text of a code from CODE_BYTES random bytes: base64url without padding."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def code_digest(code: str) -> bytes:
    """SHA-256. A plain digest is sufficient for 256 random bits."""
    return hashlib.sha256(code.encode(errors="surrogatepass")).digest()


def challenge_of(verifier: str) -> str:
    """base64url(SHA-256(verifier)) without padding (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def key_name(label: str, at: datetime) -> str:
    """The name of a code's key: a fixed prefix, the label, and the UTC date."""
    return f"{KEY_PREFIX} {label} {at.astimezone(UTC).date().isoformat()}"[:KEY_NAME_MAX]
