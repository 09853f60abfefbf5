"""The memory 'database': dicts of frozen values, each by its primary key."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from domain.identity.api_key import ApiKey
from domain.identity.audit import AuditEntry, Origin
from domain.identity.invitation import Invitation
from domain.identity.login_code import LoginCode
from domain.identity.organization import Membership, Organization, Project
from domain.identity.user import User
from domain.ids import (
    ApiKeyId,
    AuditEntryId,
    InvitationId,
    OrganizationId,
    ProjectId,
    TraceId,
    UserId,
)
from domain.tracing.trace import Trace


@dataclass(slots=True)
class MemoryStore:
    """For one process and one event loop: no method of an adapter awaits halfway."""

    traces: dict[tuple[ProjectId, TraceId], Trace] = field(default_factory=dict)
    organizations: dict[OrganizationId, Organization] = field(default_factory=dict)
    projects: dict[ProjectId, Project] = field(default_factory=dict)
    memberships: dict[tuple[OrganizationId, UserId], Membership] = field(default_factory=dict)
    users: dict[UserId, User] = field(default_factory=dict)
    keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    origins: dict[ApiKeyId, set[Origin]] = field(default_factory=lambda: defaultdict(set))
    invitations: dict[InvitationId, Invitation] = field(default_factory=dict)
    login_codes: dict[bytes, LoginCode] = field(default_factory=dict)
    audit_log: dict[AuditEntryId, AuditEntry] = field(default_factory=dict)
    removed: dict[ProjectId, datetime] = field(default_factory=dict)

    def traces_of(self, project: ProjectId) -> list[Trace]:
        """None where the project was removed: its rows wait to be swept."""
        if project in self.removed:
            return []
        return [trace for (of, _), trace in self.traces.items() if of == project]
