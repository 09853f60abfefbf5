"""Column specs of users, organizations, keys and the audit log."""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import msgspec
from asyncpg import Record

from adapters.postgres.database.statements.columns import Column, Table, columns, object_text
from domain.identity.api_key import ApiKey, KeyLimits, Scope
from domain.identity.audit import Actor, AuditAction, AuditEntry, Origin
from domain.identity.browser_session import BrowserSession, SessionPurpose, SignInMethod
from domain.identity.caller import User
from domain.identity.invitation import Invitation, InvitationStatus
from domain.identity.login_code import LoginCode
from domain.identity.organization import Member, Membership, Organization, Project, Role
from domain.identity.sign_in_attempt import SignInAttempt
from domain.ids import ProjectId


def _known_scopes(names: list[str]) -> frozenset[Scope]:
    """Scopes that this version does not know are dropped."""
    return frozenset(scope for scope in Scope if scope in names)


def _sorted(values: Collection[Any] | None) -> list[Any] | None:
    return None if values is None else sorted(values)


def _project_ids(ids: list[UUID] | None) -> frozenset[ProjectId] | None:
    return None if ids is None else frozenset(map(ProjectId, ids))


def _networks(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts)


_BY_ID: Final = ("id",)
# Rows of an organization are written with the id of the organization that is locked.
_LOCKED_ORGANIZATION: Final = columns("organization_id uuid")

USERS: Final = Table(
    "users",
    (
        *columns("id uuid, issuer text, subject text, email text, display_name text"),
        *columns("created_at timestamptz, last_sign_in_at timestamptz"),
    ),
    key=_BY_ID,
)
ORGANIZATIONS: Final = Table(
    "organizations",
    columns("id uuid, name text, created_at timestamptz, public_links boolean"),
    key=_BY_ID,
)
MEMBERSHIPS: Final = Table(
    "memberships",
    (
        *columns("id uuid, organization_id uuid, user_id uuid, created_at timestamptz"),
        Column("role", "text", read=Role),
    ),
    key=_BY_ID,
)
PROJECTS: Final = Table(
    "projects",
    columns("id uuid, name text, description text, created_at timestamptz, retention_days int"),
    key=_BY_ID,
    given=_LOCKED_ORGANIZATION,
)
API_KEYS: Final = Table(
    "api_keys",
    (
        *columns("id uuid, created_by uuid, name text, prefix text, digest bytea"),
        Column("scopes", "text[]", write=sorted, read=_known_scopes),
        *columns("created_at timestamptz, expires_at timestamptz, revoked_at timestamptz"),
        *columns("last_used_at timestamptz"),
        Column("project_ids", "uuid[]", "limits.project_ids", write=_sorted, read=_project_ids),
        Column("networks", "text[]", "limits.networks", write=_sorted, read=_networks),
        *columns("newest_network text, newest_network_at timestamptz"),
    ),
    key=_BY_ID,
    given=_LOCKED_ORGANIZATION,
)
INVITATIONS: Final = Table(
    "invitations",
    (
        *columns("id uuid, email text, invited_by uuid"),
        Column("role", "text", read=Role),
        Column("status", "text", read=InvitationStatus),
        *columns("created_at timestamptz, expires_at timestamptz"),
    ),
    key=_BY_ID,
    given=_LOCKED_ORGANIZATION,
)
LOGIN_CODES: Final = Table(
    "login_codes",
    (
        *columns("digest bytea, user_id uuid, challenge text, label text"),
        Column("project", "uuid", "project_id"),
        *columns("created_at timestamptz, expires_at timestamptz"),
    ),
    key=("digest",),
    given=_LOCKED_ORGANIZATION,
)
BROWSER_SESSIONS: Final = Table(
    "browser_sessions",
    (
        *columns("id uuid, digest bytea, verifier_hash bytea"),
        Column("method", "text", read=SignInMethod),
        Column("purpose", "text", read=SessionPurpose),
        *columns("user_id uuid, verified_email text, key_id uuid, key_digest bytea"),
        *columns("created_at timestamptz, last_used_at timestamptz, ends_at timestamptz"),
        *columns("address text, agent text"),
    ),
    key=_BY_ID,
)
SIGN_IN_ATTEMPTS: Final = Table(
    "sign_in_attempts",
    (
        *columns("digest bytea, verifier_hash bytea, destination text"),
        *columns("created_at timestamptz, expires_at timestamptz"),
    ),
    key=("digest",),
)
AUDIT_LOG: Final = Table(
    "audit_log",
    (
        *columns("id uuid, organization_id uuid, at timestamptz, resource_id text"),
        Column("actor_user_id", "uuid", "actor.user_id"),
        Column("actor_key_id", "uuid", "actor.key_id"),
        Column("actor_name", "text", "actor.name"),
        *columns("address text, agent text", at="actor.origin"),
        Column("action", "text", read=AuditAction),
        Column(
            "detail", "json", write=object_text, read=msgspec.json.Decoder(dict[str, str]).decode
        ),
        *columns("sequence bigint, hash bytea"),  # set by a trigger when the transaction commits
    ),
    key=_BY_ID,
)

