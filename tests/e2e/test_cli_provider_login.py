"""Command-line sign-in through the browser, with an OpenID provider in place of a pasted token."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from adapters.embedded.process import free_port
from domain.identity.browser_session import SignInMethod
from entrypoints.composition.sign_in import open_sign_in
from entrypoints.settings import read_settings
from tests.e2e.dashboard.browser import PageLog
from tests.e2e.test_cli_login import CommandLine, expect_choosing, listening
from tests.http.conftest import CONFIG, Site
from tests.support.fakes.openid_provider import ADA, Client, Provider, openid_provider
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e
METHODS = frozenset({SignInMethod.PROVIDER, SignInMethod.TOKEN})


@contextmanager
def served(provider: Provider, url: str) -> Iterator[None]:
    """The service at a loopback address, over memory, with this provider."""
    environ = {"AUTH_ISSUER": provider.issuer, "AUTH_CLIENT_ID": "pandaprobe", "PUBLIC_URL": url}
    settings = read_settings({f"PANDAPROBE_{name}": text for name, text in environ.items()})
    port, started = int(url.rpartition(":")[2]), threading.Event()
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        async with open_sign_in(settings) as sign_in:
            ports = {"sign_in_provider": sign_in.provider, "tokens": sign_in.tokens}
            config = replace(CONFIG, public_url=url, sign_in_methods=METHODS)
            app = Site(config=config, swapped=ports).app
            server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
            servers.append(server)
            started.set()
            await server.serve(sockets=[bound])

    bound = socket.create_server(("127.0.0.1", port))  # connections wait until it serves
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(WAIT_MAX_S)
    try:
        yield
    finally:
        servers[0].should_exit = True
        thread.join(WAIT_MAX_S)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with openid_provider() as found:
        yield found


@pytest.fixture(scope="module")
def service(provider: Provider) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    provider.clients["pandaprobe"] = Client("pandaprobe", None, f"{url}/session/callback")
    with served(provider, url):
        yield url


@pytest.fixture
def command_line(service: str) -> Iterator[CommandLine]:
    with listening(service) as command_line:
        yield command_line


def test_person_signs_in_with_the_provider(
    page: Page, page_log: PageLog, command_line: CommandLine
) -> None:
    page.goto(command_line.link())
    page.click("#provider")
    expect_choosing(page)
    expect(page.locator("#person")).to_have_text(ADA["email"])
    expect(page.locator("#endpoint-command")).to_have_text(
        f"pandaprobe config set endpoint {command_line.service}"
    )
    page.click("#authorize")
    callback = command_line.callback()
    assert set(callback) == {"code"}
    assert command_line.exchange(callback["code"]).json()["project_name"] == "onboarding"
    assert page_log.reported == []


def test_declined_sign_in_shows_the_reason(
    page: Page, command_line: CommandLine, provider: Provider
) -> None:
    provider.denies = True
    page.goto(command_line.link())
    page.click("#provider")
    expect(page.locator("#problem")).to_contain_text("declined")
    assert command_line.has_no_callback
    provider.denies = False
    page.click("#provider")
    expect_choosing(page)
