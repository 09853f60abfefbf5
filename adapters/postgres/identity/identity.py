"""Identity in Postgres."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_organization
from adapters.postgres.database.pool import (
    Connection,
    Pool,
    identity_lookup,
    require_row,
    translate_errors,
)
from adapters.postgres.database.table_groups import SELECT_SMALLEST_GROUP, check_stays_in_group
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity import identity_rows as rows
from adapters.postgres.identity.project_budgets import fetch_limits, store_budget
from application.identity.ports import OWNED_LIMIT_MESSAGE, USED_NETWORKS_MAX, KeyOrigin
from application.table_groups import FIRST_GROUP
from domain.errors import Forbidden, NotFound, Unavailable
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditAction, AuditEntry
from domain.identity.caller import SIGN_IN_STEP, Claims, User
from domain.identity.organization import (
    NO_LIMITS,
    Membership,
    NewOrganization,
    Project,
    Role,
    check_project_count,
)
from domain.ids import ApiKeyId, OrganizationId, ProjectId, UserId

ENSURE_ATTEMPTS: Final = 3  # another attempt is needed only if the project is deleted in between
# Runs for every request with a key that is not cached: one lookup in a unique index.
SELECT_KEY_BY_DIGEST: Final = f"SELECT {rows.API_KEYS.select()} FROM api_keys WHERE digest = $1"
# Sorted, so that all processes lock the rows in the same order. The condition avoids needless
# writes and keeps an older use from moving the time back.
UPDATE_KEY_LAST_USED: Final = """
WITH uses AS (
  SELECT k.id, used.at FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, at)
  JOIN api_keys k USING (id) ORDER BY k.id FOR NO KEY UPDATE OF k
)
UPDATE api_keys k SET last_used_at = uses.at FROM uses
WHERE k.id = uses.id AND (k.last_used_at IS NULL OR k.last_used_at < uses.at)
"""
SELECT_PROJECT_BY_NAME: Final = f"""
SELECT {rows.PROJECTS.select()} FROM projects WHERE organization_id = $1 AND name = $2
"""
# If another transaction inserts the same name, this waits for its commit and returns no row.
INSERT_PROJECT: Final = f"""
{rows.PROJECTS.insert()} ON CONFLICT (organization_id, name) DO NOTHING
RETURNING {rows.PROJECTS.select()}
"""
SELECT_USER_BY_CLAIMS: Final = f"""
SELECT {rows.USERS.select()} FROM users WHERE issuer = $1 AND subject = $2
"""
# The rule of `User.updated_from`, repeated in SQL for concurrent requests.
UPSERT_USER: Final = f"""
{rows.USERS.insert("known")} ON CONFLICT (issuer, subject) DO UPDATE SET
  email = excluded.email,
  display_name = coalesce(nullif(known.display_name, ''), excluded.display_name),
  last_sign_in_at = CASE
    WHEN known.last_sign_in_at > ${len(rows.USERS.names) + 1}
    THEN known.last_sign_in_at ELSE excluded.last_sign_in_at END
