"""Changes to organizations: one transaction each, which locks the organization.

The lock order is: the organization, then users, then what belongs to the organization.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import asyncpg

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_organization
from adapters.postgres.database.pool import (
    Connection,
    Pool,
    affected_rows,
    require_row,
    translate_errors,
)
from adapters.postgres.database.removed_projects import OrganizationMoving
from adapters.postgres.database.statements.bounded_delete import delete_in_order
from adapters.postgres.database.table_groups import check_stays_in_group
from adapters.postgres.database.tenants import set_tenants, within
from adapters.postgres.identity import identity_rows as rows
from adapters.postgres.identity.project_budgets import (
    fetch_budget,
    fetch_limits,
    store_budget,
    store_limits,
)
from application.identity.ports import LockedOrganization
from domain.errors import Conflict, NotFound
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry
from domain.identity.invitation import Invitation, InvitationStatus, normalize_email
from domain.identity.login_code import LoginCode
from domain.identity.organization import (
    NO_LIMITS,
    Member,
    Membership,
    Organization,
    OrganizationLimits,
    Project,
    Role,
)
from domain.ids import ApiKeyId, InvitationId, OrganizationId, ProjectId, UserId

# Weak enough for inserts of projects and keys by the data plane: their foreign keys need no
# stronger lock.
LOCK_ORGANIZATION: Final = f"""
SELECT {rows.ORGANIZATIONS.select()}, moving_to IS NOT NULL AS is_moving
FROM organizations WHERE id = $1 FOR NO KEY UPDATE
"""
SELECT_MEMBER: Final = f"{rows.SELECT_MEMBERS} AND m.user_id = $2"
SELECT_OWNERS: Final = "SELECT user_id FROM memberships WHERE organization_id = $1 AND role = $2"
SELECT_MEMBER_EMAILS: Final = """
SELECT u.email FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1
"""
DELETE_MEMBERSHIP: Final = "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2"
# Locks in the same order as UPDATE_KEY_LAST_USED, to avoid deadlocks.
REVOKE_MEMBER_KEYS: Final = """
WITH good AS (
  SELECT id FROM api_keys
  WHERE organization_id = $1 AND created_by = $2 AND revoked_at IS NULL
  ORDER BY id FOR NO KEY UPDATE
)
UPDATE api_keys SET revoked_at = $3 FROM good WHERE api_keys.id = good.id RETURNING api_keys.id
"""
SELECT_INVITATION: Final = "SELECT * FROM invitations WHERE organization_id = $1 AND id = $2"
SELECT_PENDING_INVITATIONS: Final = f"""
SELECT * FROM invitations
WHERE organization_id = $1 AND email = $2 AND status = '{InvitationStatus.PENDING}'
"""
SELECT_SENT_INVITATIONS: Final = f"""
SELECT * FROM invitations
WHERE organization_id = $1 AND invited_by = $2 AND status = '{InvitationStatus.PENDING}'
ORDER BY created_at, id
"""
UPSERT_INVITATION: Final = f"""
{rows.INVITATIONS.insert("known")} ON CONFLICT (id) DO UPDATE SET status = excluded.status
WHERE known.organization_id = excluded.organization_id
"""
RENAME_ORGANIZATION: Final = "UPDATE organizations SET name = $2 WHERE id = $1"
ALLOW_PUBLIC_LINKS: Final = "UPDATE organizations SET public_links = $2 WHERE id = $1"
DELETE_PUBLIC_LINKS: Final = delete_in_order("trace_links", "id", "organization_id = $1")
# Blocks further inserts: an earlier insert is waited for, and then visible.
LOCK_ORGANIZATION_EXCLUSIVELY: Final = "SELECT 1 FROM organizations WHERE id = $1 FOR UPDATE"
LOCK_ORGANIZATION_KEYS: Final = (
    "SELECT 1 FROM api_keys WHERE organization_id = $1 ORDER BY id FOR UPDATE"
)
SELECT_PROJECT_IDS: Final = """
SELECT id FROM projects WHERE organization_id = $1 AND ($2::uuid IS NULL OR id = $2)
"""
INSERT_REMOVALS: Final = """
INSERT INTO removals (project_id, removed_at, due_at)
SELECT id, $2, $2 FROM projects WHERE organization_id = $1 AND ($3::uuid IS NULL OR id = $3)
ON CONFLICT DO NOTHING
"""
DELETE_ORGANIZATION: Final = "DELETE FROM organizations WHERE id = $1"
UPSERT_PROJECT: Final = f"""
{rows.PROJECTS.insert("known")}
ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
  retention_days = excluded.retention_days
