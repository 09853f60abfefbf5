"""The MCP server over the service in memory, and the official client."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from mcp import Client

from domain.evaluation.evidence.redaction import RedactionMode
from domain.identity.api_key import Scope
from entrypoints.mcp.server import mcp_server, toolbox
from entrypoints.mcp.service_client import Credential, ServiceClient
from entrypoints.mcp.tools import Toolbox
from tests.http.conftest import Site

SERVICE = "http://service.test"
MODES = ["legacy", "auto"]
type Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def memory_site() -> Site:
    return Site()


@pytest.fixture
async def site(memory_site: Site) -> AsyncIterator[Site]:
    memory_site.begin()
    async with memory_site.http:
        yield memory_site


@pytest.fixture
async def service(site: Site) -> AsyncIterator[ServiceClient]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(site.app)) as http:
        yield ServiceClient(http, SERVICE)


@pytest.fixture
def box(service: ServiceClient) -> Toolbox:
    started = datetime.now(UTC)  # at which time stands still
    return replace(toolbox(service, RedactionMode.SECRETS), now=lambda: started)


@pytest.fixture
def key(site: Site) -> str:
    """The secret of a key with all scopes."""
    return site.key()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How the client speaks: with a handshake, as clients did until 2026, or without."""
    mode: str = request.param
    return mode


@pytest.fixture
def connect(site: Site, box: Toolbox, mode: str) -> Connect:
    """Connects a client in this process, with a new key of some scopes."""

    @asynccontextmanager
    async def connected(*scopes: Scope, secret: str | None = None) -> AsyncIterator[Client]:
        credential = Credential(secret or site.key(*scopes), "shop")
        async with Client(mcp_server(box, lambda _: credential, "1"), mode=mode) as client:
            yield client

    return connected


def text_of(result: Any) -> str:
    """The text of a result that isn't an error."""
    assert not result.is_error, result.content
    [content] = result.content
    text: str = content.text
    return text


def error_of(result: Any) -> str:
    assert result.is_error
    [content] = result.content
    text: str = content.text
    return text


NOW = datetime(2026, 3, 8, tzinfo=UTC)