RETURNING {rows.USERS.select("known")}
"""
# Serialises what one user creates. A concurrent insert of a membership of the user waits too.
LOCK_USER: Final = "SELECT id FROM users WHERE id = $1 FOR UPDATE"
SELECT_MEMBERSHIPS: Final = f"""
SELECT {rows.MEMBERSHIPS.select()} FROM memberships
WHERE user_id = $1 ORDER BY created_at, organization_id
"""
SELECT_OLDEST_MEMBERSHIP: Final = f"{SELECT_MEMBERSHIPS} LIMIT 1"
COUNT_OWNED_ORGANIZATIONS: Final = (
    "SELECT count(*) FROM memberships WHERE user_id = $1 AND role = $2"
)
INSERT_ORGANIZATION: Final = rows.ORGANIZATIONS.insert()
SET_GROUP: Final = "UPDATE organizations SET table_group = $2 WHERE id = $1"
# A statement of its own, so that the next one counts the networks of calls that it waited for.
LOCK_KEY: Final = "SELECT 1 FROM api_keys WHERE id = $1 FOR NO KEY UPDATE"
# Adds a new network of a locked key and its audit entry, while fewer than $8 networks are known.
INSERT_KEY_NETWORK: Final = """
WITH key AS (
  SELECT id, organization_id, prefix, name FROM api_keys WHERE id = $1
), new AS (
  INSERT INTO api_key_networks (organization_id, key_id, network)
  SELECT organization_id, id, $2 FROM key
  WHERE (SELECT count(*) FROM api_key_networks AS known
         WHERE known.organization_id = key.organization_id AND known.key_id = key.id) < $8
  ON CONFLICT DO NOTHING RETURNING key_id
), shown AS (
  UPDATE api_keys AS k SET newest_network = $2, newest_network_at = $6 FROM new
  WHERE k.id = new.key_id AND (k.newest_network_at IS NULL OR k.newest_network_at < $6)
)
INSERT INTO audit_log (id, organization_id, at, actor_key_id, actor_name, address, agent, action,
                       resource_id, detail)
SELECT $5, organization_id, $6, id, prefix, $3, $4, $7, id::text,
       json_build_object('name', name, 'network', $2::text)
FROM key JOIN new ON new.key_id = key.id
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class PostgresApiKeys:
    pool: Pool

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        async with identity_lookup():
            row = await within(self.pool, ALL_TENANTS).fetchrow(SELECT_KEY_BY_DIGEST, digest)
        return None if row is None else rows.key_from_row(row)

    async def mark_used(self, uses: Mapping[ApiKeyId, datetime]) -> None:
        async with translate_errors():
            await within(self.pool, ALL_TENANTS).execute(
                UPDATE_KEY_LAST_USED, list(uses.keys()), list(uses.values())
            )

    async def record_origins(self, origins: Sequence[KeyOrigin]) -> None:
        async with translate_errors():
            for one in sorted(origins, key=lambda one: one.at):
                origin = (one.origin.network, one.origin.address, one.origin.agent)
                what = (one.entry, one.at, AuditAction.API_KEY_USED)
                values = (one.key, *origin, *what, USED_NETWORKS_MAX)
                async with within(self.pool, ALL_TENANTS).transaction() as connection:
                    await connection.execute(LOCK_KEY, one.key)
                    await connection.execute(INSERT_KEY_NETWORK, *values)


@dataclass(frozen=True, slots=True)
class PostgresProjects:
    pool: Pool

    async def by_name(self, organization: OrganizationId, name: str) -> Project | None:
        async with identity_lookup():
            ours = within(self.pool, organization)
            row = await ours.fetchrow(SELECT_PROJECT_BY_NAME, organization, name)
        return None if row is None else rows.project_from_row(row)

    async def ensure(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None = None,
        projects_max: int | None = None,
    ) -> Project:
        try:
            async with identity_lookup():
                for _ in range(ENSURE_ATTEMPTS):
                    found = await self.by_name(organization, project.name)
                    found = found or await self._create(organization, project, entry, projects_max)
                    if found is not None:
                        return found
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound("Organization not found") from error
        raise Unavailable("The project is being made and deleted at the same time; try again")

    async def _create(
        self,
        organization: OrganizationId,
        project: Project,
        entry: AuditEntry | None,
        projects_max: int | None,
    ) -> Project | None:
        """None if another transaction has inserted the name."""
        async with within(self.pool, (organization, project.id)).transaction() as connection:
            await lock_organization(connection, AdvisoryLock.PROJECTS, organization)
            await check_stays_in_group(connection, organization)
            key = (organization, project.name)
            row = await connection.fetchrow(SELECT_PROJECT_BY_NAME, *key)
            if row is not None:
                return rows.project_from_row(row)
            if projects_max is not None:
                count = await connection.fetchval(rows.COUNT_PROJECTS, organization)
                check_project_count(count, projects_max)
            limits = await fetch_limits(connection, organization) or NO_LIMITS
            project = replace(project, retention_days=limits.project_retention_days)
            new = rows.project_row(organization, project)
            row = await connection.fetchrow(INSERT_PROJECT, *new)
            if row is not None:
                usd = limits.project_monthly_usd
                if usd is not None:
                    await store_budget(connection, project.id, usd, project.created_at)
                if entry is not None:
                    await connection.execute(rows.INSERT_AUDIT_ENTRY, *rows.audit_row(entry))
        return None if row is None else rows.project_from_row(row)

    async def get(self, organization: OrganizationId, project: ProjectId) -> Project:
        async with translate_errors():
            row = await within(self.pool, organization).fetchrow(
                rows.SELECT_PROJECT, organization, project
            )
        return rows.project_from_row(require_row(row, "Project not found"))


