"""Identity in memory."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.memory.store import MemoryStore
from application.identity.ports import ORIGINS_MAX, OWNED_LIMIT_MESSAGE, KeyOrigin
from application.ports import NewId
from domain.errors import Forbidden, NotFound, Unauthenticated
from domain.identity.api_key import ApiKey
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.caller import Claims, User
from domain.identity.organization import Membership, NewOrganization, Project, Role
from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, ProjectId, UserId


@dataclass(frozen=True, slots=True)
class MemoryTokens:
    """Accepts the tokens that it was constructed with."""

    known: Mapping[str, Claims]

    async def verify(self, token: str) -> Claims:
        claims = self.known.get(token)
        if claims is None:
            raise Unauthenticated("Invalid token")
        return claims


@dataclass(frozen=True, slots=True)
class MemoryApiKeys:
    store: MemoryStore

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return next((key for key in self.store.keys.values() if key.digest == digest), None)

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        for key, at in uses.items():
            _used(self.store, key, at)

    async def record_origins(self, meetings: Sequence[KeyOrigin]) -> None:
        for meeting in meetings:
            _met(self.store, meeting)


@dataclass(frozen=True, slots=True)
class MemoryKeyUsage:
    """Records each use of a key at once in the store that keys are read from."""

    store: MemoryStore
    new_id: NewId = uuid.uuid4

    def record(self, key: ApiKeyId, at: datetime, origin: Origin) -> None:
        _used(self.store, key, at)
        _met(self.store, KeyOrigin(key, origin, at, AuditEntryId(self.new_id())))


def _met(store: MemoryStore, meeting: KeyOrigin) -> None:
    key, origins = store.keys.get(meeting.key), store.origins[meeting.key]
    if key is None or meeting.origin in origins or len(origins) >= ORIGINS_MAX:
        return
    origins.add(meeting.origin)
    store.audit_log[meeting.entry] = AuditEntry(
        id=meeting.entry,
        organization_id=key.organization_id,
        at=meeting.at,
        actor=Actor(key_id=key.id, name=key.prefix, origin=meeting.origin),
        action=AuditAction.API_KEY_USED,
        resource_id=str(key.id),
        detail={"name": key.name},
    )


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

    async def record_sign_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        user = next((one for one in self.store.users.values() if one.is_bearer_of(claims)), None)
        user = User.from_claims(claims, new, at) if user is None else user.updated_from(claims, at)
        self.store.users[user.id] = user
        return user


@dataclass(frozen=True, slots=True)
class MemoryOrganizations:
    store: MemoryStore

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        ours = [one for one in self.store.memberships.values() if one.user_id == user]
        return sorted(ours, key=lambda one: (one.created_at, one.organization_id))

    async def create_first(self, founding: NewOrganization) -> Membership:
        owner = founding.owner.user_id
        if owner not in self.store.users:
            raise NotFound("User not found")
        if known := await self.memberships(owner):
            return known[0]
        self._put(founding)
        return founding.owner

    async def create(self, founding: NewOrganization, owned_max: int | None) -> None:
        owner = founding.owner.user_id
        if owner not in self.store.users:
            raise NotFound("User not found")
        ours = await self.memberships(owner)
        owned = sum(one.role is Role.OWNER for one in ours)
        if owned_max is not None and owned >= owned_max:
            raise Forbidden(OWNED_LIMIT_MESSAGE.format(owned_max))
        self._put(founding)

    def _put(self, founding: NewOrganization) -> None:
        organization, project = founding.organization, founding.project
        self.store.organizations[organization.id] = organization
        self.store.memberships[organization.id, founding.owner.user_id] = founding.owner
        self.store.projects[project.id] = project
        self.store.audit_log[founding.entry.id] = founding.entry
