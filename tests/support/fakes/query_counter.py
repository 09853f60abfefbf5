"""A store that counts its queries, and can delay or fail them, for tests of caches."""

import asyncio
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.memory.identity.identity import MemoryApiKeys, MemoryProjects
from adapters.memory.store import MemoryStore
from application.identity.ports import KeyOrigin
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry
from domain.identity.organization import Organization, Project
from domain.ids import ApiKeyId, OrganizationId, ProjectId
from tests.support.builders.values import NOON


class Hands:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Counted:
    """The keys and projects of a store: counts queries, and delays or fails them."""

    store: MemoryStore = field(default_factory=MemoryStore)
    asked: int = 0
    fail: Exception | None = None
    gate: asyncio.Event | None = None
    batches: list[Mapping[ApiKeyId, datetime]] = field(default_factory=list)
    origins: list[Sequence[KeyOrigin]] = field(default_factory=list)

    async def _count_query(self) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        found = await MemoryApiKeys(self.store).by_digest(digest)
        await self._count_query()
        return found

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        await self._count_query()
        self.batches.append(dict(uses))
        await MemoryApiKeys(self.store).mark_used(uses)

    async def record_origins(self, origins: Sequence[KeyOrigin]) -> None:
        if origins:
            self.origins.append(tuple(origins))
        await MemoryApiKeys(self.store).record_origins(origins)

    async def by_name(self, organization: OrganizationId, name: str) -> Project | None:
        await self._count_query()
        return await MemoryProjects(self.store).by_name(organization, name)

    async def ensure(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None = None,
        projects_max: int | None = None,
    ) -> Project:
        await self._count_query()
        return await MemoryProjects(self.store).ensure(organization, project, entry, projects_max)

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        await self._count_query()
        return await MemoryProjects(self.store).get(organization, project)

    def organization(self) -> OrganizationId:
        made = Organization(id=OrganizationId(uuid.uuid4()), name="Ours", created_at=NOON)
        self.store.organizations[made.id] = made
        return made.id

    def key(self) -> ApiKey:
        key = new_key(self.organization())
        self.store.keys[key.id] = key
        return key

    def revoke(self, key: ApiKey) -> None:
        """Revokes a key as another process would."""
        self.store.keys[key.id] = replace(key, revoked_at=NOON)


def new_key(organization: OrganizationId) -> ApiKey:
    return ApiKey(
        id=ApiKeyId(uuid.uuid4()),
        organization_id=organization,
        created_by=None,
        name="ci",
        prefix="pp_0000000",
        digest=random.randbytes(32),
        created_at=NOON,
    )


def new_project(organization: OrganizationId, name: str = "bot") -> Project:
    return Project(
        id=ProjectId(uuid.uuid4()), organization_id=organization, name=name, created_at=NOON
    )


async def turns(count: int = 5) -> None:
    """Lets every runnable task run."""
    for _ in range(count):
        await asyncio.sleep(0)
