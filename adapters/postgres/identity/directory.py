"""Reads of organizations, members, invitations and the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from asyncpg import Record

from adapters.postgres.database.pool import Pool, require_row, translate_errors
from adapters.postgres.database.read_transactions import RETRY_LATER, read_snapshot
from adapters.postgres.database.statements.keyset_pages import KeysetPage
from adapters.postgres.database.tenants import ALL_TENANTS, within
from adapters.postgres.identity import identity_rows as rows
from adapters.postgres.identity.project_budgets import fetch_limits
from application.identity.ports import LISTED_MAX
from domain.errors import NotFound
from domain.identity.api_key import ApiKey
from domain.identity.audit import (
    ALL_ENTRIES,
    EMPTY_CHAIN,
    AuditEntry,
    AuditFilter,
    ChainHead,
)
from domain.identity.invitation import InvitationStatus, SentInvitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Member, Organization, OrganizationLimits, Project, Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, UserId
from domain.page import Page, PageRequest, Position

SELECT_ORGANIZATION: Final = f"""
SELECT {rows.ORGANIZATIONS.select()} FROM organizations WHERE id = $1
"""
SELECT_ORGANIZATIONS_OF_USER: Final = f"""
SELECT {rows.ORGANIZATIONS.select("o")}, m.role
FROM memberships m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 ORDER BY m.created_at DESC, m.id DESC
"""
SELECT_MEMBERS: Final = f"{rows.SELECT_MEMBERS} ORDER BY m.created_at, m.id"
SELECT_PROJECTS: Final = f"""
SELECT {rows.PROJECTS.select()} FROM projects WHERE organization_id = $1
ORDER BY created_at DESC, id DESC
"""
SELECT_KEYS: Final = f"""
SELECT * FROM (
  SELECT {rows.API_KEYS.select()} FROM api_keys WHERE organization_id = $1
  ORDER BY revoked_at IS NOT NULL, created_at DESC, id DESC LIMIT $2
) AS listed ORDER BY created_at DESC, id DESC
"""
SELECT_LOGIN_CODE: Final = f"SELECT {rows.LOGIN_CODES.select()} FROM login_codes WHERE digest = $1"
_SELECT_SENT_INVITATIONS: Final = f"""
SELECT {rows.INVITATIONS.select("i")}, o.name AS organization_name,
       u.display_name AS inviter_display_name, u.email AS inviter_email
FROM invitations i JOIN organizations o ON o.id = i.organization_id
JOIN users u ON u.id = i.invited_by
"""
SELECT_INVITATIONS: Final = f"""
SELECT * FROM (
  {_SELECT_SENT_INVITATIONS} WHERE i.organization_id = $1
  ORDER BY i.status <> '{InvitationStatus.PENDING}', i.created_at DESC, i.id DESC LIMIT $2
) AS listed ORDER BY created_at DESC, id DESC
"""
SELECT_OPEN_INVITATIONS_TO: Final = f"""
{_SELECT_SENT_INVITATIONS}
WHERE i.email = $1 AND i.status = '{InvitationStatus.PENDING}' AND i.expires_at > $2
ORDER BY i.created_at DESC, i.id DESC LIMIT $3
"""
SELECT_INVITATION: Final = f"{_SELECT_SENT_INVITATIONS} WHERE i.id = $1"
_ENTRY_MATCHES: Final = """
organization_id = $1 AND ($2::text IS NULL OR action = $2)
  AND ($3::uuid IS NULL OR actor_user_id = $3 OR actor_key_id = $3)
  AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