user_row: Final = USERS.compile_row()
user_from_row: Final = USERS.compile_reader(User)
organization_row: Final = ORGANIZATIONS.compile_row()
organization_from_row: Final = ORGANIZATIONS.compile_reader(Organization)
membership_row: Final = MEMBERSHIPS.compile_row()
membership_from_row: Final = MEMBERSHIPS.compile_reader(Membership)
project_row: Final = PROJECTS.compile_row()
project_from_row: Final = PROJECTS.compile_reader(Project)
key_row: Final = API_KEYS.compile_row()
key_from_row: Final = API_KEYS.compile_reader(
    ApiKey, limits=API_KEYS.compile_reader(KeyLimits, at="limits")
)
invitation_row: Final = INVITATIONS.compile_row()
invitation_from_row: Final = INVITATIONS.compile_reader(Invitation)
login_code_row: Final = LOGIN_CODES.compile_row()
login_code_from_row: Final = LOGIN_CODES.compile_reader(LoginCode)
session_row: Final = BROWSER_SESSIONS.compile_row()
session_from_row: Final = BROWSER_SESSIONS.compile_reader(BrowserSession)
sign_in_attempt_row: Final = SIGN_IN_ATTEMPTS.compile_row()
sign_in_attempt_from_row: Final = SIGN_IN_ATTEMPTS.compile_reader(SignInAttempt)
audit_row: Final = AUDIT_LOG.compile_row()
audit_entry_from_row: Final = AUDIT_LOG.compile_reader(
    AuditEntry,
    actor=AUDIT_LOG.compile_reader(
        Actor, at="actor", origin=AUDIT_LOG.compile_reader(Origin, at="actor.origin")
    ),
)

INSERT_AUDIT_ENTRY: Final = AUDIT_LOG.insert()
UPSERT_MEMBERSHIP: Final = f"""
{MEMBERSHIPS.insert()} ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
"""
SELECT_PROJECT: Final = f"""
SELECT {PROJECTS.select()} FROM projects WHERE organization_id = $1 AND id = $2
"""
COUNT_PROJECTS: Final = "SELECT count(*) FROM projects WHERE organization_id = $1"
SELECT_KEY: Final = f"""
SELECT {API_KEYS.select()} FROM api_keys WHERE organization_id = $1 AND id = $2
"""
SELECT_MEMBERS: Final = f"""
SELECT {MEMBERSHIPS.select("m")}, u.display_name, u.email
FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = $1
"""


def member_from_row(row: Record) -> Member:
    """From a row of SELECT_MEMBERS."""
    return Member(
        membership=membership_from_row(row), display_name=row["display_name"], email=row["email"]
    )
