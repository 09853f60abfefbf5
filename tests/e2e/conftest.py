"""Starts the product as a new user does: `pandaprobe-server dev`, with its own folder and port."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page

from adapters.embedded.process import free_port
from adapters.oidc.tokens import DevelopmentIssuer
from application.clock import utc_now
from entrypoints.composition.sign_in import ISSUER_FOLDER
from entrypoints.processes.dev_supervisor import running_servers
from tests.e2e.dashboard.browser import (
    PageLog,
    SignedInPage,
    executable,
    opened_context,
    started,
    within_loop,
    without_loop,
)
from tests.e2e.dashboard.dashboard_project import Project
from tests.support.clients.command_line import command
from tests.support.fixtures.servers import migrated_postgres
from tests.support.fixtures.servers.migrated_postgres import copy_database
from tests.support.waiting import WAIT_MAX_S, until_while, wait_a_moment

ROOT = Path(__file__).parents[2]
READY: Final = "Ctrl-C stops everything."  # the last words of a `dev` that starts


@dataclass(frozen=True, slots=True)
class DevServer:
    """A running `dev`: its URL, and the variables of its dev.env."""

    folder: Path
    environ: dict[str, str]  # as a user has it after `set -a; . dev.env`
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return self.environ["PANDAPROBE_ENDPOINT"]

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-API-Key": self.environ["PANDAPROBE_API_KEY"],
            "X-Project-Name": self.environ["PANDAPROBE_PROJECT_NAME"],
        }

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers=headers or self.headers,
            timeout=WAIT_MAX_S,
        )


def bearer_of(server: DevServer, email: str, name: str) -> dict[str, str]:
    """The header of a person whom the development issuer knows by this e-mail and name."""
    issuer = DevelopmentIssuer.load_or_create(server.folder / ISSUER_FOLDER)
    token = issuer.token(subject=email, email=email, name=name, expires_in_s=3_600, now=utc_now())
    return {"Authorization": f"Bearer {token}"}


def own_environ(folder: Path, port: int) -> dict[str, str]:
    """Returns this process's environment with only these PANDAPROBE_ variables.

    Rate limits are off, since tests send more than a client would.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PANDAPROBE_")}
    return kept | {
        "PANDAPROBE_DATA_DIR": str(folder),
        "PANDAPROBE_PORT": str(port),
        "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
    }


def read_env(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}


def spawn_dev(folder: Path, port: int, **settings: str) -> subprocess.Popen[bytes]:
    """Starts `dev` with these extra variables, and does not wait."""
    with (folder / "dev.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", "dev"],
            cwd=ROOT,
            env=own_environ(folder, port) | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def start_dev(folder: Path, port: int, **settings: str) -> DevServer:
    """Starts `dev` and waits until it is ready; kills it on timeout."""
    log = folder / "dev.log"
    earlier = log.stat().st_size if log.exists() else 0
    process = spawn_dev(folder, port, **settings)
    try:
        _wait_ready(log, earlier, process)
        return DevServer(folder, read_env(folder / "dev.env"), process)
    except BaseException:
        process.kill()
        process.wait()
        raise


