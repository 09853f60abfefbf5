"""The ports of identity over one store, for the suites that need several of them."""

import asyncio
import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from adapters.memory.administration import MemoryAdministration, MemoryRemovals
from adapters.memory.directory import MemoryDirectory
from adapters.memory.identity import (
    MemoryApiKeys,
    MemoryOrganizations,
    MemoryProjects,
    MemoryUsers,
)
from adapters.memory.store import MemoryStore
from adapters.postgres.administration import PostgresAdministration
from adapters.postgres.directory import PostgresDirectory
from adapters.postgres.engine import Pool
from adapters.postgres.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.postgres.removals import PostgresRemovals
from adapters.postgres.replies import PostgresReplies
from adapters.postgres.workers import PostgresWorkers, PostgresWorkloads
from adapters.remembered import (
    RememberedAdministration,
    RememberedApiKeys,
    RememberedProjects,
)
from application.identity.administration import Administration, Directory, Removals
from application.identity.ports import ApiKeys, Organizations, Projects, Users
from application.use_cases import Ports
from domain.identity.api_key import ApiKey, digest_of, secret_of
from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.identity.founding import Founding
from domain.identity.invitation import VALID, Invitation
from domain.identity.login_code import CODE_LIFE, LoginCode
from domain.identity.organization import Membership, Project, Role
from domain.identity.user import Claims, User
from domain.ids import (
    ApiKeyId,
    AuditEntryId,
    InvitationId,
    MembershipId,
    OrganizationId,
    ProjectId,
    UserId,
)
from tests.builders import NOON
from tests.contracts.data_plane import DataPlane
from tests.worlds import memory_ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The ports of identity over one store, and what tests need of it that no port gives."""

    keys: ApiKeys
    projects: Projects
    users: Users
    organizations: Organizations
    directory: Directory
    administration: Administration
    removals: Removals
    backend: MemoryStore | Pool

    async def warm(self) -> None:
        """Opens every connection, so that calls at once are at once."""
        if not isinstance(self.backend, MemoryStore):
            await warm(self.backend)

    async def person(self, email: str = "ada@example.com", display_name: str = "") -> User:
        claims = Claims(
            issuer="test", subject=uuid.uuid4().hex, email=email, display_name=display_name
        )
        return await self.users.signed_in(claims, new=UserId(uuid.uuid4()), at=NOON)

    async def founded(self, name: str = "Ours", at: datetime = NOON) -> Founding:
        """A new organization, with an owner of its own and the project `onboarding`."""
        owner = await self.person()
        made = founding(owner.id, name, at)
        await self.organizations.found(made)
        return made

    async def organization(self) -> OrganizationId:
        """A new one, with an owner of its own and the project `onboarding`."""
        return (await self.founded()).organization.id

    async def add_key(self, key: ApiKey) -> None:
        async with self.administration.opened(key.organization_id) as opened:
            await opened.put_key(key)
        if key.last_used_at is not None:
            await self.keys.mark_used({key.id: key.last_used_at})

    async def join(self, user: UserId, at: datetime) -> OrganizationId:
        """Makes the user a MEMBER of another organization, since the instant `at`."""
        organization = await self.organization()
        async with self.administration.opened(organization) as opened:
            await opened.put_membership(new_membership(organization, user, at=at))
        return organization


async def warm(pool: Pool) -> None:
    naps = range(pool.get_max_size())
    await asyncio.gather(*(pool.execute("SELECT pg_sleep(0.1)") for _ in naps))


def founding(owner: UserId, name: str = "Ours", at: datetime = NOON) -> Founding:
    return Founding.of(name, owner, OPERATOR, uuid.uuid4, at)


def new_membership(
    organization: OrganizationId, user: UserId, role: Role = Role.MEMBER, at: datetime = NOON
) -> Membership:
    return Membership(
        id=MembershipId(uuid.uuid4()),
        organization_id=organization,
        user_id=user,
        role=role,
        created_at=at,
    )


def new_project(
    name: str, organization: OrganizationId, description: str = "", at: datetime = NOON
) -> Project:
    return Project(
        id=ProjectId(uuid.uuid4()),
        organization_id=organization,
        name=name,
        description=description,
        created_at=at,
    )


def new_invitation(
    organization: OrganizationId, by: UserId, email: str = "new@example.com", **said: Any
) -> Invitation:
    known: dict[str, Any] = {
        "id": InvitationId(uuid.uuid4()),
        "organization_id": organization,
        "email": email,
        "role": Role.MEMBER,
        "invited_by": by,
        "created_at": NOON,
        "expires_at": NOON + VALID,
    }
    return Invitation(**known | said)


def new_key(organization: OrganizationId, **said: Any) -> ApiKey:
    secret = secret_of(random.randbytes(32))
    known: dict[str, Any] = {
        "id": ApiKeyId(uuid.uuid4()),
        "organization_id": organization,
        "created_by": None,
        "name": "ci",
        "prefix": secret[:10],
        "digest": digest_of(secret),
        "created_at": NOON,
    }
    return ApiKey(**known | said)


def new_code(project: Project, user: UserId, **said: Any) -> LoginCode:
    known: dict[str, Any] = {
        "digest": random.randbytes(32),
        "user_id": user,
        "organization_id": project.organization_id,
        "project_id": project.id,
        "challenge": "c",
        "label": "laptop",
        "created_at": NOON,
        "expires_at": NOON + CODE_LIFE,
    }
    return LoginCode(**known | said)


def new_entry(organization: OrganizationId, **said: Any) -> AuditEntry:
    known: dict[str, Any] = {
        "id": AuditEntryId(uuid.uuid4()),
        "organization_id": organization,
        "at": NOON,
        "actor": OPERATOR,
        "action": AuditAction.ORGANIZATION_RENAMED,
        "resource_id": str(organization),
    }
    return AuditEntry(**known | said)


def over_memory(store: MemoryStore) -> Identity:
    return Identity(
        keys=MemoryApiKeys(store),
        projects=MemoryProjects(store),
        users=MemoryUsers(store),
        organizations=MemoryOrganizations(store),
        directory=MemoryDirectory(store),
        administration=MemoryAdministration(store),
        removals=MemoryRemovals(store),
        backend=store,
    )


def over_postgres(pool: Pool) -> Identity:
    return Identity(
        keys=PostgresApiKeys(pool),
        projects=PostgresProjects(pool),
        users=PostgresUsers(pool),
        organizations=PostgresOrganizations(pool),
        directory=PostgresDirectory(pool),
        administration=PostgresAdministration(pool),
        removals=PostgresRemovals(pool),
        backend=pool,
    )


def postgres_ports(pool: Pool, plane: DataPlane) -> Ports:
    """As `memory_ports`, over one database; keys' uses are noted in memory."""
    identity = over_postgres(pool)
    return replace(
        memory_ports(MemoryStore()),
        traces=plane.traces,
        pricing=plane.pricing,
        sessions=plane.sessions,
        analytics=plane.analytics,
        evaluation=plane.evaluation,
        exporting=plane.exporting,
        keeping=plane.keeping,
        keys=identity.keys,
        projects=identity.projects,
        users=identity.users,
        organizations=identity.organizations,
        directory=identity.directory,
        administration=identity.administration,
        removals=identity.removals,
        replies=PostgresReplies(pool),
        workers=PostgresWorkers(pool),
        workloads=PostgresWorkloads(pool),
    )


def remembered(inner: Identity) -> Identity:
    keys = RememberedApiKeys(inner.keys, lambda: NOON, 30)
    projects = RememberedProjects(inner.projects, lambda: NOON, 30)
    administration = RememberedAdministration(inner.administration, keys, projects)
    return replace(inner, keys=keys, projects=projects, administration=administration)