WHERE known.organization_id = excluded.organization_id
"""
DELETE_PROJECT: Final = "DELETE FROM projects WHERE organization_id = $1 AND id = $2"
UPSERT_KEY: Final = f"""
{rows.API_KEYS.insert("known")} ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at
WHERE known.organization_id = excluded.organization_id
"""
# The rule of `ApiKey.is_active`.
COUNT_ACTIVE_KEYS: Final = """
SELECT count(*) FROM api_keys
WHERE organization_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""
DELETE_KEY: Final = "DELETE FROM api_keys WHERE organization_id = $1 AND id = $2"
INSERT_LOGIN_CODE: Final = rows.LOGIN_CODES.insert()
CONSUME_LOGIN_CODE: Final = """
DELETE FROM login_codes WHERE organization_id = $1 AND digest = $2 RETURNING digest
"""


@dataclass(frozen=True, slots=True)
class PostgresAdministration:
    pool: Pool

    @asynccontextmanager
    async def lock(self, organization: OrganizationId) -> AsyncIterator[LockedOrganization]:
        async with translate_errors(), within(self.pool, organization).transaction() as connection:
            found = await connection.fetchrow(LOCK_ORGANIZATION, organization)
            row = require_row(found, "Organization not found")
            if row["is_moving"]:  # its projects and their tables are being copied
                raise OrganizationMoving
            known = rows.organization_from_row(row)
            yield _OpenOrganization(connection, known)


