"""The port of public links."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from domain.identity.audit import AuditEntry
from domain.ids import ProjectId, TraceId
from domain.sharing.trace_link import TraceLink


class TraceLinks(Protocol):
    """The public links to traces, of every project.

    A link is deleted with its trace, its project or its organization; when the organization stops
    to allow public links (`LockedOrganization.allow_public_links`); and after it has expired
    (`RemovedProjects.purge`). All raise Unavailable.
    Contract of TraceLinks: tests/contracts/sharing/test_trace_links.py.
    """

    async def add(self, link: TraceLink, *, audit: AuditEntry | None = None) -> None:
        """Stores a new link.

        Raises Forbidden if the organization allows no public links, NotFound without the trace, and
        Conflict if the trace has LINKS_PER_TRACE_MAX or the project LINKS_PER_PROJECT_MAX.
        """
        ...

    async def by_trace(self, project: ProjectId, trace: TraceId) -> Sequence[TraceLink]:
        """The newest first, with expired ones."""
        ...

    async def delete(
        self, project: ProjectId, trace: TraceId, link: UUID, *, audit: AuditEntry | None = None
    ) -> bool:
        """Whether the trace had this link."""
        ...

    async def by_digest(self, digest: bytes) -> TraceLink | None:
        """The link, also an expired one. None if it is unknown, or if its organization allows none.

        Searches all tenants, because only the link names the project of its trace.
        """
        ...
