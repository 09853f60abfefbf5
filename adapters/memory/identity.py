"""Identity in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.memory.store import MemoryStore
from domain.errors import Conflict, NotFound, Unauthenticated
from domain.identity.api_key import ApiKey
from domain.identity.organization import Membership, Organization, Project, Role
from domain.identity.user import Claims, User
from domain.ids import ApiKeyId, OrganizationId, ProjectId, UserId


@dataclass(frozen=True, slots=True)
class MemoryTokens:
    """Believes the tokens that it was told of."""

    known: Mapping[str, Claims]

    async def verify(self, token: str) -> Claims:
        claims = self.known.get(token)
        if claims is None:
            raise Unauthenticated("Invalid token")
        return claims


@dataclass(frozen=True, slots=True)
class MemoryApiKeys:
    store: MemoryStore

    async def add(self, key: ApiKey) -> None:
        if key.organization_id not in self.store.organizations:
            raise NotFound("Organization not found")
        if key.created_by is not None and key.created_by not in self.store.users:
            raise NotFound("User not found")
        if any(key.id == one.id or key.digest == one.digest for one in self.store.keys.values()):
            raise Conflict("already exists")
        self.store.keys[key.id] = key

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return next((key for key in self.store.keys.values() if key.digest == digest), None)

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        for key, at in uses.items():
            _used(self.store, key, at)


@dataclass(frozen=True, slots=True)
class MemoryKeyUse:
    """Notes each use where it is read from, at once."""

    store: MemoryStore

    def noted(self, key: ApiKeyId, at: datetime) -> None:
        _used(self.store, key, at)


def _used(store: MemoryStore, key: ApiKeyId, at: datetime) -> None:
    known = store.keys.get(key)
    if known is not None and (known.last_used_at is None or known.last_used_at < at):
        store.keys[key] = replace(known, last_used_at=at)


@dataclass(frozen=True, slots=True)
class MemoryProjects:
    store: MemoryStore

    async def ensure(self, organization: OrganizationId, project: Project) -> Project:
        if organization not in self.store.organizations:
            raise NotFound("Organization not found")
        for known in self.store.projects.values():
            if (known.organization_id, known.name) == (organization, project.name):
                return known
        self.store.projects[project.id] = project
        return project

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        found = self.store.projects.get(project)
        if found is None or found.organization_id != organization:
            raise NotFound("Project not found")
        return found


@dataclass(frozen=True, slots=True)
class MemoryUsers:
    store: MemoryStore

    async def signed_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        user = next((one for one in self.store.users.values() if one.is_bearer_of(claims)), None)
        user = User.first_seen(claims, new, at) if user is None else user.seen_again(claims, at)
        self.store.users[user.id] = user
        return user


@dataclass(frozen=True, slots=True)
class MemoryOrganizations:
    store: MemoryStore

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        ours = [one for one in self.store.memberships.values() if one.user_id == user]
        return sorted(ours, key=lambda one: (one.created_at, one.organization_id))

    async def found(
        self, organization: Organization, owner: UserId, project: Project
    ) -> Membership:
        if owner not in self.store.users:
            raise NotFound("User not found")
        if known := await self.memberships(owner):
            return known[0]
        membership = Membership(
            organization_id=organization.id,
            user_id=owner,
            role=Role.OWNER,
            created_at=organization.created_at,
        )
        self.store.organizations[organization.id] = organization
        self.store.memberships[organization.id, owner] = membership
        self.store.projects[project.id] = project
        return membership
