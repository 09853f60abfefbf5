"""The sender of a request: a caller of the data plane, or a person on the management plane."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from domain.errors import Forbidden
from domain.identity.api_key import Scope, check_scopes
from domain.identity.audit import UNKNOWN_ORIGIN, Actor, Origin
from domain.identity.organization import Action, NewProject, Role, check_right
from domain.ids import ApiKeyId, BrowserSessionId, OrganizationId, ProjectId, UserId

# `last_sign_in_at` is updated at most this often, to avoid a write with every request.
SIGN_IN_STEP: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a verified token. (`issuer`, `subject`) identifies the user.

    `nonce` is that of the request for the token, if it had one.
    """

    issuer: str
    subject: str
    email: str
    display_name: str = ""
    email_verified: bool = True
    expires_at: datetime | None = field(default=None, compare=False)
    nonce: str | None = field(default=None, compare=False)


NOT_AN_ALLOWED_ADDRESS: Final = (
    "Only verified addresses of certain domains may sign in here; yours isn't one of them"
)
SIGN_UP_IS_CLOSED: Final = "New people need an invitation to their verified address to sign in here"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRules:
    """Rules that decide which people with a valid token may sign in, and who stays signed in.

    `email_domains` are in lower case; empty: all. Without `allows_sign_up`, people who haven't
    signed in before need an invitation. `issuers` are those whose tokens are accepted; None: any.
    """

    issuers: frozenset[str] | None = None
    email_domains: frozenset[str] = frozenset()
    allows_sign_up: bool = True

    def check_address(self, claims: Claims) -> None:
        """Raises Forbidden. An unverified address could be anyone's, so it has no domain."""
        if not self.allows_address(claims.email, is_verified=claims.email_verified):
            raise Forbidden(NOT_AN_ALLOWED_ADDRESS)

    def allows_issuer(self, issuer: str) -> bool:
        return self.issuers is None or issuer in self.issuers

    def allows_address(self, email: str, *, is_verified: bool) -> bool:
        domain = email.rpartition("@")[2].lower()
        return not self.email_domains or (is_verified and domain in self.email_domains)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: UserId
    issuer: str
    subject: str
    email: str
    display_name: str
    created_at: datetime
    last_sign_in_at: datetime | None = None

    @classmethod
    def from_claims(cls, claims: Claims, new: UserId, at: datetime) -> Self:
        return cls(
            id=new,
            issuer=claims.issuer,
            subject=claims.subject,
            email=claims.email,
            display_name=claims.display_name,
            created_at=at,
            last_sign_in_at=at,
        )

    def is_bearer_of(self, claims: Claims) -> bool:
        return (self.issuer, self.subject) == (claims.issuer, claims.subject)

    def updated_from(self, claims: Claims, at: datetime) -> Self:
        """The user updated from the claims of a request at `at`; equal if nothing is new.

        The email follows the token; the display name is set only while it is empty.
        """
        last = self.last_sign_in_at
        return replace(
            self,
            email=claims.email,
            display_name=self.display_name or claims.display_name,
            last_sign_in_at=at if last is None or at - last >= SIGN_IN_STEP else last,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key or a user, resolved to the one project of the request.

    `role` is that of a user in the organization; a key has none. `name` is the email of the user,
    or the prefix of the key, for the audit log. `session_id` is that of the browser that sent the
    request. `new_project` is set while that project isn't stored: only a call that is allowed
    creates it.
    """

    organization_id: OrganizationId
    project_id: ProjectId
    scopes: frozenset[Scope]
    key_id: ApiKeyId | None = None
    user_id: UserId | None = None
    role: Role | None = None
    name: str = field(default="", compare=False)
    origin: Origin = field(default=UNKNOWN_ORIGIN, compare=False)
    session_id: BrowserSessionId | None = field(default=None, compare=False)
    new_project: NewProject | None = field(default=None, compare=False)

    @property
    def actor(self) -> Actor:
        return Actor(user_id=self.user_id, key_id=self.key_id, name=self.name, origin=self.origin)

    @property
    def may_read(self) -> bool:
        """Whether the caller may read: else it gets back only what it wrote, and ids."""
        return Scope.READ in self.scopes

    def authorize(self, action: Action) -> None:
        """Raises Forbidden for a key, and for a user whose role doesn't permit the action."""
        if self.role is None:
            raise Forbidden(f"No API key may {action}: sign in, and send a Bearer token")
        check_right(self.role, action)

    def require(self, *scopes: Scope) -> None:
        """Raises Forbidden unless the caller has all `scopes`."""
        check_scopes(self.scopes, scopes)


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user. `email_verified` is the claim of the identity provider.

    `token_expires_at` is the end of the token, if the request had one; `session_id` is that of the
    browser that sent it.
    """

    user: User
    email_verified: bool = True
    origin: Origin = UNKNOWN_ORIGIN
    token_expires_at: datetime | None = field(default=None, compare=False)
    session_id: BrowserSessionId | None = field(default=None, compare=False)

    @property
    def actor(self) -> Actor:
        return Actor(user_id=self.user.id, name=self.user.email, origin=self.origin)