@dataclass(frozen=True, slots=True)
class _OpenOrganization:
    connection: Connection
    organization: Organization

    async def member(self, user: UserId) -> Member | None:
        row = await self.connection.fetchrow(SELECT_MEMBER, self.organization.id, user)
        return None if row is None else rows.member_from_row(row)

    async def owners(self) -> Sequence[UserId]:
        owners = await self.connection.fetch(SELECT_OWNERS, self.organization.id, Role.OWNER)
        return [UserId(row["user_id"]) for row in owners]

    async def has_member(self, email: str) -> bool:
        # Normalized here, because how the database folds case depends on its collation.
        members = await self.connection.fetch(SELECT_MEMBER_EMAILS, self.organization.id)
        return any(normalize_email(row["email"]) == email for row in members)

    async def put_membership(self, membership: Membership) -> None:
        try:
            row = rows.membership_row(membership)
            await self.connection.execute(rows.UPSERT_MEMBERSHIP, *row)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("User not found") from error

    async def remove_member(self, user: UserId, at: datetime) -> Sequence[ApiKeyId]:
        await self.connection.execute(DELETE_MEMBERSHIP, self.organization.id, user)
        keys = await self.connection.fetch(REVOKE_MEMBER_KEYS, self.organization.id, user, at)
        return [ApiKeyId(row["id"]) for row in keys]

    async def invitation(self, invitation: InvitationId) -> Invitation | None:
        row = await self.connection.fetchrow(SELECT_INVITATION, self.organization.id, invitation)
        return None if row is None else rows.invitation_from_row(row)

    async def invitations_to(self, email: str) -> Sequence[Invitation]:
        key = (self.organization.id, email)
        pending = await self.connection.fetch(SELECT_PENDING_INVITATIONS, *key)
        return [rows.invitation_from_row(row) for row in pending]

    async def invitations_by(self, user: UserId) -> Sequence[Invitation]:
        key = (self.organization.id, user)
        pending = await self.connection.fetch(SELECT_SENT_INVITATIONS, *key)
        return [rows.invitation_from_row(row) for row in pending]

    async def put_invitation(self, invitation: Invitation) -> None:
        row = rows.invitation_row(self.organization.id, invitation)
        await self.connection.execute(UPSERT_INVITATION, *row)

    async def rename(self, name: str) -> None:
        await self.connection.execute(RENAME_ORGANIZATION, self.organization.id, name)

    async def allow_public_links(self, *, allowed: bool) -> int:
        await self.connection.execute(ALLOW_PUBLIC_LINKS, self.organization.id, allowed)
        if allowed:
            return 0
        return affected_rows(
            await self.connection.execute(DELETE_PUBLIC_LINKS, self.organization.id)
        )

    async def limits(self) -> OrganizationLimits:
        return await fetch_limits(self.connection, self.organization.id) or NO_LIMITS

    async def put_limits(self, limits: OrganizationLimits, at: datetime) -> None:
        await store_limits(self.connection, self.organization.id, limits, at)

    async def _enter_projects(self, project: ProjectId | None = None) -> None:
        """Adds a project, or all, to the scope if it belongs to the organization.

        Raises OrganizationMoving.
        """
        organization = self.organization.id
        await check_stays_in_group(self.connection, organization)
        found = await self.connection.fetch(SELECT_PROJECT_IDS, organization, project)
        await set_tenants(self.connection, organization, *(row["id"] for row in found))

    async def remove(self, at: datetime) -> None:
        await self.connection.execute(LOCK_ORGANIZATION_EXCLUSIVELY, self.organization.id)
        await self.connection.execute(LOCK_ORGANIZATION_KEYS, self.organization.id)
        await self._enter_projects()
        await self.connection.execute(INSERT_REMOVALS, self.organization.id, at, None)
        await self.connection.execute(DELETE_ORGANIZATION, self.organization.id)

    async def project(self, project: ProjectId) -> Project | None:
        row = await self.connection.fetchrow(rows.SELECT_PROJECT, self.organization.id, project)
        return None if row is None else rows.project_from_row(row)

    async def count_projects(self) -> int:
        await lock_organization(self.connection, AdvisoryLock.PROJECTS, self.organization.id)
        count: int = await self.connection.fetchval(rows.COUNT_PROJECTS, self.organization.id)
        return count

    async def put_project(self, project: Project) -> None:
        try:
            row = rows.project_row(self.organization.id, project)
            await self.connection.execute(UPSERT_PROJECT, *row)
        except asyncpg.UniqueViolationError as error:
            raise Conflict("A project of this name exists already") from error

    async def remove_project(self, project: ProjectId, at: datetime) -> None:
        await self._enter_projects(project)
        await self.connection.execute(INSERT_REMOVALS, self.organization.id, at, project)
        await self.connection.execute(DELETE_PROJECT, self.organization.id, project)

    async def budget(self, project: ProjectId) -> Decimal | None:
        if await self.project(project) is None:
            return None
        await self._enter_projects(project)
        return await fetch_budget(self.connection, project)

    async def put_budget(self, project: ProjectId, usd: Decimal | None, at: datetime) -> None:
        if await self.project(project) is not None:
            await self._enter_projects(project)
            await store_budget(self.connection, project, usd, at)

    async def key(self, key: ApiKeyId) -> ApiKey | None:
        row = await self.connection.fetchrow(rows.SELECT_KEY, self.organization.id, key)
        return None if row is None else rows.key_from_row(row)

    async def count_active_keys(self, now: datetime) -> int:
        count: int = await self.connection.fetchval(COUNT_ACTIVE_KEYS, self.organization.id, now)
        return count

    async def put_key(self, key: ApiKey) -> None:
        try:
            row = rows.key_row(self.organization.id, key)
            await self.connection.execute(UPSERT_KEY, *row)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("User not found") from error

    async def remove_key(self, key: ApiKeyId) -> None:
        await self.connection.execute(DELETE_KEY, self.organization.id, key)

    async def add_login_code(self, code: LoginCode) -> None:
        row = rows.login_code_row(self.organization.id, code)
        await self.connection.execute(INSERT_LOGIN_CODE, *row)

    async def use_login_code(self, digest: bytes) -> bool:
        used = await self.connection.fetchval(CONSUME_LOGIN_CODE, self.organization.id, digest)
        return used is not None

    async def record(self, entry: AuditEntry) -> None:
        await self.connection.execute(rows.INSERT_AUDIT_ENTRY, *rows.audit_row(entry))