def is_ready(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/health/ready"
    try:
        answer = httpx.get(url, timeout=WAIT_MAX_S)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _wait_ready(log: Path, earlier: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until it says so in `log`, after the bytes of earlier starts.

    It asks its API itself: to ask as well would take a tenth of the processor time of its start.
    """
    deadline = time.monotonic() + WAIT_MAX_S
    while READY not in (output := log.read_bytes()[earlier:].decode()):
        assert process.poll() is None, f"dev ended:\n{output}"
        assert time.monotonic() < deadline, f"dev isn't ready:\n{output}"
        wait_a_moment(process)


@contextmanager
def serving(server: DevServer, **settings: str) -> Iterator[str]:
    """Runs another API process on the servers of a `dev`, and gives its URL."""
    port = free_port()
    environ = own_environ(server.folder, port) | running_servers(str(server.folder)) | settings
    process = subprocess.Popen(
        [sys.executable, "-m", "entrypoints.cli", "serve"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_while(process, lambda: is_ready(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WAIT_MAX_S)


def children_of(supervisor: int) -> dict[str, int]:
    """Returns the process ids of a `dev`'s children, by a word of their command."""
    found = {}
    for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        words = ("postgres", "valkey", "serve", "worker")
        name = next(w for w in words if re.search(rf"(/|-| ){w}( |-)", command))
        found[name] = int(pid)
    return found


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids: Iterable[int], deadline_s: float = WAIT_MAX_S) -> bool:
    """Waits until all `pids` have ended; returns whether they have."""
    descriptors = []
    for pid in pids:
        try:
            descriptors.append(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + deadline_s
    for descriptor in descriptors:
        select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        os.close(descriptor)
    return all(map(is_gone, pids))


@pytest.fixture(scope="session")
def enterable_folder() -> Iterator[Path]:
    """A folder that postgres can enter: for root, it runs as the user `nobody`."""
    folder = Path(tempfile.mkdtemp(prefix="pandaprobe-e2e-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=False)


@dataclass(frozen=True, slots=True)
class Template:
    """A migrated database to copy, and the organization in it with its key."""

    name: str
    key: str
    organization: str


@pytest.fixture(scope="session")
async def template(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Template:
    """A database on the server of `postgres_url`; commands made all that is in it."""
    url = await copy_database(postgres_url, "template1")
    environ = {
        "PANDAPROBE_DATABASE_URL": url,
        "PANDAPROBE_REDIS_URL": redis_url,
        "PANDAPROBE_DATA_DIR": str(tmp_path_factory.mktemp("template")),
        "PANDAPROBE_APP_ENV": "development",
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    }
    status, out, err = await command(environ, "migrate")
    assert (status, "migrated: " in out) == (0, True), err
    status, key, err = await command(environ, "key", "create")
    assert status == 0, err
    owner = await asyncpg.connect(url)
    organization = await owner.fetchval("SELECT id FROM organizations")
    await owner.close()
    return Template(urlsplit(url).path.removeprefix("/"), key.strip(), str(organization))


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, template: Template) -> str:
    """A copy of the template, which tests of one module change."""
    return await copy_database(postgres_url, template.name)


@pytest.fixture(scope="session")
def shared_dev(enterable_folder: Path, migrated_data: Path) -> Iterator[DevServer]:
    folder = enterable_folder / "dev"
    folder.mkdir(mode=0o755)
    migrated_postgres.copy(migrated_data, folder)
    server = start_dev(folder, free_port())
    yield server
    signal_polling(server, signal.SIGCONT)
    server.process.terminate()
    server.process.wait(WAIT_MAX_S)


@pytest.fixture(scope="module")
def dev_server(shared_dev: DevServer) -> Iterator[DevServer]:
    """The same `dev` for all files of tests; between them, its worker and Valkey are frozen."""
    signal_polling(shared_dev, signal.SIGCONT)
    yield shared_dev
    signal_polling(shared_dev, signal.SIGSTOP)


def signal_polling(server: DevServer, number: signal.Signals) -> None:
    """Signals what polls: idle for the rest of a run, it would take half a minute of a processor.

    In this order the worker never waits for Redis: it freezes first, and goes on last.
    """
    parts = children_of(server.process.pid)
    order = ("valkey", "worker") if number is signal.SIGCONT else ("worker", "valkey")
    for name in order:
        os.kill(parts[name], number)


@pytest.fixture(scope="session")
def launched() -> Iterator[tuple[Browser, AbstractEventLoop]]:
    """A browser, and the loop of its driver."""
    program = executable()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    with started(program) as browser, without_loop() as loop:
        yield browser, loop


@pytest.fixture(scope="module")  # not of the session, or no asynchronous test could follow
def browser(launched: tuple[Browser, AbstractEventLoop]) -> Iterator[Browser]:
    browser, loop = launched
    with within_loop(loop):
        yield browser


@pytest.fixture(scope="session")
def signed_in_page(
    launched: tuple[Browser, AbstractEventLoop], shared_dev: DevServer
) -> SignedInPage:
    return SignedInPage(launched[0], shared_dev.url)


@pytest.fixture(scope="session")
def clocked_page(
    launched: tuple[Browser, AbstractEventLoop], shared_dev: DevServer
) -> SignedInPage:
    """As `signed_in_page`, but its clock is that of tests, which put it forward."""
    return SignedInPage(launched[0], shared_dev.url)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page of this test alone; tests that need a signed-in one share it."""
    if "signed_in" not in request.fixturenames:
        with opened_context(browser) as context:
            yield context.new_page()
        return
    name = "clocked_page" if "fast_forward" in request.fixturenames else "signed_in_page"
    shared: SignedInPage = request.getfixturevalue(name)
    yield shared.get()
    shared.clean()


@pytest.fixture
def page_log(page: Page) -> Iterator[PageLog]:
    log = PageLog()
    with log.watching(page):
        yield log


@pytest.fixture
def project(dev_server: DevServer) -> Project:
    return Project(dev_server)


@pytest.fixture
def signed_in(page: Page, page_log: PageLog, dev_server: DevServer) -> Iterator[Page]:
    """An empty page that is signed in, and at the end has asked and reported nothing unexpected."""
    yield page
    own = urlsplit(dev_server.url).netloc
    asked = {urlsplit(url).netloc for url in page_log.requested if not url.startswith("data:")}
    assert asked == {own}
    assert page_log.reported == []


type FastForward = Callable[[int], None]


@pytest.fixture
def fast_forward(signed_in: Page) -> FastForward:
    """Returns a function that puts the time of a page forward to what it waits for."""
    signed_in.clock.install()  # also sets it back to now
    return signed_in.clock.fast_forward


POLL_MAX_MS: Final = 20_000  # of the views that tests wait for, with the random part

type Poll = Callable[[str, Callable[[Any], object]], None]


@pytest.fixture
def poll(fast_forward: FastForward, project: Project) -> Poll:
    """Returns a function that lets a view ask again, once the service has something new for it.

    It reads a path until the answer is so, and then puts the time of the page forward by the
    interval of its polls.
    """

    def poll(path: str, is_so: Callable[[Any], object]) -> None:
        until_while(project.server.process, lambda: project.read(path), is_so)
        fast_forward(POLL_MAX_MS)

    return poll


def all_completed(count: int) -> Callable[[Any], bool]:
    """Whether a list of runs or exports has so many, and all are completed."""

    def is_so(found: Any) -> bool:
        items = found["items"] if isinstance(found, dict) else found
        return [one["status"] for one in items] == ["COMPLETED"] * count

    return is_so


@pytest.fixture
def opened(signed_in: Page) -> Iterator[Page]:
    """A page that has shown no dialog, at the end."""
    dialogs: list[str] = []

    def on_dialog(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    signed_in.on("dialog", on_dialog)
    yield signed_in
    signed_in.remove_listener("dialog", on_dialog)
    assert dialogs == []


@pytest.fixture
def take_screenshot(page: Page) -> Callable[[str], None]:
    """Returns a function that saves screenshots to the folder named by SCREENSHOTS, if any."""

    def take(name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")

    return take
