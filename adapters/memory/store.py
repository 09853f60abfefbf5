"""The memory 'database': dicts of frozen values, each by its primary key."""

from dataclasses import dataclass, field

from domain.identity.api_key import ApiKey
from domain.identity.organization import Membership, Organization, Project
from domain.identity.user import User
from domain.ids import ApiKeyId, OrganizationId, ProjectId, TraceId, UserId
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

    def traces_of(self, project: ProjectId) -> list[Trace]:
        return [trace for (of, _), trace in self.traces.items() if of == project]
