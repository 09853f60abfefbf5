"""Command-line sign-in through the browser, from the link to a working key."""

import base64
import hashlib
import queue
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.browser import PageLog
from tests.support.hypothesis_scale import sampled
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e
STATE = "a+b/c=~ %&<é>"  # returned unchanged to the command line


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/favicon.ico":
            self.server.asked.put(self.path)  # type: ignore[attr-defined]  # a queue of this test
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"You can close this page.")

    def log_message(self, *_: object) -> None: ...


@dataclass
class CommandLine:
    """Acts as the published command line: opens a link, and listens on its own port."""

    server: HTTPServer
    service: str
    state: str = STATE
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def port(self) -> int:
        return self.server.server_port

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def link(self, **overrides: str | None) -> str:
        words: dict[str, Any] = {
            "port": self.port,
            "state": self.state,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            "label": "ada-laptop <b>",
            "cli_version": "0.4.1",
        } | overrides
        sent = {name: value for name, value in words.items() if value is not None}
        return f"{self.service}/cli-login?{urlencode(sent)}"

    def callback(self) -> dict[str, str]:
        """Returns the query parameters of the callback."""
        path, _, query = self.server.asked.get(timeout=WAIT_MAX_S).partition("?")  # type: ignore[attr-defined]  # a queue of this test
        assert path == "/callback"
        assert f"state={quote_plus(self.state)}" in query.split("&")
        words = parse_qs(query, strict_parsing=True)
        assert words.pop("state") == [self.state]
        return {name: value for name, [value] in words.items()}

    def exchange(self, code: str) -> httpx.Response:
        empty = {"X-Api-Key": "", "X-Project-Name": ""}
        body = {"code": code, "code_verifier": self.verifier}
        return httpx.post(
            f"{self.service}/cli/auth/exchange", headers=empty, json=body, timeout=WAIT_MAX_S
        )

    @property
    def has_no_callback(self) -> bool:
        return self.server.asked.empty()  # type: ignore[attr-defined]  # a queue of this test


@contextmanager
def listening(service: str) -> Iterator[CommandLine]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.asked = queue.Queue()  # type: ignore[attr-defined]  # a queue of this test
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield CommandLine(server, service)
        server.shutdown()
        thread.join()


@pytest.fixture
def command_line(dev_server: DevServer) -> Iterator[CommandLine]:
    with listening(dev_server.url) as command_line:
        yield command_line


def requested_only_known_hosts(log: PageLog, command_line: CommandLine) -> bool:
    """Returns whether the page requested only the service and the command line."""
    known = {urlsplit(command_line.service).netloc, f"127.0.0.1:{command_line.port}"}
    return {urlsplit(url).netloc for url in log.requested} <= known


def expect_at_rest(page: Page) -> None:
    expect(page.locator("#status")).to_be_empty()


def expect_choosing(page: Page) -> None:
    expect(page.locator("#choose")).to_be_visible()
    expect_at_rest(page)


def expect_problem(page: Page, text: str) -> None:
    expect(page.locator("#problem")).to_contain_text(text)
    expect_at_rest(page)


def test_login_link_leads_to_key_that_stores_traces(
    page: Page,
    page_log: PageLog,
    command_line: CommandLine,
    take_screenshot: Callable[[str], None],
) -> None:
    page.goto(command_line.link())
    expect_choosing(page)
    text = page.inner_text("body")
    assert "ada-laptop <b>" in text
    assert f"http://127.0.0.1:{command_line.port}/callback" in text
    assert "dev@localhost" in text
    take_screenshot("choose")
    page.select_option("#project", label="onboarding")  # other tests make more of them
    page.click("#authorize")
    callback = command_line.callback()
    assert set(callback) == {"code"}

    answer = command_line.exchange(callback["code"])
    assert answer.status_code == 200, answer.text
    login = answer.json()
    assert login["project_name"] == "onboarding"
    head = {"X-API-Key": login["api_key"], "X-Project-Name": login["project_name"]}
    sent = {"name": "after the login", "started_at": "2026-03-01T09:00:00Z"}
    posted = httpx.post(
        f"{command_line.service}/traces", headers=head, json=sent, timeout=WAIT_MAX_S
    )
    assert posted.status_code == 202
    trace = f"{command_line.service}/traces/{posted.json()['trace_id']}"
    assert httpx.get(trace, headers=head, timeout=WAIT_MAX_S).json()["name"] == "after the login"
    assert command_line.exchange(callback["code"]).status_code == 401
    assert requested_only_known_hosts(page_log, command_line)
    assert page_log.reported == []


def test_login_works_by_keyboard(page: Page, command_line: CommandLine) -> None:
    page.goto(command_line.link())
    expect_choosing(page)
    focused = page.locator(":focus")
    expect(focused).to_have_id(re.compile("^(organization|project)$"))
    page.keyboard.press("Tab")
    while focused.get_attribute("id") != "authorize":
        assert focused.evaluate("one => one.closest('form').id") == "choose"
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Cancel")
    page.focus("#authorize")
    page.keyboard.press("Enter")
    assert set(command_line.callback()) == {"code"}


