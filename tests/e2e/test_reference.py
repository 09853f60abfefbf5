"""The API reference in a browser: credentials, a trace sent and read back, nobody else asked."""

import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import DevServer
from tests.support.clients import chromium

pytestmark = pytest.mark.e2e

TRACE = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"  # of the document's examples
POST, READ, LIST, ME = (
    f"operations-{name}"
    for name in (
        "traces-ingest_trace",
        "traces-read_trace",
        "traces-list_traces",
        "me-read_my_profile",
    )
)


def opened(page: chromium.Page, dev_server: DevServer) -> None:
    page.open(f"{dev_server.url}/docs")
    page.wait("document.querySelectorAll('.opblock').length > 40")


def fill(page: chromium.Page, scheme: str, value: str) -> None:
    page.value(f"document.querySelector('[data-scheme={scheme}]').focus()")
    page.type(value)


def with_key(page: chromium.Page, dev_server: DevServer) -> None:
    fill(page, "ApiKey", dev_server.headers["X-API-Key"])
    fill(page, "ProjectName", dev_server.headers["X-Project-Name"])
    page.click("#of-key button")
    assert page.value("document.getElementById('said').textContent") == (
        "Calls are sent with X-API-Key, X-Project-Name."
    )


def unfolded(page: chromium.Page, call: str) -> None:
    """Waits until a call's schemas are looked up: what is pressed before that is lost."""
    page.wait(f"document.querySelector('#{call} .example') !== null")
    page.wait(f"document.querySelector('#{call} .execute') !== null")


def unfold(page: chromium.Page, call: str) -> None:
    page.click(f"#{call} .opblock-summary-control")
    unfolded(page, call)


def answered(page: chromium.Page, call: str) -> tuple[int, str]:
    """The status, and all that is shown beside it."""
    page.wait(f"document.querySelector('#{call} .live-responses-table .response') !== null")
    shown = f"document.querySelector('#{call} .live-responses-table .response')"
    status = page.value(f"{shown}.querySelector('.response-col_status').innerText")
    page.value(f"{shown}.scrollIntoView()")
    return int(status), str(page.value(f"{shown}.innerText"))


def called(page: chromium.Page, call: str) -> tuple[int, str]:
    unfold(page, call)
    page.click(f"#{call} .execute")
    return answered(page, call)


def check(page: chromium.Page, dev_server: DevServer) -> None:
    """It asked nobody but the service, and the browser found nothing to complain of."""
    asked = [urlsplit(url) for url in page.requested() if not url.startswith("data:")]
    assert {one.netloc for one in asked} == {urlsplit(dev_server.url).netloc}
    assert page.complaints() == []


def test_a_trace_is_sent_and_read_back(
    page: chromium.Page, dev_server: DevServer, photographed: Callable[[str], None]
) -> None:
    opened(page, dev_server)
    photographed("reference")
    with_key(page, dev_server)
    status, shown = called(page, POST)
    assert status == 202
    assert TRACE in shown
    assert "content-type: application/json" in shown
    photographed("reference-sent")
    status, shown = called(page, READ)
    assert status == 200
    assert '"name": "answer-question"' in shown
    status, shown = called(page, LIST)
    assert status == 200
    assert TRACE in shown
    photographed("reference-listed")
    check(page, dev_server)


def test_a_body_can_be_changed_and_mistakes_are_shown(
    page: chromium.Page, dev_server: DevServer
) -> None:
    opened(page, dev_server)
    with_key(page, dev_server)
    unfold(page, POST)
    page.value(f"document.querySelector('#{POST} textarea').select()")
    page.type(json.dumps({"name": "typed"}))
    page.click(f"#{POST} .execute")
    status, shown = answered(page, POST)
    assert status == 422
    assert '"field": "started_at"' in shown
    check(page, dev_server)


def test_a_person_calls_with_a_token_that_is_then_forgotten(
    page: chromium.Page, dev_server: DevServer
) -> None:
    opened(page, dev_server)
    page.click(f"#{ME} .authorization__btn")
    assert page.value("document.activeElement.dataset.scheme") == "HTTPBearer"
    asked = "fetch('/cli-login/token', {method: 'POST', referrerPolicy: 'strict-origin'})"
    token = page.value(f"{asked}.then((answer) => answer.json()).then((said) => said.token)")
    page.type(f"Bearer {token}")
    page.click("#of-token button")
    status, shown = called(page, ME)
    assert status == 200
    assert "dev@localhost" in shown
    page.click("#forget")
    assert page.value("document.querySelector('[data-scheme=HTTPBearer]').value") == ""
    page.click(f"#{ME} .btn-clear")
    page.wait(f"document.querySelector('#{ME} .live-responses-table') === null")
    page.click(f"#{ME} .execute")
    assert answered(page, ME)[0] == 401
    check(page, dev_server)


def test_without_a_mouse(page: chromium.Page, dev_server: DevServer) -> None:
    opened(page, dev_server)
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
    unfolded(page, POST)
    for _ in range(20):
        page.tab()
        if page.value("document.activeElement.matches('.execute')"):
            break
        assert page.value(here)
    page.enter()
    assert answered(page, POST)[0] == 202
    check(page, dev_server)


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_screen(
    page: chromium.Page, dev_server: DevServer, width: int
) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.command("Emulation.setDeviceMetricsOverride", **size)
    opened(page, dev_server)
    with_key(page, dev_server)
    called(page, POST)
    called(page, LIST)
    assert page.value("document.documentElement.scrollWidth") <= width
