"""Keeps which group an organization or a project belongs to: that never changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from domain.ids import OrganizationId, ProjectId

ENTRIES_MAX: Final = 50_000  # about 0.2 KB each; beyond it, the oldest are dropped


class StoredGroups(Protocol):
    """What of TableGroups is stored."""

    async def all(self) -> Sequence[int]: ...

    async def of_organization(self, organization: OrganizationId) -> int: ...

    async def of_project(self, project: ProjectId) -> int | None: ...


@dataclass(frozen=True, slots=True)
class CachedGroups:
    inner: StoredGroups
    _known: dict[OrganizationId | ProjectId, int] = field(default_factory=dict, init=False)

    async def all(self) -> Sequence[int]:
        return await self.inner.all()

    async def of_organization(self, organization: OrganizationId) -> int:
        found = self._known.get(organization)
        if found is None:
            found = await self.inner.of_organization(organization)
            self._keep(organization, found)
        return found

    async def of_project(self, project: ProjectId) -> int | None:
        found = self._known.get(project)
        if found is None and (found := await self.inner.of_project(project)) is not None:
            self._keep(project, found)
        return found

    def _keep(self, tenant: OrganizationId | ProjectId, group: int) -> None:
        self._known[tenant] = group
        if len(self._known) > ENTRIES_MAX:
            del self._known[next(iter(self._known))]
