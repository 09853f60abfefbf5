"""Contract of TableGroups: memory has one group; PostgreSQL has two here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from adapters.memory.store import MemoryStore
from application.table_groups import FIRST_GROUP, OneGroup, Placement, TableGroups
from application.use_cases import Ports
from domain.errors import NotFound
from domain.ids import OrganizationId, ProjectId
from entrypoints.composition.memory import memory_ports
from entrypoints.composition.table_groups import OpenedGroups
from tests.support.builders.values import prices
from tests.support.fixtures.table_groups import migrated

INSERT_ORGANIZATION = """
INSERT INTO organizations (id, name, created_at, table_group) VALUES ($1, 'Ours', now(), 2)
"""
INSERT_PROJECT = """
INSERT INTO projects (id, organization_id, name, description, created_at)
VALUES ($1, $2, 'demo', '', now())
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The groups, and an organization of the last one with its project."""

    groups: TableGroups[Ports]
    organization: OrganizationId
    project: ProjectId


@asynccontextmanager
async def over_path(path: str) -> AsyncIterator[Ports]:
    assert path.startswith("group_2, ")
    yield memory_ports(MemoryStore(), prices())


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.service)])
async def known(request: pytest.FixtureRequest) -> AsyncIterator[Known]:
    organization, project = OrganizationId(uuid4()), ProjectId(uuid4())
    if request.param == "memory":
        yield Known(OneGroup(), organization, project)
        return
    async with migrated(request.getfixturevalue("postgres_url")) as database:
        await database.owner.execute(INSERT_ORGANIZATION, organization)
        await database.owner.execute(INSERT_PROJECT, project, organization)
        async with OpenedGroups.until_end(database.owner, over_path) as groups:
            yield Known(groups, organization, project)


async def test_groups_are_found_by_their_tenants_and_opened_once(known: Known):
    groups = known.groups
    every = await groups.all()
    assert every[0] == FIRST_GROUP
    assert list(every) == sorted({*every})
    for _ in range(2):  # the second time from what is known
        assert await groups.organization_placement(known.organization) == Placement(every[-1])
        assert await groups.project_placement(known.project) == Placement(every[-1])
    assert await groups.open(FIRST_GROUP) is None
    for one in every[1:]:
        opened = await groups.open(one)
        assert opened is not None
        assert await groups.open(one) is opened


@pytest.mark.service
async def test_unknown_tenants_have_no_group(postgres_url: str):
    async with (
        migrated(postgres_url, groups=1) as database,
        OpenedGroups.until_end(database.owner, over_path) as groups,
    ):
        with pytest.raises(NotFound):
            await groups.organization_placement(OrganizationId(uuid4()))
        assert await groups.project_placement(ProjectId(uuid4())) is None
