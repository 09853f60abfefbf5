"""Groups of tables: which of them an organization belongs to (docs/adr/0058).

Each group has all tables of projects, in a schema of its own. Those of the first are in the schema
that also has organizations, users, keys, and the list of the groups.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.database.pool import (
    Connection,
    Pool,
    bounded,
    require_row,
    translate_errors,
)
from adapters.postgres.database.removed_projects import OrganizationMoving
from adapters.postgres.database.tenants import ALL_TENANTS, within
from application.table_groups import FIRST_GROUP, Placement
from domain.ids import OrganizationId, ProjectId

HAS_GROUPS: Final = "SELECT to_regclass('table_groups') IS NOT NULL"
SELECT_GROUPS: Final = "SELECT number FROM table_groups ORDER BY number"
_PLACEMENT: Final = """
o.table_group AS group, o.moving_to IS NULL AS takes_writes, NOT o.is_move_ending AS takes_reads
"""
SELECT_PLACEMENT_OF_ORGANIZATION: Final = f"""
SELECT {_PLACEMENT} FROM organizations AS o WHERE o.id = $1
"""
# Across tenants: the messages that announce jobs have the project alone.
SELECT_PLACEMENT_OF_PROJECT: Final = f"""
SELECT {_PLACEMENT}
FROM projects AS p JOIN organizations AS o ON o.id = p.organization_id WHERE p.id = $1
"""
# The group with the fewest organizations.
SELECT_SMALLEST_GROUP: Final = """
SELECT number FROM table_groups AS g
ORDER BY (SELECT count(*) FROM organizations AS o WHERE o.table_group = g.number), number LIMIT 1
"""
# Selects the projects that belong to another group than $2. Removed projects belong to none.
SELECT_PROJECTS_OF_OTHERS: Final = """
SELECT p.id FROM projects AS p JOIN organizations AS o ON o.id = p.organization_id
WHERE p.id = ANY($1::uuid[]) AND o.table_group <> $2
"""
SELECT_IS_ELSEWHERE: Final = """
SELECT moving_to IS NOT NULL OR table_group <> $2 FROM organizations WHERE id = $1
"""
_OF_GROUP: Final = re.compile(r"group_(\d+)\b")
SELECT_PATH: Final = "SELECT current_setting('search_path')"


@dataclass(frozen=True, slots=True)
class TableGroup:
    """The schemas of a group, by its number from FIRST_GROUP on."""

    number: int

    @property
    def schema(self) -> str | None:
        """None for the first, whose tables are in the first schema of the path of the role."""
        return None if self.number == FIRST_GROUP else f"group_{self.number}"

    @property
    def searchable_schema(self) -> str:
        return self._of_views("searchable")

    @property
    def visible_schema(self) -> str:
        return self._of_views("visible")

    def _of_views(self, name: str) -> str:
        return name if self.schema is None else f"{self.schema}_{name}"

    def path(self, default: str) -> str:
        """The search path of its connections; `default` is that of the first group."""
        return default if self.schema is None else f"{self.schema}, {default}"


def own_group(connection: Connection) -> int:
    """The number of the group whose tables a connection finds first.

    It is sent along with statements: with Citus another node may run these, which doesn't know the
    search path.
    """
    found = _OF_GROUP.match(bounded(connection).search_path)
    return FIRST_GROUP if found is None else int(found[1])


async def fetch_groups(connection: Connection) -> list[TableGroup]:
    """All groups, the first first; only that one before the database is migrated."""
    if not await connection.fetchval(HAS_GROUPS):
        return [TableGroup(FIRST_GROUP)]
    return [TableGroup(row[0]) for row in await connection.fetch(SELECT_GROUPS)]


async def check_stays_in_group(connection: Connection, organization: OrganizationId) -> None:
    """Raises OrganizationMoving if the organization moves to another group, or has moved there.

    For writes to tables of all groups together with those of the connection's group. Call it under
    the lock of the organization, which a move takes too.
    """
    if await connection.fetchval(SELECT_IS_ELSEWHERE, organization, own_group(connection)):
        raise OrganizationMoving


@dataclass(frozen=True, slots=True)
class PostgresTableGroups:
    """Reads the groups. `pool` is that of the first."""

    pool: Pool

    async def all(self) -> Sequence[int]:
        async with translate_errors():
            return [row[0] for row in await self.pool.fetch(SELECT_GROUPS)]

    async def organization_placement(self, organization: OrganizationId) -> Placement:
        async with translate_errors():
            ours = within(self.pool, organization)
            row = await ours.fetchrow(SELECT_PLACEMENT_OF_ORGANIZATION, organization)
        return Placement(**require_row(row, "Organization not found"))

    async def project_placement(self, project: ProjectId) -> Placement | None:
        async with translate_errors():
            everyone = within(self.pool, ALL_TENANTS)
            row = await everyone.fetchrow(SELECT_PLACEMENT_OF_PROJECT, project)
        return None if row is None else Placement(**row)

    async def path(self) -> str:
        """The search path of the first group."""
        async with translate_errors():
            path: str = await self.pool.fetchval(SELECT_PATH)
        return path
