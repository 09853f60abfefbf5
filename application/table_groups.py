"""Groups of organizations, of which each has tables of its own: the port TableGroups.

An organization belongs to one group, and all that its projects store is there (docs/adr/0058). An
operator may move it to another one (docs/adr/0064). Most installations have one group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from domain.ids import OrganizationId, ProjectId

FIRST_GROUP: Final = 1
# A process relies on a placement for this time after it asked for it. A move waits for longer
# before it depends on what processes know.
PLACEMENT_KNOWN_S: Final = 5.0
MOVES: Final = "The data of this organization is being moved; send the request again"
MOVING_RETRY_S: Final = 5  # a move takes some seconds at least


@dataclass(frozen=True, slots=True)
class Placement:
    """The group of an organization, and what it takes while the organization moves to another.

    While its rows are copied it takes reads; at the end, for seconds, neither.
    """

    group: int
    takes_writes: bool = True
    takes_reads: bool = True


IN_FIRST_GROUP: Final = Placement(FIRST_GROUP)


class TableGroups[P](Protocol):
    """The groups, by number from FIRST_GROUP on. More may be added while the process runs.

    `P` are all ports over the tables of one group. All raise Unavailable.
    Contract of TableGroups: tests/contracts/test_table_groups.py.
    """

    async def all(self) -> Sequence[int]:
        """Ascending."""
        ...

    async def organization_placement(self, organization: OrganizationId) -> Placement:
        """At most PLACEMENT_KNOWN_S old. Raises NotFound."""
        ...

    async def project_placement(self, project: ProjectId) -> Placement | None:
        """As `organization_placement`. None for an unknown project, and for a removed one."""
        ...

    async def open(self, group: int) -> P | None:
        """The ports over the tables of a group, as long as the process runs.

        None for the first, whose ports the caller has.
        """
        ...


class OneGroup:
    """A TableGroups with one group, as the memory adapters are."""

    async def all(self) -> Sequence[int]:
        return (FIRST_GROUP,)

    async def organization_placement(self, organization: OrganizationId) -> Placement:  # noqa: ARG002 - of the port
        return IN_FIRST_GROUP

    async def project_placement(self, project: ProjectId) -> Placement | None:  # noqa: ARG002 - of the port
        return IN_FIRST_GROUP

    async def open(self, group: int) -> None:
        pass
