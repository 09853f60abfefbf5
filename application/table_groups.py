"""Groups of organizations, of which each has tables of its own: the port TableGroups.

An organization belongs to one group from when it is made, and all that its projects store is there
(docs/adr/0058). Most installations have one group.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from domain.ids import OrganizationId, ProjectId

FIRST_GROUP: Final = 1


class TableGroups[P](Protocol):
    """The groups, by number from FIRST_GROUP on. More may be added while the process runs.

    `P` are all ports over the tables of one group. All raise Unavailable.
    Contract of TableGroups: tests/contracts/test_table_groups.py.
    """

    async def all(self) -> Sequence[int]:
        """Ascending."""
        ...

    async def of_organization(self, organization: OrganizationId) -> int:
        """It never changes. Raises NotFound."""
        ...

    async def of_project(self, project: ProjectId) -> int | None:
        """None for an unknown project, and for a removed one."""
        ...

    async def open(self, group: int) -> P | None:
        """The ports over the tables of a group, as long as the process runs.

        None for the first, whose ports the caller has.
        """
        ...


class OneGroup:
    """What has one group only, as the memory adapters."""

    async def all(self) -> Sequence[int]:
        return (FIRST_GROUP,)

    async def of_organization(self, organization: OrganizationId) -> int:  # noqa: ARG002 - of the port
        return FIRST_GROUP

    async def of_project(self, project: ProjectId) -> int | None:  # noqa: ARG002 - of the port
        return FIRST_GROUP

    async def open(self, group: int) -> None:
        pass