"""
# Reads one row more than requested, to know whether more follow.
SELECT_AUDIT_LOG: Final = f"""
SELECT {rows.AUDIT_LOG.select()} FROM audit_log
WHERE {_ENTRY_MATCHES} AND ($6::timestamptz IS NULL OR (at, id) < ($6, $7::uuid))
ORDER BY at DESC, id DESC LIMIT $8 OFFSET $9
"""
SELECT_NEXT_AUDIT_ENTRIES: Final = f"""
SELECT {rows.AUDIT_LOG.select()} FROM audit_log
WHERE organization_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3
"""
# Across organizations.
SELECT_AUDITED: Final = "SELECT organization_id FROM audit_chains ORDER BY organization_id"
SELECT_CHAIN_HEAD: Final = "SELECT sequence, hash FROM audit_chains WHERE organization_id = $1"
COUNT_AUDIT_ENTRIES: Final = f"SELECT count(*) FROM audit_log WHERE {_ENTRY_MATCHES}"


@dataclass(frozen=True, slots=True)
class PostgresDirectory:
    pool: Pool
    listed_max: int = LISTED_MAX

    @translate_errors()
    async def organizations(self, user: UserId) -> Sequence[tuple[Organization, Role]]:
        memberships = await within(self.pool, ALL_TENANTS).fetch(SELECT_ORGANIZATIONS_OF_USER, user)
        return [(rows.organization_from_row(row), Role(row["role"])) for row in memberships]

    @translate_errors()
    async def organization(self, organization: OrganizationId) -> Organization:
        row = await within(self.pool, organization).fetchrow(SELECT_ORGANIZATION, organization)
        return rows.organization_from_row(require_row(row, "Organization not found"))

    @translate_errors()
    async def limits(self, organization: OrganizationId) -> OrganizationLimits:
        async with within(self.pool, organization).transaction() as connection:
            limits = await fetch_limits(connection, organization)
        if limits is None:
            raise NotFound("Organization not found")
        return limits

    @translate_errors()
    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        members = await within(self.pool, organization).fetch(SELECT_MEMBERS, organization)
        return [rows.member_from_row(row) for row in members]

    @translate_errors()
    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        ours = within(self.pool, organization)
        sent = await ours.fetch(SELECT_INVITATIONS, organization, self.listed_max)
        return [_sent_invitation_from_row(row) for row in sent]

    @translate_errors()
    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        everywhere = within(self.pool, ALL_TENANTS)
        sent = await everywhere.fetch(SELECT_OPEN_INVITATIONS_TO, email, now, self.listed_max)
        return [_sent_invitation_from_row(row) for row in sent]

    @translate_errors()
    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        row = await within(self.pool, ALL_TENANTS).fetchrow(SELECT_INVITATION, invitation)
        return _sent_invitation_from_row(require_row(row, "Invitation not found"))

    @translate_errors()
    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        projects = await within(self.pool, organization).fetch(SELECT_PROJECTS, organization)
        return [rows.project_from_row(row) for row in projects]

    @translate_errors()
    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        ours = within(self.pool, organization)
        keys = await ours.fetch(SELECT_KEYS, organization, self.listed_max)
        return [rows.key_from_row(row) for row in keys]

    @translate_errors()
    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        row = await within(self.pool, organization).fetchrow(rows.SELECT_KEY, organization, key)
        return rows.key_from_row(require_row(row, "API key not found"))

    @translate_errors()
    async def login_code(self, digest: bytes) -> LoginCode | None:
        row = await within(self.pool, ALL_TENANTS).fetchrow(SELECT_LOGIN_CODE, digest)
        return None if row is None else rows.login_code_from_row(row)

    @translate_errors()
    async def audit_entries(
        self, organization: OrganizationId, after: int, limit: int
    ) -> Sequence[AuditEntry]:
        ours = within(self.pool, organization)
        entries = await ours.fetch(SELECT_NEXT_AUDIT_ENTRIES, organization, after, limit)
        return [rows.audit_entry_from_row(row) for row in entries]

    @translate_errors()
    async def audited_organizations(self) -> Sequence[OrganizationId]:
        audited = await within(self.pool, ALL_TENANTS).fetch(SELECT_AUDITED)
        return [OrganizationId(row[0]) for row in audited]

    @translate_errors()
    async def audit_head(self, organization: OrganizationId) -> ChainHead:
        row = await within(self.pool, organization).fetchrow(SELECT_CHAIN_HEAD, organization)
        return EMPTY_CHAIN if row is None else ChainHead(row["sequence"], row["hash"])

    async def audit_log(
        self,
        organization: OrganizationId,
        window: PageRequest,
        matching: AuditFilter = ALL_ENTRIES,
    ) -> Page[AuditEntry]:
        wanted = (matching.action, matching.actor_id, matching.after, matching.before)
        after = window.after
        place = (None, None) if after is None else (after.value, after.id)
        limit, offset = window.limit + 1, 0 if after is not None else window.offset
        async with read_snapshot(self.pool, RETRY_LATER, organization) as connection:
            total = await connection.fetchval(COUNT_AUDIT_ENTRIES, organization, *wanted)
            values = (organization, *wanted, *place, limit, offset)
            page = KeysetPage(total, await connection.fetch(SELECT_AUDIT_LOG, *values))
        return page.to_page(
            window.limit, rows.audit_entry_from_row, lambda one: Position(one.at, one.id)
        )


def _sent_invitation_from_row(row: Record) -> SentInvitation:
    return SentInvitation(
        invitation=rows.invitation_from_row(row),
        organization_name=row["organization_name"],
        inviter_display_name=row["inviter_display_name"],
        inviter_email=row["inviter_email"],
    )
