"""Attacks on the session of a browser, tried in one: from other origins, and with half a session.

The attacker's pages are on another port of the same host, which gets the cookie, and on another
name of it, which doesn't.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from adapters.embedded.process import free_port
from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.browser import PageLog
from tests.e2e.dashboard.dashboard_project import FOLLOW, START, Project
from tests.e2e.test_cli_provider_login import served
from tests.support.fakes.openid_provider import ADA, Client, Provider, openid_provider

pytestmark = pytest.mark.e2e
COOKIE = "pp_session"  # of a server without https
VERIFIER = "x-session-verifier"


@dataclass
class Elsewhere:
    """A server of an attacker: empty pages, and what browsers sent to it."""

    port: int
    cookies: list[str] = field(default_factory=list)
    sets: str | None = None  # a cookie that its pages set

    def page(self, host: str) -> str:
        return f"http://{host}:{self.port}/"


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.cookies.append(self.headers.get("cookie", ""))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            if found.sets:
                self.send_header("set-cookie", found.sets)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Elsewhere(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def victim(page: Page, dev_server: DevServer) -> Page:
    """A browser that is signed in."""
    page.goto(dev_server.url)
    page.get_by_role("button", name="Continue as developer").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    return page


def session_of(page: Page, url: str) -> tuple[str, str]:
    """The cookie and the verifier of a page that is signed in."""
    [cookie] = [one["value"] for one in page.context.cookies(url) if one["name"] == COOKIE]
    verifiers = page.evaluate("Object.values(localStorage).filter((one) => one.length === 43)")
    assert len(verifiers) == 1
    return cookie, verifiers[0]


def is_signed_in(server: DevServer, cookie: str | None, verifier: str | None) -> bool:
    """What the server says to a program that sends what it has, as a page of the server would."""
    headers = {"sec-fetch-site": "same-origin"}
    if cookie is not None:
        headers["cookie"] = f"{COOKIE}={cookie}"
    if verifier is not None:
        headers[VERIFIER] = verifier
    answer = httpx.get(f"{server.url}/session", headers=headers)
    assert answer.status_code == 200
    signed_in: bool = answer.json()["signed_in"]
    whole = httpx.get(f"{server.url}/me/sessions", headers=headers)
    assert (whole.status_code == 200) is signed_in
    return signed_in


# Each returns what the attacker's page could read.
REQUESTS = {
    "read with credentials": "fetch(url + '/me/sessions', {credentials: 'include'})",
    "read the session": "fetch(url + '/session', {credentials: 'include'})",
    "with a verifier": (
        "fetch(url + '/session', {credentials: 'include', headers: {'X-Session-Verifier': 'a'}})"
    ),
    "blind read": "fetch(url + '/me/sessions', {credentials: 'include', mode: 'no-cors'})",
    "blind write": (
        "fetch(url + '/organizations', {method: 'POST', credentials: 'include', mode: 'no-cors',"
        " body: JSON.stringify({name: 'forged'})})"
    ),
    "sign out": "fetch(url + '/session', {method: 'DELETE', credentials: 'include'})",
    "sign in": (
        "fetch(url + '/session', {method: 'POST', credentials: 'include', mode: 'no-cors',"
        " body: JSON.stringify({method: 'development', bind: 'a'.repeat(43)})})"
    ),
}
FORMS = {
    "form": {"name": "forged"},
    "text/plain": {'{"name": "forged", "rest": "': '"}'},
}
READ = "async (url) => {{ try {{ return await (await {}).text(); }} catch {{ return ''; }} }}"
FORM = """([url, encoding, fields]) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: url, enctype: encoding, target: "_self" });
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    Object.assign(input, { name, value });
    form.append(input);
  }
  document.body.append(form);
  setTimeout(() => form.submit());  // not before this script has answered
}"""


FRAME = """(url) => {
  const frame = document.createElement("iframe");
  frame.src = url;
  document.body.append(frame);
}"""


@pytest.mark.parametrize(
    "host",
    # From this one, browsers send less: no cookie.
    ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.exhaustive)],
)
def test_pages_of_other_origins_get_and_change_nothing(
    victim: Page, dev_server: DevServer, elsewhere: Elsewhere, host: str
) -> None:
    cookie, verifier = session_of(victim, dev_server.url)
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}

    def organizations() -> list[Any]:
        with dev_server.client(**bearer) as http:
            return sorted(one["name"] for one in http.get("/organizations").json())

    before = organizations()
    attack = victim.context.new_page()
    for script in REQUESTS.values():
        attack.goto(elsewhere.page(host))
        read = attack.evaluate(READ.format(script), dev_server.url)
        assert "signed_in" not in read or '"signed_in":false' in read
        assert "dev@localhost" not in read
    form = victim.context.new_page()
    for encoding, fields in FORMS.items():
        for path in ("/organizations", "/session"):
            form.goto(elsewhere.page(host))
            name = "text/plain" if encoding == "text/plain" else "application/x-www-form-urlencoded"
            with form.expect_response(lambda answer: answer.request.method == "POST") as answered:
                form.evaluate(FORM, [f"{dev_server.url}{path}", name, fields])
            assert answered.value.status >= 400
            form.wait_for_url(f"{dev_server.url}{path}")
    assert organizations() == before
    assert is_signed_in(dev_server, cookie, verifier)
    victim.reload()
    expect(victim.get_by_role("navigation")).to_be_visible()


def test_stolen_half_of_a_session_opens_nothing_and_no_frame_shows_the_dashboard(
    victim: Page, dev_server: DevServer, elsewhere: Elsewhere
) -> None:
    cookie, verifier = session_of(victim, dev_server.url)
    attack = victim.context.new_page()
    attack.goto(elsewhere.page("127.0.0.1"))
    assert cookie in elsewhere.cookies[0]  # cookies don't know ports
    assert attack.evaluate("Object.keys(localStorage).length") == 0
    assert attack.evaluate("document.cookie") == ""  # HttpOnly
    assert is_signed_in(dev_server, cookie, verifier)
    assert not is_signed_in(dev_server, cookie, None)
    assert not is_signed_in(dev_server, cookie, "a" * 43)
    assert not is_signed_in(dev_server, None, verifier)
    assert not is_signed_in(dev_server, cookie[::-1], verifier)
    for host in ("127.0.0.1", "localhost"):
        victim.goto(elsewhere.page(host))
        with victim.expect_console_message(lambda one: "frame-ancestors 'none'" in one.text):
            victim.evaluate(FRAME, f"{dev_server.url}/app/")


def test_planted_cookie_is_replaced_and_does_not_sign_in(
    page: Page, dev_server: DevServer, elsewhere: Elsewhere
) -> None:
    """Fixation: the attacker knows the cookie before the sign-in, or plants a session of theirs."""
    url = dev_server.url
    bind = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    key = {"method": "key", "bind": bind, "key": dev_server.environ["PANDAPROBE_API_KEY"]}
    theirs = httpx.post(f"{url}/session", json=key, headers={"origin": url}).cookies[COOKIE]
    for planted in ("a" * 43, theirs):
        elsewhere.sets = f"{COOKIE}={planted}; Path=/"
        page.goto(elsewhere.page("127.0.0.1"))
        page.goto(url)
        expect(page.get_by_role("button", name="Continue as developer")).to_be_visible()
        page.get_by_role("button", name="Continue as developer").click()
        expect(page.get_by_role("navigation")).to_be_visible()
        cookie, verifier = session_of(page, url)
        assert cookie != planted
        assert not is_signed_in(dev_server, planted, verifier)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Continue as developer")).to_be_visible()


def test_sign_out_in_one_tab_ends_the_other(victim: Page, dev_server: DevServer) -> None:
    project = Project(dev_server)
    project.send("/traces", {"name": "private", "started_at": START.isoformat()})
    other = victim.context.new_page()
    other.goto(project.path("traces"))
    expect(other.get_by_role("link", name="private")).to_be_visible()
    cookie, verifier = session_of(victim, dev_server.url)
    victim.route("**/session", lambda route: route.fulfill(status=503), times=1)
    victim.get_by_role("button", name="Sign out").click()
    expect(victim.get_by_text("Not signed out")).to_be_visible()
    victim.get_by_role("button", name="Sign out").click()
    expect(victim.get_by_role("button", name="Continue as developer")).to_be_visible()
    assert not is_signed_in(dev_server, cookie, verifier)
    # Not by a link, which is gone if a poll of the page has found out already.
    other.evaluate(FOLLOW, project.path("users"))
    expect(other.get_by_role("button", name="Continue as developer")).to_be_visible()
    other.reload()
    expect(other.get_by_role("button", name="Continue as developer")).to_be_visible()
    expect(other.get_by_role("link", name="private")).to_have_count(0)


# --- the identity provider -----------------------------------------------------------------------


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


def test_person_signs_in_with_the_provider_reloads_and_signs_out(
    page: Page, page_log: PageLog, service: str, take_screenshot: Callable[[str], None]
) -> None:
    page.goto(f"{service}/app/users?x=1")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text(ADA["email"])).to_be_visible()
    expect(page).to_have_url(f"{service}/app/users?x=1")
    page.reload()
    expect(page.get_by_text(ADA["email"])).to_be_visible()
    assert "eyJ" not in page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    assert page_log.reported == []


@pytest.mark.exhaustive  # only another build can break it
def test_other_tabs_follow_a_sign_in_with_the_provider(page: Page, service: str) -> None:
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(f"{service}/app/users")
        expect(tab.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign in", exact=True).click()
    for tab in (page, other):
        expect(tab.get_by_text(ADA["email"])).to_be_visible()


def test_declined_sign_in_says_so(page: Page, service: str, provider: Provider) -> None:
    provider.denies = True
    page.goto(f"{service}/app/")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("declined")
    provider.denies = False
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text(ADA["email"])).to_be_visible()


def test_callback_of_another_sign_in_is_refused(page: Page, service: str) -> None:
    """The attacker's own code, which a page elsewhere makes a browser bring back."""
    with httpx.Client() as attacker:
        bind = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        there = attacker.get(
            f"{service}/session/sign-in?bind={bind}&to=/app/",
            headers={"sec-fetch-site": "same-origin"},
        )
        back = attacker.get(there.headers["location"]).headers["location"]
    page.goto(back)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
