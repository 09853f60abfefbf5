"""The memory 'database': dicts of frozen values, each by its primary key."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from application.ports import Reply, Turn
from domain.evaluation.score import SessionScore, TraceScore
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
    ScoreId,
    TraceId,
    UserId,
)
from domain.tracing.trace import Trace


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """A write that may be sent again: who has its turn, and its reply once there is one."""

    request_hash: bytes
    turn: Turn
    reply: Reply | None
    expires_at: datetime


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
    trace_scores: dict[tuple[ProjectId, ScoreId], TraceScore] = field(default_factory=dict)
    session_scores: dict[tuple[ProjectId, ScoreId], SessionScore] = field(default_factory=dict)
    replies: dict[tuple[ProjectId, str, str], KnownAttempt] = field(default_factory=dict)

    def traces_of(self, project: ProjectId) -> list[Trace]:
        """None where the project was removed: its rows wait to be swept."""
        if project in self.removed:
            return []
        return [trace for (of, _), trace in self.traces.items() if of == project]

    def drop_trace(self, project: ProjectId, trace: TraceId) -> None:
        """Removes a trace that is there, with its scores."""
        del self.traces[project, trace]
        for score in self.trace_scores_of(project):
            if score.trace_id == trace:
                del self.trace_scores[project, score.id]

    def trace_scores_of(self, project: ProjectId) -> list[TraceScore]:
        if project in self.removed:
            return []
        return [score for (of, _), score in self.trace_scores.items() if of == project]

    def session_scores_of(self, project: ProjectId) -> list[SessionScore]:
        if project in self.removed:
            return []
        return [score for (of, _), score in self.session_scores.items() if of == project]