def test_selecting_another_organization_lists_its_projects(
    page: Page, command_line: CommandLine, dev_server: DevServer
) -> None:
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}
    with dev_server.client(**bearer) as http:
        other = http.post("/organizations", json={"name": f"Other {secrets.token_hex(4)}"}).json()
        path = f"/organizations/{other['id']}/projects"
        for project in http.get(path).json():
            assert http.delete(f"{path}/{project['id']}").status_code == 204
        page.goto(command_line.link())
        expect_choosing(page)
        page.select_option("#organization", other["id"])
        expect_problem(page, "no project")
        expect(page.locator("#authorize")).to_be_disabled()
        assert http.post(path, json={"name": "theirs"}).status_code == 201
    page.select_option("#organization", other["id"])
    expect(page.locator("#authorize")).to_be_enabled()
    page.click("#authorize")
    login = command_line.exchange(command_line.callback()["code"]).json()
    assert (login["org_id"], login["project_name"]) == (other["id"], "theirs")


def test_cancelling_returns_access_denied(page: Page, command_line: CommandLine) -> None:
    page.goto(command_line.link())
    expect_choosing(page)
    page.click("#choose .cancel")
    callback = command_line.callback()
    assert callback["error"] == "access_denied"
    assert callback["error_description"]


def test_token_can_be_pasted(
    page: Page,
    page_log: PageLog,
    command_line: CommandLine,
    dev_server: DevServer,
    take_screenshot: Callable[[str], None],
) -> None:
    # A host name of this machine for which the service offers no development sign-in.
    command_line.service = dev_server.url.replace("127.0.0.1", "own.localhost")
    page.goto(command_line.link())
    expect(page.locator("#sign-in")).to_be_visible()
    field = page.locator("#token")
    expect(field).to_be_focused()
    take_screenshot("sign-in")
    for wrong in ("not.a.token", "ключ"):
        field.fill(wrong)
        field.press("Enter")
        expect_problem(page, "token")
        expect(field).to_be_focused()
    take_screenshot("wrong-token")
    assert command_line.has_no_callback

    token = dev_server.environ["PANDAPROBE_TOKEN"]
    field.fill("")
    page.keyboard.insert_text(f" {token}\n")
    page.keyboard.press("Enter")
    expect_choosing(page)
    expect(field).to_have_value("")
    assert token not in page.content()
    kept = "localStorage.length + sessionStorage.length + document.cookie.length"
    assert page.evaluate(kept) == 0
    assert not [url for url in page_log.requested if token in url]
    page.click("#authorize")
    assert set(command_line.callback()) == {"code"}
    assert requested_only_known_hosts(page_log, command_line)


def test_error_is_returned_to_command_line(page: Page, command_line: CommandLine) -> None:
    page.goto(command_line.link())
    expect_choosing(page)
    page.evaluate("document.getElementById('project').options[0].value = crypto.randomUUID()")
    page.click("#authorize")
    expect(page.locator("#problem")).to_contain_text("Project not found")
    assert command_line.has_no_callback
    page.click("#hand-back")
    assert command_line.callback() == {
        "error": "invalid_request",
        "error_description": "Project not found",
    }


PORTS: Final = ("65536", "80@evil.example", "0", "80 ", "1e3", "+80", "٨٠")
INVALID_LINKS: Final = (
    *(({"port": port}, "“port” is not a port") for port in sampled(PORTS, 2, 0, usually=True)),
    ({"port": None}, "“port” is missing"),
    ({"state": ""}, "“state” is missing"),
    ({"code_challenge": " "}, "“code_challenge” is missing"),
    ({"code_challenge_method": "plain"}, "“code_challenge_method” is not S256"),
    ({"label": "l" * 256}, "“label” is longer"),
    ({"label": None}, "“label” is missing"),
)


def test_invalid_links_are_refused(
    page: Page, page_log: PageLog, command_line: CommandLine
) -> None:
    links = {command_line.link(**overrides): reason for overrides, reason in INVALID_LINKS}
    links[command_line.link() + "&port=1"] = "“port” is there more than once"
    for link, reason in links.items():
        page_log.requested.clear()
        page.goto(link)
        expect(page.locator("#refused")).to_contain_text(reason)
        expect(page.locator("button, input, select").filter(visible=True)).to_have_count(0)
        assert len(page_log.requested) == 1  # the page only: no sign-in was tried
    assert command_line.has_no_callback
    page.goto(command_line.link(cli_version="1&port=2"))
    expect_choosing(page)


def test_code_is_exchanged_once_under_concurrency(
    command_line: CommandLine, dev_server: DevServer
) -> None:
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}
    with dev_server.client(**bearer) as http:
        organization = http.get("/organizations").json()[0]["id"]
        [project, *_] = http.get(f"/organizations/{organization}/projects").json()
        sent = {"org_id": organization, "project_id": project["id"], "label": "race"}
        asked = {"code_challenge": command_line.challenge, **sent}
        issued = http.post("/cli/auth/codes", json=asked)
        assert issued.status_code == 201, issued.text
        code = issued.json()["code"]
        with ThreadPoolExecutor(8) as executor:
            answers = list(executor.map(command_line.exchange, [code] * 16))
        assert sorted(one.status_code for one in answers) == [200] + [401] * 15
        keys = http.get(f"/organizations/{organization}/api-keys").json()
    assert sum(key["name"].startswith("PandaProbe CLI race ") for key in keys) == 1
