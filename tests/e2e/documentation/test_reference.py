"""The API reference in a browser: search, credentials, and a trace sent and read back."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.browser import VIEWPORT, PageLog, opened_context

pytestmark = pytest.mark.e2e

TRACE = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"  # from the document's examples
POST, READ, LIST, ME = (
    ("traces", "ingest_trace"),
    ("traces", "read_trace"),
    ("traces", "list_traces"),
    ("me", "read_my_profile"),
)

type Call = tuple[str, str]
"""The tag and the operation id."""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """The tests load it again. They share no more than its cache: the reference stores nothing."""
    with opened_context(browser) as context:
        yield context.new_page()


def of_call(call: Call) -> str:
    return f"#operations-{call[0]}-{call[1]}"


def open_docs(page: Page, dev_server: DevServer, call: Call | None = None) -> None:
    """Opens the reference, and unfolds a call if one is given."""
    page.goto(f"{dev_server.url}/docs")
    expect(page.locator(".opblock-tag").nth(10)).to_be_attached()
    if call is not None:
        find(page, call)
        unfold(page, call)


def find(page: Page, call: Call) -> None:
    page.get_by_label("Search the calls").fill(call[1])
    expect(page.locator(of_call(call))).to_be_visible()


def of_scheme(page: Page, scheme: str) -> Locator:
    """The field of a credential."""
    return page.locator(f"[data-scheme={scheme}]")


def enter_key(page: Page, dev_server: DevServer) -> None:
    of_scheme(page, "ApiKey").fill(dev_server.headers["X-API-Key"])
    page.click("#of-key button")
    expect(page.locator("#said")).to_contain_text("sent with X-API-Key, X-Project-Name.")
    of_scheme(page, "ProjectName").select_option(dev_server.headers["X-Project-Name"])


def expect_unfolded(page: Page, call: Call) -> None:
    """Waits until a call's schemas are loaded: clicks before that have no effect."""
    if call != ME:
        expect(page.locator(f"{of_call(call)} .example").first).to_be_attached()
    expect(page.locator(f"{of_call(call)} .execute")).to_be_visible()


def unfold(page: Page, call: Call) -> None:
    page.click(f"{of_call(call)} .opblock-summary-control")
    expect_unfolded(page, call)


def execute(page: Page, call: Call) -> tuple[int, str]:
    """Sends an unfolded call; the status of the answer, and the text shown with it."""
    page.click(f"{of_call(call)} .execute")
    return read_answer(page, call)


def read_answer(page: Page, call: Call) -> tuple[int, str]:
    shown = page.locator(f"{of_call(call)} .live-responses-table .response")
    status = shown.locator(".response-col_status").inner_text()
    shown.scroll_into_view_if_needed()
    return int(status), shown.inner_text()


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


def test_trace_is_sent_corrected_and_read_back(
    page: Page, page_log: PageLog, dev_server: DevServer, take_screenshot: Callable[[str], None]
) -> None:
    open_docs(page, dev_server, POST)
    enter_key(page, dev_server)
    status, shown = execute(page, POST)
    assert status == 202
    assert TRACE in shown
    assert "content-type: application/json" in shown
    take_screenshot("reference-sent")
    page.locator(f"{of_call(POST)} textarea").fill(json.dumps({"name": "typed"}))
    page.click(f"{of_call(POST)} .execute")
    expect(page.locator(f"{of_call(POST)} .live-responses-table")).to_contain_text("422")
    assert '"field": "started_at"' in read_answer(page, POST)[1]
    find(page, READ)
    unfold(page, READ)
    status, shown = execute(page, READ)
    assert status == 200
    assert '"name": "answer-question"' in shown
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size(VIEWPORT)
    assert_no_foreign_requests(page_log, dev_server)