@dataclass(frozen=True, slots=True)
class PostgresUsers:
    pool: Pool

    async def has_signed_in(self, claims: Claims) -> bool:
        async with identity_lookup():
            row = await self.pool.fetchrow(SELECT_USER_BY_CLAIMS, claims.issuer, claims.subject)
        return row is not None

    async def record_sign_in(self, claims: Claims, *, new: UserId, at: datetime) -> User:
        async with identity_lookup():
            row = await self.pool.fetchrow(SELECT_USER_BY_CLAIMS, claims.issuer, claims.subject)
            if row is not None:
                known = rows.user_from_row(row)
                # Nearly every request brings unchanged claims, and needs no write.
                if known.updated_from(claims, at) == known:
                    return known
            values = rows.user_row(User.from_claims(claims, new, at))
            [row] = await self.pool.fetch(UPSERT_USER, *values, at - SIGN_IN_STEP)
        return rows.user_from_row(row)


@dataclass(frozen=True, slots=True)
class PostgresOrganizations:
    pool: Pool

    async def memberships(self, user: UserId) -> Sequence[Membership]:
        async with identity_lookup():
            memberships = await within(self.pool, ALL_TENANTS).fetch(SELECT_MEMBERSHIPS, user)
        return [rows.membership_from_row(row) for row in memberships]

    async def create_first(self, new: NewOrganization) -> Membership:
        owner = new.owner.user_id
        async with self._user_lock(owner) as connection:
            row = await connection.fetchrow(SELECT_OLDEST_MEMBERSHIP, owner)
            if row is not None:
                return rows.membership_from_row(row)
            await _insert_organization(connection, new)
            return new.owner

    async def create(self, new: NewOrganization, owned_max: int | None) -> None:
        owner = new.owner.user_id
        async with self._user_lock(owner) as connection:
            owned = await connection.fetchval(COUNT_OWNED_ORGANIZATIONS, owner, Role.OWNER)
            if owned_max is not None and owned >= owned_max:
                raise Forbidden(OWNED_LIMIT_MESSAGE.format(owned_max))
            await _insert_organization(connection, new)

    @asynccontextmanager
    async def _user_lock(self, user: UserId) -> AsyncIterator[Connection]:
        """Opens a transaction that excludes others which create something for the user.

        Raises NotFound.
        """
        async with translate_errors(), within(self.pool, ALL_TENANTS).transaction() as connection:
            require_row(await connection.fetchrow(LOCK_USER, user), "User not found")
            yield connection


async def _insert_organization(connection: Connection, new: NewOrganization) -> None:
    organization, project = new.organization, new.project
    group = await connection.fetchval(SELECT_SMALLEST_GROUP)
    await connection.execute(INSERT_ORGANIZATION, *rows.organization_row(organization))
    if group != FIRST_GROUP:
        await connection.execute(SET_GROUP, organization.id, group)
    await connection.execute(rows.UPSERT_MEMBERSHIP, *rows.membership_row(new.owner))
    await connection.execute(INSERT_PROJECT, *rows.project_row(organization.id, project))
    await connection.execute(rows.INSERT_AUDIT_ENTRY, *rows.audit_row(new.entry))
