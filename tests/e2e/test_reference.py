"""The API reference in a browser: credentials, and a trace sent and read back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.browser import PageLog, opened_page
from tests.e2e.conftest import DevServer

pytestmark = pytest.mark.e2e

TRACE = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"  # from the document's examples
POST, READ, LIST, ME = (
    f"#operations-{name}"
    for name in (
        "traces-ingest_trace",
        "traces-read_trace",
        "traces-list_traces",
        "me-read_my_profile",
    )
)


def open_docs(page: Page, dev_server: DevServer) -> None:
    page.goto(f"{dev_server.url}/docs")
    expect(page.locator(".opblock").nth(40)).to_be_attached()


@dataclass(frozen=True)
class Reference:
    page: Page
    log: PageLog = field(default_factory=PageLog)

    def __post_init__(self) -> None:
        self.log.watch(self.page)


@pytest.fixture(scope="module")
def reference(browser: Browser, dev_server: DevServer) -> Iterator[Reference]:
    """One page for the tests that use the mouse: the browser needs many seconds to show it.

    Each test enters its own credentials, and leaves the bodies of calls as they were.
    """
    with opened_page(browser) as page:
        reference = Reference(page)
        open_docs(page, dev_server)
        yield reference


@pytest.fixture
def page(reference: Reference) -> Page:
    return reference.page


@pytest.fixture
def page_log(reference: Reference) -> PageLog:
    return reference.log


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Page]:
    with opened_page(browser) as page:
        yield page


def of_scheme(page: Page, scheme: str) -> Locator:
    """The field of a credential."""
    return page.locator(f"[data-scheme={scheme}]")


def enter_key(page: Page, dev_server: DevServer) -> None:
    page.check("input[name=way][value=key]")
    of_scheme(page, "ApiKey").fill(dev_server.headers["X-API-Key"])
    of_scheme(page, "ProjectName").fill(dev_server.headers["X-Project-Name"])
    page.click("#of-key button")
    expect(page.locator("#said")).to_have_text("Calls are sent with X-API-Key, X-Project-Name.")


def expect_unfolded(page: Page, call: str) -> None:
    """Waits until a call's schemas are loaded: clicks before that have no effect."""
    expect(page.locator(f"{call} .example").first).to_be_attached()
    expect(page.locator(f"{call} .execute")).to_be_visible()


def unfold(page: Page, call: str) -> None:
    """Unfolds a call, and forgets its last answer."""
    if not page.locator(f"{call} .execute").is_visible():
        page.click(f"{call} .opblock-summary-control")
    expect_unfolded(page, call)
    if page.locator(f"{call} .btn-clear").is_visible():
        clear_answer(page, call)


def clear_answer(page: Page, call: str) -> None:
    page.click(f"{call} .btn-clear")
    expect(page.locator(f"{call} .live-responses-table")).to_have_count(0)


def read_answer(page: Page, call: str) -> tuple[int, str]:
    """Returns the status of the answer, and the text shown with it."""
    shown = page.locator(f"{call} .live-responses-table .response")
    status = shown.locator(".response-col_status").inner_text()
    shown.scroll_into_view_if_needed()
    return int(status), shown.inner_text()


def call_operation(page: Page, call: str) -> tuple[int, str]:
    unfold(page, call)
    page.click(f"{call} .execute")
    return read_answer(page, call)


def assert_no_foreign_requests(log: PageLog, dev_server: DevServer) -> None:
    """Asserts that the page requested only the service, and that the browser logged no errors."""
    asked = [urlsplit(url) for url in log.requested if not url.startswith("data:")]
    assert {one.netloc for one in asked} == {urlsplit(dev_server.url).netloc}
    assert log.reported == []


def tab_to(page: Page, target: Locator, presses_max: int) -> None:
    """Presses the tab key until `target` has the focus."""
    for _ in range(presses_max):
        page.keyboard.press("Tab")
        if target.evaluate("one => one === document.activeElement"):
            return
    pytest.fail(f"{presses_max} tabulators don't lead to {target}")


def test_trace_is_sent_and_read_back(
    page: Page, page_log: PageLog, dev_server: DevServer, take_screenshot: Callable[[str], None]
) -> None:
    take_screenshot("reference")
    enter_key(page, dev_server)
    status, shown = call_operation(page, POST)
    assert status == 202
    assert TRACE in shown
    assert "content-type: application/json" in shown
    take_screenshot("reference-sent")
    status, shown = call_operation(page, READ)
    assert status == 200
    assert '"name": "answer-question"' in shown
    status, shown = call_operation(page, LIST)
    assert status == 200
    assert TRACE in shown
    take_screenshot("reference-listed")
    assert_no_foreign_requests(page_log, dev_server)


def test_body_can_be_edited_and_errors_are_shown(
    page: Page, page_log: PageLog, dev_server: DevServer
) -> None:
    enter_key(page, dev_server)
    unfold(page, POST)
    body = page.locator(f"{POST} textarea")
    example = body.input_value()
    body.fill(json.dumps({"name": "typed"}))
    page.click(f"{POST} .execute")
    status, shown = read_answer(page, POST)
    body.fill(example)
    assert status == 422
    assert '"field": "started_at"' in shown
    assert_no_foreign_requests(page_log, dev_server)


def test_token_is_used_and_forgotten(page: Page, page_log: PageLog, dev_server: DevServer) -> None:
    page.click(f"{ME} .authorization__btn")
    expect(of_scheme(page, "HTTPBearer")).to_be_focused()
    asked = "fetch('/cli-login/token', {method: 'POST', referrerPolicy: 'strict-origin'})"
    token = page.evaluate(f"{asked}.then((answer) => answer.json()).then((said) => said.token)")
    page.keyboard.insert_text(f"Bearer {token}")
    page.click("#of-token button")
    status, shown = call_operation(page, ME)
    assert status == 200
    assert "dev@localhost" in shown
    page.click("#forget")
    expect(of_scheme(page, "HTTPBearer")).to_have_value("")
    clear_answer(page, ME)
    page.click(f"{ME} .execute")
    assert read_answer(page, ME)[0] == 401
    assert_no_foreign_requests(page_log, dev_server)


def test_reference_works_by_keyboard(new_page: Page, dev_server: DevServer) -> None:
    page, page_log = new_page, Reference(new_page).log
    open_docs(page, dev_server)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the calls")
    for scheme, value in (("ApiKey", "X-API-Key"), ("ProjectName", "X-Project-Name")):
        tab_to(page, of_scheme(page, scheme), 10)
        page.keyboard.insert_text(dev_server.headers[value])
    page.keyboard.press("Enter")
    tab_to(page, page.locator(f"{POST} .opblock-summary-control"), 20)
    page.keyboard.press("Enter")
    expect_unfolded(page, POST)
    tab_to(page, page.locator(f"{POST} .execute"), 20)
    page.keyboard.press("Enter")
    assert read_answer(page, POST)[0] == 202
    assert_no_foreign_requests(page_log, dev_server)


def test_page_fits_screen_width(page: Page, dev_server: DevServer) -> None:
    enter_key(page, dev_server)
    call_operation(page, POST)
    call_operation(page, LIST)
    usual = page.viewport_size
    assert usual
    for width in (360, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size(usual)
