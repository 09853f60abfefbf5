"""People, organizations, keys and the audit log as rows, and back."""

from typing import Any, Final

import msgspec
from asyncpg import Record

from domain.identity.api_key import ApiKey, Scope
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.invitation import Invitation, InvitationStatus
from domain.identity.organization import Membership, Role

type Row = Record | dict[str, Any]
"""A row of asyncpg or Piccolo."""

AUDIT_COLUMNS: Final = (
    "id", "organization_id", "at", "actor_user_id", "actor_key_id", "actor_name", "address",
    "agent", "action", "resource_id", "detail",
)  # fmt: skip
INSERT_AUDIT_ENTRY: Final = f"""
INSERT INTO audit_log ({", ".join(AUDIT_COLUMNS)})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
UPSERT_MEMBERSHIP: Final = """
INSERT INTO memberships (id, organization_id, user_id, role, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
"""

_DETAIL_DECODER: Final = msgspec.json.Decoder(dict[str, str])
_INVITATION_FIELDS: Final = (
    *("id", "organization_id", "email", "invited_by", "created_at", "expires_at"),
)


def membership_from_row(row: Row) -> Membership:
    return Membership(
        id=row["id"],
        organization_id=row["organization_id"],
        user_id=row["user_id"],
        role=Role(row["role"]),
        created_at=row["created_at"],
    )


def membership_row(membership: Membership) -> tuple[object, ...]:
    return (
        membership.id,
        membership.organization_id,
        membership.user_id,
        membership.role,
        membership.created_at,
    )


def key_from_row(row: Row) -> ApiKey:
    """Scopes that this version does not know are dropped."""
    scopes = frozenset(scope for scope in Scope if scope in row["scopes"])
    return ApiKey(**dict(row) | {"scopes": scopes})


def invitation_from_row(row: Row) -> Invitation:
    return Invitation(
        role=Role(row["role"]),
        status=InvitationStatus(row["status"]),
        **{name: row[name] for name in _INVITATION_FIELDS},
    )


def audit_row(entry: AuditEntry) -> tuple[object, ...]:
    """An entry in the order of AUDIT_COLUMNS."""
    actor, origin = entry.actor, entry.actor.origin
    return (
        entry.id, entry.organization_id, entry.at, actor.user_id, actor.key_id, actor.name,
        origin.address, origin.agent, entry.action, entry.resource_id,
        msgspec.json.encode(entry.detail),
    )  # fmt: skip


def audit_entry_from_row(row: Row) -> AuditEntry:
    return AuditEntry(
        id=row["id"],
        organization_id=row["organization_id"],
        at=row["at"],
        actor=Actor(
            user_id=row["actor_user_id"],
            key_id=row["actor_key_id"],
            name=row["actor_name"],
            origin=Origin(row["address"], row["agent"]),
        ),
        action=AuditAction(row["action"]),
        resource_id=row["resource_id"],
        detail=_DETAIL_DECODER.decode(row["detail"]),
    )
