"""Monitors and alerts in Chromium: from an empty project to a message that was delivered."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Poll, all_completed
from tests.e2e.dashboard.dashboard_project import START, Project, show

pytestmark = pytest.mark.e2e


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """The URL of a webhook's receiver, and the messages that it got."""
    got: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    thread.join()
    server.server_close()


def send_traces(project: Project, count: int) -> None:
    for number in range(count):
        started = START + timedelta(minutes=number)
        times = {
            "started_at": started.isoformat(),
            "ended_at": (started + timedelta(seconds=1)).isoformat(),
        }
        texts = {"input": f"question {number}", "output": f"answer {number}"}
        project.send("/traces", {"name": "answers", "status": "COMPLETED", **times, **texts})


def test_monitor_alerts_and_tells_its_webhook(
    signed_in: Page,
    project: Project,
    receiver: tuple[str, list[Any]],
    poll: Poll,
    take_screenshot: Callable[[str], None],
) -> None:
    page, (hook, got) = signed_in, receiver
    send_traces(project, 6)
    page.goto(project.path("alerts"))
    expect(page.get_by_text("No alert yet")).to_be_visible()
    page.get_by_role("button", name="New webhook …").click()
    page.get_by_label("URL").fill(hook)
    page.get_by_role("button", name="Make the webhook").click()
    expect(page.get_by_text("whsec_")).to_be_visible()
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text("whsec_")).to_have_count(0)
    page.get_by_role("button", name=f"Send a test message to {hook}").click()
    deliveries = page.get_by_role("region", name="Deliveries")
    [webhook] = project.read("/evaluations/webhooks")
    sent_to = f"/evaluations/webhooks/{webhook['id']}/deliveries"
    poll(sent_to, lambda page: [bool(one["delivered_at"]) for one in page["items"]] == [True])
    expect(deliveries).to_contain_text("HTTP 204")
    expect(deliveries).to_contain_text("1 attempt")

    page.keyboard.press("g")
    page.keyboard.press("m")
    expect(page.get_by_text("No monitor yet")).to_be_visible()
    page.get_by_role("link", name="New monitor …").first.click()
    page.get_by_label("Name", exact=True).fill("nightly")
    expect(page.get_by_text("6 traces match now")).to_be_visible()
    page.get_by_role("checkbox", name="coherence").check()
    page.get_by_role("combobox", name="Runs").select_option("week")
    page.get_by_role("combobox", name="Day").select_option("Tuesday")
    page.get_by_label("At, in UTC").fill("07:30")
    page.get_by_label("At, in UTC").blur()
    expect(page.get_by_text("every Tuesday at 07:30 UTC")).to_be_visible()
    expect(page.get_by_text("cron:30 7 * * 2")).to_be_visible()
    expect(page.locator("time", has_text="07:30 UTC")).to_have_count(3)
    page.get_by_role("combobox", name="Runs").select_option("cron")
    page.get_by_label("Minute, hour, day, month, weekday").fill("0 7 31 2 *")
    expect(page.get_by_text("names a date that never comes")).to_be_visible()
    page.get_by_label("Minute, hour, day, month, weekday").fill("30 7 * * 2")
    page.get_by_label("Name", exact=True).focus()
    take_screenshot("monitor-form")
    page.get_by_role("button", name="Make the monitor").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly")
    expect(page.get_by_text("It has not run yet")).to_be_visible()

    monitor = f"/evaluations/monitors/{page.url.rpartition('/')[2]}"
    page.get_by_role("button", name="Run now").click()
    poll(f"{monitor}/runs", all_completed(1))
    expect(page.get_by_text("completed: 6 of 6 traces").first).to_be_visible()
    page.keyboard.press("n")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Alerts below").fill("1")
    expect(dialog).to_contain_text("it would have alerted once")
    dialog.get_by_label("Alerts below").fill("0")
    expect(dialog).to_contain_text("it would have alerted never")
    dialog.get_by_label("Ok again at").fill("1")
    dialog.get_by_label("Alerts below").fill("1")
    expect(dialog).to_contain_text("it would have alerted once")
    take_screenshot("alert-form")
    dialog.get_by_role("button", name="Make the alert").click()
    alerts = page.get_by_role("region", name="Alerts", exact=True)
    expect(alerts).to_contain_text("mean score below 1")
    expect(alerts).to_contain_text("ok since")

    page.keyboard.press("r")
    poll(f"{monitor}/alert-changes", lambda page: page["total"] == 1)
    expect(alerts).to_contain_text("alerting since")
    history = page.get_by_role("region", name="History of alerts")
    expect(history).to_contain_text("alerting")
    expect(history).to_contain_text(re.compile(r"at [0-9.]+, \d+ scored"))
    expect(page.get_by_role("list", name="Runs, the earliest first").locator("li")).to_have_count(2)
    take_screenshot("monitor")
    page.set_viewport_size({"width": 390, "height": 844})
    take_screenshot("monitor-phone")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("p")
    expect(page.get_by_text("Ⅱ paused")).to_be_visible()
    page.get_by_role("link", name="Edit …").click()
    expect(page.get_by_text("every Tuesday at 07:30 UTC")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("weekly")
    page.get_by_label("Share in percent").fill("150")
    expect(page.get_by_role("alert")).to_contain_text("sampling_rate must be")
    page.get_by_label("Share in percent").fill("28.9")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("weekly")
    expect(page.get_by_text("28.9 %", exact=True)).to_be_visible()
    page.get_by_role("link", name="Edit …").click()
    expect(page.get_by_label("Share in percent")).to_have_value("28.9")
    page.get_by_role("link", name="Cancel").click()

    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.get_by_role("region", name="alerting", exact=True)).to_contain_text("weekly")
    poll(sent_to, lambda page: [bool(one["delivered_at"]) for one in page["items"]] == [True] * 2)
    page.get_by_role("button", name="Deliveries").click()
    expect(deliveries.get_by_role("row").filter(has_text="ALERTING: nightly")).to_contain_text(
        "delivered"
    )
    assert {one["type"] for one in got} == {"webhook.test", "alert.changed"}
    take_screenshot("alerts")
    page.get_by_role("group", name="State").get_by_role("button", name="ok").click()
    expect(page.get_by_text("No alert is in this state")).to_be_visible()
    show(page, project, "monitors?status=PAUSED")
    expect(page.get_by_role("listitem").filter(has_text="weekly")).to_contain_text("▲ alerting 1")
    take_screenshot("monitors")
