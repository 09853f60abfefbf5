"""The audit log: who did what to which resource, when, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain.ids import ApiKeyId, AuditEntryId, OrganizationId, UserId

ADDRESS_MAX: Final = 64  # characters; an IPv6 address with a zone
AGENT_MAX: Final = 255  # characters of a User-Agent; longer ones are cut


class AuditAction(StrEnum):
    """`<resource>.<action>`."""

    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_RENAMED = "organization.renamed"
    ORGANIZATION_DELETED = "organization.deleted"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    MEMBER_LEFT = "member.left"
    INVITATION_CREATED = "invitation.created"
    INVITATION_REVOKED = "invitation.revoked"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_DECLINED = "invitation.declined"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    PROJECT_RETENTION_CHANGED = "project.retention_changed"
    ERASURE_REQUESTED = "erasure.requested"
    ERASURE_FINISHED = "erasure.finished"
    PROJECT_BUDGET_CHANGED = "project.budget_changed"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_DELETED = "api_key.deleted"
    API_KEY_USED = "api_key.used"  # first use from an address or by a client
    LOGIN_CODE_ISSUED = "login_code.issued"
    SCORE_CHANGED = "score.changed"
    SCORE_DELETED = "score.deleted"

    @property
    def resource(self) -> str:
        return self.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from: the client's address and User-Agent. None: unknown."""

    address: str | None = None
    agent: str | None = None


UNKNOWN_ORIGIN: Final = Origin()  # such as the local command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who did it. `name` is the email, or the key's prefix, at that time.

    Without ids it was an operator at the command line.
    """

    user_id: UserId | None = None
    key_id: ApiKeyId | None = None
    name: str
    origin: Origin = UNKNOWN_ORIGIN


OPERATOR: Final = Actor(name="operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`resource_id` is the id of the resource in `action`; `detail` holds further facts."""

    id: AuditEntryId
    organization_id: OrganizationId
    at: datetime
    actor: Actor
    action: AuditAction
    resource_id: str
    detail: Mapping[str, str] = field(default_factory=dict)
