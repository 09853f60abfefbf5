"""A person who calls the service, and an organization that she owns."""

import pytest

from tests.http.conftest import Site
from tests.support.builders.values import NOON
from tests.support.clients.organization_members import PersonClient, new_person


@pytest.fixture
def ada(site: Site) -> PersonClient:
    site.now = NOON
    return new_person(site, "ada@example.com", name="Ada Lovelace")


@pytest.fixture
async def ours(ada: PersonClient) -> str:
    """The path of an organization that Ada owns."""
    made = await ada.call("POST", "/organizations", {"name": "Acme"})
    return f"/organizations/{made['id']}"
