"""A person, and an organization of hers."""

import pytest

from domain.identity.caller import Person
from domain.ids import OrganizationId
from tests.support.fixtures.in_memory_app import World


@pytest.fixture
async def ada(world: World) -> Person:
    return await world.person("ada")


@pytest.fixture
async def ours(world: World, ada: Person) -> OrganizationId:
    """An organization of Ada's."""
    return (await world.do.identity.create_organization(ada, "Ours")).id
