"""Public links to traces, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.memory.store import MemoryStore, by_creation
from domain.errors import Conflict, Forbidden, NotFound
from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.sharing.trace_link import (
    LINKS_ARE_OFF,
    LINKS_PER_PROJECT_MAX,
    LINKS_PER_TRACE_MAX,
    TOO_MANY_OF_PROJECT,
    TOO_MANY_OF_TRACE,
    TraceLink,
)


@dataclass(frozen=True, slots=True)
class MemoryTraceLinks:
    store: MemoryStore

    async def add(self, link: TraceLink, *, audit: AuditEntry | None = None) -> None:
        organization = self.store.organizations.get(link.organization_id)
        if organization is None:
            raise NotFound("Organization not found")
        if not organization.public_links:
            raise Forbidden(LINKS_ARE_OFF)
        self.store.traces.require(link.project_id, link.trace_id)
        ours = [one for one in self._stored() if one.project_id == link.project_id]
        if sum(one.trace_id == link.trace_id for one in ours) >= LINKS_PER_TRACE_MAX:
            raise Conflict(TOO_MANY_OF_TRACE)
        if len(ours) >= LINKS_PER_PROJECT_MAX:
            raise Conflict(TOO_MANY_OF_PROJECT)
        self.store.trace_links[link.id] = link
        self.store.record(audit)

    async def by_trace(self, project: ProjectId, trace: TraceId) -> Sequence[TraceLink]:
        place = (project, trace)
        ours = [one for one in self._stored() if (one.project_id, one.trace_id) == place]
        return by_creation(ours, newest_first=True)

    async def delete(
        self, project: ProjectId, trace: TraceId, link: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        known = self.store.trace_links.get(link)
        if known is None or (known.project_id, known.trace_id) != (project, trace):
            return False
        del self.store.trace_links[link]
        self.store.record(audit)
        return True

    async def by_digest(self, digest: bytes) -> TraceLink | None:
        for one in self._stored():
            organization = self.store.organizations[one.organization_id]
            if one.digest == digest and organization.public_links:
                return one
        return None

    def _stored(self) -> list[TraceLink]:
        """The links without those of removed projects."""
        links = self.store.trace_links.values()
        return [one for one in links if one.project_id in self.store.projects]
