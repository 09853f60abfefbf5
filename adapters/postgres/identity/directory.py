"""Reads of organizations, members, invitations and the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.postgres.database.pool import Pool, translate_errors
from adapters.postgres.identity.identity_rows import (
    Row,
    audit_entry_from_row,
    invitation_from_row,
    key_from_row,
    membership_from_row,
)
from adapters.postgres.schema.tables import (
    ApiKeyRow,
    LoginCodeRow,
    OrganizationRow,
    ProjectRow,
)
from domain.errors import NotFound
from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry
from domain.identity.invitation import InvitationStatus, SentInvitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Member, Organization, Project, Role
from domain.ids import ApiKeyId, InvitationId, OrganizationId, UserId
from domain.page import Page, PageRequest, Position

SELECT_ORGANIZATIONS_OF_USER: Final = """
SELECT o.id, o.name, o.created_at, m.role
FROM memberships m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = $1 ORDER BY m.created_at DESC, m.id DESC
"""
SELECT_MEMBERS: Final = """
SELECT m.id, m.organization_id, m.user_id, m.role, m.created_at, u.display_name, u.email
FROM memberships m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = $1 ORDER BY m.created_at, m.id
"""
_SELECT_SENT_INVITATIONS: Final = """
SELECT i.id, i.organization_id, i.email, i.role, i.status, i.invited_by, i.created_at,
       i.expires_at, o.name AS organization_name, u.display_name AS inviter_display_name,
       u.email AS inviter_email
FROM invitations i JOIN organizations o ON o.id = i.organization_id
JOIN users u ON u.id = i.invited_by
"""
SELECT_INVITATIONS: Final = (
    f"{_SELECT_SENT_INVITATIONS} WHERE i.organization_id = $1 ORDER BY i.created_at DESC, i.id DESC"
)
SELECT_OPEN_INVITATIONS_TO: Final = f"""
{_SELECT_SENT_INVITATIONS}
WHERE i.email = $1 AND i.status = '{InvitationStatus.PENDING}' AND i.expires_at > $2
ORDER BY i.created_at DESC, i.id DESC
"""
SELECT_INVITATION: Final = f"{_SELECT_SENT_INVITATIONS} WHERE i.id = $1"
# Reads one row more than requested, to know whether more follow.
SELECT_AUDIT_LOG: Final = """
SELECT * FROM audit_log
WHERE organization_id = $1 AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3::uuid))
ORDER BY at DESC, id DESC LIMIT $4 OFFSET $5
"""
COUNT_AUDIT_ENTRIES: Final = "SELECT count(*) FROM audit_log WHERE organization_id = $1"


@dataclass(frozen=True, slots=True)
class PostgresDirectory:
    pool: Pool

    async def organizations(self, user: UserId) -> Sequence[tuple[Organization, Role]]:
        async with translate_errors():
            rows = await self.pool.fetch(SELECT_ORGANIZATIONS_OF_USER, user)
        return [(_organization_from_row(row), Role(row["role"])) for row in rows]

    async def organization(self, organization: OrganizationId) -> Organization:
        async with translate_errors():
            row = await OrganizationRow.select().where(OrganizationRow.id == organization).first()
        if row is None:
            raise NotFound("Organization not found")
        return _organization_from_row(row)

    async def members(self, organization: OrganizationId) -> Sequence[Member]:
        async with translate_errors():
            rows = await self.pool.fetch(SELECT_MEMBERS, organization)
        return [member_from_row(row) for row in rows]

    async def invitations(self, organization: OrganizationId) -> Sequence[SentInvitation]:
        async with translate_errors():
            rows = await self.pool.fetch(SELECT_INVITATIONS, organization)
        return [_sent_invitation_from_row(row) for row in rows]

    async def invitations_to(self, email: str, now: datetime) -> Sequence[SentInvitation]:
        async with translate_errors():
            rows = await self.pool.fetch(SELECT_OPEN_INVITATIONS_TO, email, now)
        return [_sent_invitation_from_row(row) for row in rows]

    async def invitation(self, invitation: InvitationId) -> SentInvitation:
        async with translate_errors():
            row = await self.pool.fetchrow(SELECT_INVITATION, invitation)
        if row is None:
            raise NotFound("Invitation not found")
        return _sent_invitation_from_row(row)

    async def projects(self, organization: OrganizationId) -> Sequence[Project]:
        async with translate_errors():
            rows = (
                await ProjectRow.select()
                .where(ProjectRow.organization_id == organization)
                .order_by(ProjectRow.created_at, ProjectRow.id, ascending=False)
            )
        return [Project(**row) for row in rows]

    async def keys(self, organization: OrganizationId) -> Sequence[ApiKey]:
        async with translate_errors():
            rows = (
                await ApiKeyRow.select()
                .where(ApiKeyRow.organization_id == organization)
                .order_by(ApiKeyRow.created_at, ApiKeyRow.id, ascending=False)
            )
        return [key_from_row(row) for row in rows]

    async def key(self, organization: OrganizationId, key: ApiKeyId) -> ApiKey:
        async with translate_errors():
            row = (
                await ApiKeyRow.select()
                .where(ApiKeyRow.organization_id == organization, ApiKeyRow.id == key)
                .first()
            )
        if row is None:
            raise NotFound("API key not found")
        return key_from_row(row)

    async def login_code(self, digest: bytes) -> LoginCode | None:
        async with translate_errors():
            row = await LoginCodeRow.select().where(LoginCodeRow.digest == digest).first()
        return None if row is None else LoginCode(project_id=row.pop("project"), **row)

    async def audit_log(
        self, organization: OrganizationId, window: PageRequest
    ) -> Page[AuditEntry]:
        after = window.after
        place = (None, None) if after is None else (after.value, after.id)
        limit, offset = window.limit + 1, 0 if after is not None else window.offset
        async with (
            translate_errors(),
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            total = await connection.fetchval(COUNT_AUDIT_ENTRIES, organization)
            rows = await connection.fetch(SELECT_AUDIT_LOG, organization, *place, limit, offset)
        entries = [audit_entry_from_row(row) for row in rows[: window.limit]]
        last = entries[-1] if len(rows) > window.limit else None
        return Page(entries, total, None if last is None else Position(last.at, last.id))


def member_from_row(row: Row) -> Member:
    """From a row of a membership with name and email of the user."""
    return Member(
        membership=membership_from_row(row), display_name=row["display_name"], email=row["email"]
    )


def _organization_from_row(row: Row) -> Organization:
    return Organization(id=row["id"], name=row["name"], created_at=row["created_at"])


def _sent_invitation_from_row(row: Row) -> SentInvitation:
    return SentInvitation(
        invitation=invitation_from_row(row),
        organization_name=row["organization_name"],
        inviter_display_name=row["inviter_display_name"],
        inviter_email=row["inviter_email"],
    )