@pytest.mark.exhaustive  # the tests around it find calls, unfold them, and send them
def test_folded_calls_are_found_and_listed(
    page: Page, page_log: PageLog, dev_server: DevServer, take_screenshot: Callable[[str], None]
) -> None:
    open_docs(page, dev_server)
    calls = page.locator(".opblock")
    expect(calls).to_have_count(0)
    take_screenshot("reference")
    search = page.get_by_label("Search the calls")
    search.fill("trace post")
    expect(page.locator(of_call(POST))).to_be_visible()
    expect(page.locator(of_call(LIST))).to_have_count(0)
    search.fill("list_traces")
    expect(calls).to_have_count(1)
    enter_key(page, dev_server)
    unfold(page, LIST)
    assert execute(page, LIST)[0] == 200
    search.fill("e")  # of too many calls only the tags are shown
    expect(calls).to_have_count(0)
    expect(page.locator(".opblock-tag").nth(10)).to_be_attached()
    search.fill("nothing has this")
    expect(page.locator(".opblock-tag")).to_have_count(0)
    assert_no_foreign_requests(page_log, dev_server)


@pytest.mark.exhaustive  # only another build can break it
def test_key_is_checked_when_it_is_entered(
    page: Page, page_log: PageLog, dev_server: DevServer
) -> None:
    open_docs(page, dev_server)
    said, project = page.locator("#said"), of_scheme(page, "ProjectName")
    of_scheme(page, "ApiKey").fill("pp_wrong")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("It isn't used: ")
    expect(project).to_be_hidden()
    enter_key(page, dev_server)
    expect(said).to_contain_text("The key “")
    project.select_option(label="Another project …")
    expect(said).to_contain_text("Calls are sent with X-API-Key.")
    page.get_by_label("Project name").fill("brand-new")
    page.keyboard.press("Enter")
    expect(said).to_contain_text("sent with X-API-Key, X-Project-Name.")
    page.click("#forget")
    expect(said).to_have_text("Calls are sent without credentials.")
    expect(project).to_be_hidden()
    assert_no_foreign_requests(page_log, dev_server)


def test_token_is_used_and_forgotten(page: Page, page_log: PageLog, dev_server: DevServer) -> None:
    open_docs(page, dev_server, ME)
    page.click(f"{of_call(ME)} .authorization__btn")
    expect(of_scheme(page, "HTTPBearer")).to_be_focused()
    asked = "fetch('/cli-login/token', {method: 'POST', referrerPolicy: 'strict-origin'})"
    token = page.evaluate(f"{asked}.then((answer) => answer.json()).then((said) => said.token)")
    page.keyboard.insert_text(f"Bearer {token}")
    page.click("#of-token button")
    expect(page.locator("#said")).to_contain_text("dev@localhost. Calls are sent with ")
    expect(of_scheme(page, "ProjectID")).to_be_visible()
    status, shown = execute(page, ME)
    assert status == 200
    assert "dev@localhost" in shown
    page.click("#forget")
    expect(of_scheme(page, "HTTPBearer")).to_have_value("")
    page.click(f"{of_call(ME)} .btn-clear")
    expect(page.locator(f"{of_call(ME)} .live-responses-table")).to_have_count(0)
    assert execute(page, ME)[0] == 401
    assert_no_foreign_requests(page_log, dev_server)


@pytest.mark.exhaustive  # only another build can break it
def test_reference_works_by_keyboard(page: Page, page_log: PageLog, dev_server: DevServer) -> None:
    open_docs(page, dev_server)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the calls")
    tab_to(page, of_scheme(page, "ApiKey"), 10)
    page.keyboard.insert_text(dev_server.headers["X-API-Key"])
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("sent with X-API-Key, X-Project-Name.")
    tab_to(page, page.get_by_label("Search the calls"), 10)
    page.keyboard.insert_text("ingest_trace")
    expect(page.locator(of_call(POST))).to_be_visible()
    tab_to(page, page.locator(f"{of_call(POST)} .opblock-summary-control"), 10)
    page.keyboard.press("Enter")
    expect_unfolded(page, POST)
    tab_to(page, page.locator(f"{of_call(POST)} .execute"), 20)
    page.keyboard.press("Enter")
    assert read_answer(page, POST)[0] == 202
    assert_no_foreign_requests(page_log, dev_server)
