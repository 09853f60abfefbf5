"""Keeps for some seconds where the data of an organization or a project is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

from application.table_groups import PLACEMENT_KNOWN_S, Placement
from domain.ids import OrganizationId, ProjectId

ENTRIES_MAX: Final = 50_000  # about 0.3 KB each; beyond it, the oldest are dropped


class StoredGroups(Protocol):
    """The part of TableGroups that is stored."""

    async def all(self) -> Sequence[int]: ...

    async def organization_placement(self, organization: OrganizationId) -> Placement: ...

    async def project_placement(self, project: ProjectId) -> Placement | None: ...


@dataclass(frozen=True, slots=True)
class CachedGroups:
    """`known_s` begins before the question: a placement is never older than it says."""

    inner: StoredGroups
    known_s: float = PLACEMENT_KNOWN_S
    clock: Callable[[], float] = monotonic
    _known: dict[OrganizationId | ProjectId, tuple[Placement, float]] = field(
        default_factory=dict, init=False
    )

    async def all(self) -> Sequence[int]:
        return await self.inner.all()

    async def organization_placement(self, organization: OrganizationId) -> Placement:
        now = self.clock()
        found = self._find(organization, now)
        if found is None:
            found = await self.inner.organization_placement(organization)
            self._keep(organization, found, now)
        return found

    async def project_placement(self, project: ProjectId) -> Placement | None:
        now = self.clock()
        found = self._find(project, now)
        if found is None and (found := await self.inner.project_placement(project)) is not None:
            self._keep(project, found, now)
        return found

    def _find(self, tenant: OrganizationId | ProjectId, now: float) -> Placement | None:
        known = self._known.get(tenant)
        return None if known is None or known[1] <= now else known[0]

    def _keep(self, tenant: OrganizationId | ProjectId, placement: Placement, now: float) -> None:
        self._known.pop(tenant, None)  # the dict is in the order of age
        self._known[tenant] = (placement, now + self.known_s)
        if len(self._known) > ENTRIES_MAX:
            del self._known[next(iter(self._known))]
