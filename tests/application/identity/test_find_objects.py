"""Finding objects while some of the organizations of a person can't be read."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from application.identity.find_objects import FindObjects
from application.identity.ports import ObjectIndex
from domain.errors import NotFound, Unavailable
from domain.identity.found_object import FoundObject, ObjectKind
from domain.ids import OrganizationId, ProjectId
from tests.support.fixtures.in_memory_app import World


@dataclass
class Index:
    """Finds one object in each project, or fails."""

    failure: Unavailable | None = None

    async def find(self, projects: Sequence[ProjectId], _text: str) -> Sequence[FoundObject]:
        if self.failure is not None:
            raise self.failure
        return [FoundObject(ObjectKind.TRACE, project) for project in projects]


async def found(world: World, *places: ObjectIndex | Exception) -> tuple[int, list[int]]:
    """How many organizations a person has, and those in whose projects something was found."""
    ada = await world.person("ada")
    ours = [
        (await world.do.identity.create_organization(ada, f"Ours {n}")).id
        for n in range(len(places))
    ]
    projects = [await world.project(one) for one in ours]

    async def objects_of(organization: OrganizationId) -> ObjectIndex:
        place = places[ours.index(organization)]
        if isinstance(place, Exception):
            raise place
        return place

    find = FindObjects(world.ports.identity.directory, objects_of)
    objects = await find(ada, str(uuid.uuid4()))
    return len(ours), sorted(projects.index(one.project_id) for one in objects)


AWAY = Unavailable("away")


@pytest.mark.parametrize("failing", [AWAY, NotFound("deleted"), Index(AWAY)])
async def test_organization_that_cannot_be_read_hides_nothing_of_others(world, failing):
    assert await found(world, Index(), failing, Index()) == (3, [0, 2])


@pytest.mark.parametrize("failing", [AWAY, Index(AWAY)])
async def test_search_fails_if_nothing_is_found_and_one_organization_cannot_be_read(world, failing):
    with pytest.raises(Unavailable, match="away"):
        await found(world, failing)


async def test_deleted_organization_has_nothing(world):
    assert await found(world, NotFound("deleted")) == (1, [])
