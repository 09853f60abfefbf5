"""The adapters that each port's contract is run against."""

import pytest

from adapters.memory.store import MemoryStore
from tests.contracts.identities import Identity, over_memory, over_postgres, remembered


@pytest.fixture(
    params=["memory", "remembered", pytest.param("postgres", marks=pytest.mark.service)]
)
def identity(request: pytest.FixtureRequest) -> Identity:
    """A plain fixture: it may ask for another by name."""
    match request.param:
        case "memory":
            return over_memory(MemoryStore())
        case "remembered":
            return remembered(over_memory(MemoryStore()))
        case _:
            return over_postgres(request.getfixturevalue("pool"))
