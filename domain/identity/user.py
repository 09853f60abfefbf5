"""People, as the identity provider tells of them."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a verified token says of its bearer. (`issuer`, `subject`) is who they are."""

    issuer: str
    subject: str
    email: str
    display_name: str = ""
    email_verified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: UserId
    issuer: str
    subject: str
    email: str
    display_name: str
    created_at: datetime
    last_sign_in_at: datetime | None = None
