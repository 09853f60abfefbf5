"""The API reference in a browser: credentials, and a trace sent and read back."""

import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import DevServer
from tests.support.clients import chromium

pytestmark = pytest.mark.e2e

TRACE = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"  # from the document's examples
POST, READ, LIST, ME = (
    f"operations-{name}"
    for name in (
        "traces-ingest_trace",
        "traces-read_trace",
        "traces-list_traces",
        "me-read_my_profile",
    )
)


def open_docs(page: chromium.Page, dev_server: DevServer) -> None:
    page.open(f"{dev_server.url}/docs")
    page.wait("document.querySelectorAll('.opblock').length > 40")


def fill(page: chromium.Page, scheme: str, value: str) -> None:
    page.value(f"document.querySelector('[data-scheme={scheme}]').focus()")
    page.type(value)


def enter_key(page: chromium.Page, dev_server: DevServer) -> None:
    fill(page, "ApiKey", dev_server.headers["X-API-Key"])
    fill(page, "ProjectName", dev_server.headers["X-Project-Name"])
    page.click("#of-key button")
    assert page.value("document.getElementById('said').textContent") == (
        "Calls are sent with X-API-Key, X-Project-Name."
    )


def wait_unfolded(page: chromium.Page, call: str) -> None:
    """Waits until a call's schemas are loaded: clicks before that have no effect."""
    page.wait(f"document.querySelector('#{call} .example') !== null")
    page.wait(f"document.querySelector('#{call} .execute') !== null")


def unfold(page: chromium.Page, call: str) -> None:
    page.click(f"#{call} .opblock-summary-control")
    wait_unfolded(page, call)


def read_answer(page: chromium.Page, call: str) -> tuple[int, str]:
    """Returns the status of the answer, and the text shown with it."""
    page.wait(f"document.querySelector('#{call} .live-responses-table .response') !== null")
    shown = f"document.querySelector('#{call} .live-responses-table .response')"
    status = page.value(f"{shown}.querySelector('.response-col_status').innerText")
    page.value(f"{shown}.scrollIntoView()")
    return int(status), str(page.value(f"{shown}.innerText"))


def call_operation(page: chromium.Page, call: str) -> tuple[int, str]:
    unfold(page, call)
    page.click(f"#{call} .execute")
    return read_answer(page, call)


def assert_no_foreign_requests(page: chromium.Page, dev_server: DevServer) -> None:
    """Asserts that the page requested only the service, and that the browser logged no errors."""
    asked = [urlsplit(url) for url in page.requested() if not url.startswith("data:")]
    assert {one.netloc for one in asked} == {urlsplit(dev_server.url).netloc}
    assert page.complaints() == []


def test_trace_is_sent_and_read_back(
    page: chromium.Page, dev_server: DevServer, take_screenshot: Callable[[str], None]
) -> None:
    open_docs(page, dev_server)
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
    assert_no_foreign_requests(page, dev_server)


def test_body_can_be_edited_and_errors_are_shown(
    page: chromium.Page, dev_server: DevServer
) -> None:
    open_docs(page, dev_server)
    enter_key(page, dev_server)
    unfold(page, POST)
    page.value(f"document.querySelector('#{POST} textarea').select()")
    page.type(json.dumps({"name": "typed"}))
    page.click(f"#{POST} .execute")
    status, shown = read_answer(page, POST)
    assert status == 422
    assert '"field": "started_at"' in shown
    assert_no_foreign_requests(page, dev_server)


def test_token_is_used_and_forgotten(page: chromium.Page, dev_server: DevServer) -> None:
    open_docs(page, dev_server)
    page.click(f"#{ME} .authorization__btn")
    assert page.value("document.activeElement.dataset.scheme") == "HTTPBearer"
    asked = "fetch('/cli-login/token', {method: 'POST', referrerPolicy: 'strict-origin'})"
    token = page.value(f"{asked}.then((answer) => answer.json()).then((said) => said.token)")
    page.type(f"Bearer {token}")
    page.click("#of-token button")
    status, shown = call_operation(page, ME)
    assert status == 200
    assert "dev@localhost" in shown
    page.click("#forget")
    assert page.value("document.querySelector('[data-scheme=HTTPBearer]').value") == ""
    page.click(f"#{ME} .btn-clear")
    page.wait(f"document.querySelector('#{ME} .live-responses-table') === null")
    page.click(f"#{ME} .execute")
    assert read_answer(page, ME)[0] == 401
    assert_no_foreign_requests(page, dev_server)


def test_reference_works_by_keyboard(page: chromium.Page, dev_server: DevServer) -> None:
    open_docs(page, dev_server)
    assert page.tab() == "Skip to the calls"
    for scheme, value in (("ApiKey", "X-API-Key"), ("ProjectName", "X-Project-Name")):
        at = "document.activeElement.dataset.scheme"
        for _ in range(10):
            if page.value(at) == scheme:
                break
            page.tab()
        assert page.value(at) == scheme
        page.type(dev_server.headers[value])
    page.enter()
    here = f"document.activeElement.closest('#{POST}') !== null"
    for _ in range(20):
        if page.value(here):
            break
        page.tab()
    page.enter()
    wait_unfolded(page, POST)
    for _ in range(20):
        page.tab()
        if page.value("document.activeElement.matches('.execute')"):
            break
        assert page.value(here)
    page.enter()
    assert read_answer(page, POST)[0] == 202
    assert_no_foreign_requests(page, dev_server)


@pytest.mark.parametrize("width", [360, 1200])
def test_page_fits_screen_width(page: chromium.Page, dev_server: DevServer, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.command("Emulation.setDeviceMetricsOverride", **size)
    open_docs(page, dev_server)
    enter_key(page, dev_server)
    call_operation(page, POST)
    call_operation(page, LIST)
    assert page.value("document.documentElement.scrollWidth") <= width
