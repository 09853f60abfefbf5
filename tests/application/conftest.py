"""A world of organizations over memory adapters, as a fixture."""

import pytest

from adapters.memory.store import MemoryStore
from entrypoints.composition.memory import memory_ports
from tests.support.builders.values import prices
from tests.support.fixtures.in_memory_app import World


@pytest.fixture
def world() -> World:
    return World(memory_ports(MemoryStore(), prices()))
