"""A world of organizations over memory adapters, as a fixture."""

import pytest

from adapters.memory.store import MemoryStore
from tests.support.fixtures.in_memory_app import World, memory_ports


@pytest.fixture
def world() -> World:
    return World(memory_ports(MemoryStore()))
