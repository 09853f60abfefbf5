"""A world of organizations over memory adapters, a person, and an organization of hers."""

import pytest

from adapters.memory.store import MemoryStore
from domain.identity.caller import Person
from domain.ids import OrganizationId
from entrypoints.composition.memory import memory_ports
from tests.support.builders.values import prices
from tests.support.fixtures.in_memory_app import World


@pytest.fixture
def world() -> World:
    return World(memory_ports(MemoryStore(), prices()))


@pytest.fixture
async def ada(world: World) -> Person:
    return await world.person("ada")


@pytest.fixture
async def ours(world: World, ada: Person) -> OrganizationId:
    """An organization of Ada's."""
    return (await world.do.identity.create_organization(ada, "Ours")).id
