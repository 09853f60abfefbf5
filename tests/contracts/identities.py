"""The ports of identity over one store, for the suites that need several of them."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime

from adapters.memory.identity import (
    MemoryApiKeys,
    MemoryOrganizations,
    MemoryProjects,
    MemoryUsers,
)
from adapters.memory.store import MemoryStore
from adapters.postgres.engine import Pool
from adapters.postgres.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.remembered import RememberedApiKeys, RememberedProjects
from application.identity.ports import ApiKeys, Organizations, Projects, Users
from domain.identity.organization import Membership, Organization, Project, Role
from domain.identity.user import Claims, User
from domain.ids import OrganizationId, ProjectId, UserId
from tests.builders import NOON


@dataclass(frozen=True, slots=True)
class Identity:
    """The ports of identity over one store, and what tests need of it that no port gives."""

    keys: ApiKeys
    projects: Projects
    users: Users
    organizations: Organizations
    backend: MemoryStore | Pool

    async def warm(self) -> None:
        """Opens every connection, so that calls at once are at once."""
        if not isinstance(self.backend, MemoryStore):
            naps = range(self.backend.get_max_size())
            await asyncio.gather(*(self.backend.execute("SELECT pg_sleep(0.1)") for _ in naps))

    async def person(self) -> User:
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="ada@example.com")
        return await self.users.signed_in(claims, new=UserId(uuid.uuid4()), at=NOON)

    async def organization(self) -> OrganizationId:
        """A new one, with an owner of its own and the project `onboarding`."""
        organization = new_organization()
        owner = await self.person()
        await self.organizations.found(
            organization, owner.id, new_project("onboarding", organization.id)
        )
        return organization.id

    async def join(self, user: UserId, at: datetime) -> OrganizationId:
        """Makes the user a MEMBER of another organization, since the instant `at`."""
        organization = await self.organization()
        membership = Membership(
            organization_id=organization, user_id=user, role=Role.MEMBER, created_at=at
        )
        if isinstance(self.backend, MemoryStore):
            self.backend.memberships[organization, user] = membership
        else:
            await self.backend.execute(
                "INSERT INTO memberships VALUES ($1, $2, $3, 'MEMBER', $4)",
                uuid.uuid4(),
                organization,
                user,
                at,
            )
        return organization


def new_organization(name: str = "Ours", at: datetime = NOON) -> Organization:
    return Organization(id=OrganizationId(uuid.uuid4()), name=name, created_at=at)


def new_project(name: str, organization: OrganizationId, description: str = "") -> Project:
    return Project(
        id=ProjectId(uuid.uuid4()),
        organization_id=organization,
        name=name,
        description=description,
        created_at=NOON,
    )


def over_memory(store: MemoryStore) -> Identity:
    return Identity(
        MemoryApiKeys(store),
        MemoryProjects(store),
        MemoryUsers(store),
        MemoryOrganizations(store),
        store,
    )


def over_postgres(pool: Pool) -> Identity:
    return Identity(
        PostgresApiKeys(pool),
        PostgresProjects(pool),
        PostgresUsers(pool),
        PostgresOrganizations(pool),
        pool,
    )


def remembered(inner: Identity) -> Identity:
    return Identity(
        RememberedApiKeys(inner.keys, lambda: NOON, 30),
        RememberedProjects(inner.projects, lambda: NOON, 30),
        inner.users,
        inner.organizations,
        inner.backend,
    )
