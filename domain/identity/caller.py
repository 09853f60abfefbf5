"""The sender of a request: a caller of the data plane, or a person on the management plane."""

from dataclasses import dataclass

from domain.errors import Forbidden
from domain.identity.api_key import Scope
from domain.identity.audit import UNKNOWN_ORIGIN, Actor, Origin
from domain.identity.user import User
from domain.ids import ApiKeyId, OrganizationId, ProjectId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A key or a user, resolved to the one project of the request."""

    organization_id: OrganizationId
    project_id: ProjectId
    scopes: frozenset[Scope]
    key_id: ApiKeyId | None = None
    user_id: UserId | None = None

    def require(self, *scopes: Scope) -> None:
        """Raises Forbidden unless the caller has all `scopes`."""
        for scope in scopes:
            if scope not in self.scopes:
                raise Forbidden(f"This API key lacks the scope '{scope}'")


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user. `email_verified` is the claim of the identity provider."""

    user: User
    email_verified: bool = True
    origin: Origin = UNKNOWN_ORIGIN

    @property
    def actor(self) -> Actor:
        return Actor(user_id=self.user.id, name=self.user.email, origin=self.origin)
