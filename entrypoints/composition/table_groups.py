"""The ports of the groups beyond the first, each over a pool of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self

from adapters.caching.group_cache import CachedGroups
from adapters.postgres.database.pool import Pool
from adapters.postgres.database.table_groups import PostgresTableGroups, TableGroup
from application.table_groups import FIRST_GROUP, PLACEMENT_KNOWN_S, Placement
from application.use_cases import Ports
from domain.ids import OrganizationId, ProjectId

type OpenPorts = Callable[[str], AbstractAsyncContextManager[Ports]]
"""Fills the ports over the tables of a group, by the search path of its connections."""


class OpenedGroups:
    """Implements TableGroups: opens the ports of a group when they are first needed."""

    def __init__(
        self, pool: Pool, open_ports: OpenPorts, known_s: float = PLACEMENT_KNOWN_S
    ) -> None:
        """`pool` is that of the first group. A placement is read again after `known_s`."""
        self._stored = PostgresTableGroups(pool)
        self._known = CachedGroups(self._stored, known_s)
        self._open_ports = open_ports
        self._opened: dict[int, Ports] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def until_end(
        cls, pool: Pool, open_ports: OpenPorts, known_s: float = PLACEMENT_KNOWN_S
    ) -> AsyncIterator[Self]:
        """At the end of the block the ports are closed, and accepted data is written."""
        groups = cls(pool, open_ports, known_s)
        async with groups._stack:
            yield groups

    async def all(self) -> Sequence[int]:
        return await self._known.all()

    async def organization_placement(self, organization: OrganizationId) -> Placement:
        return await self._known.organization_placement(organization)

    async def project_placement(self, project: ProjectId) -> Placement | None:
        return await self._known.project_placement(project)

    async def open(self, group: int) -> Ports | None:
        if group == FIRST_GROUP:
            return None
        async with self._opening:
            if group not in self._opened:
                path = TableGroup(group).path(await self._stored.path())
                self._opened[group] = await self._stack.enter_async_context(self._open_ports(path))
            return self._opened[group]
