"""The overview of a project, and what it used: from a figure to the traces that it counts."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.browser import PageLog, leave
from tests.e2e.dashboard.dashboard_project import Project, show, span

pytestmark = pytest.mark.e2e
REQUESTS_MAX = 10  # of the overview, for its figures
SHIFT_MAX = 0.1  # what pages may shift by while they are read: above it people notice
SHIFT = """async () => {
  let sum = 0;
  const add = (entries) => entries.forEach((one) => (sum += one.hadRecentInput ? 0 : one.value));
  const observer = new PerformanceObserver((list) => add(list.getEntries()));
  observer.observe({ type: "layout-shift", buffered: true });
  for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame);
  add(observer.takeRecords());
  return sum;
}"""
COSTLY_DAYS_AGO = 3


def asked(number: int, days_ago: int, usd: float | None, **fields: Any) -> dict[str, Any]:
    """A trace with one model call."""
    started = datetime.now(UTC) - timedelta(minutes=1)
    if days_ago:  # at noon, so that no midnight is between two traces of a day
        started = started.replace(hour=12, minute=number) - timedelta(days=days_ago)
    times = {
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=2)).isoformat(),
    }
    call = span(number, name="ask", kind="LLM", model=fields.pop("model", "gpt-4o"), **times)
    call |= {"token_usage": {"prompt_tokens": 1_000_000, "completion_tokens": 10}}
    call |= {} if usd is None else {"cost": {"total": usd}}
    return {"name": "answers", "spans": [call, *fields.pop("spans", ())], **times, **fields}


def send_a_week(project: Project) -> None:
    """A trace a day for a dollar, and on one day two for 40 dollars each by one user."""
    for day in range(6):
        failed = {"status": "ERROR"} if day == 1 else {}
        project.send("/traces", asked(day, day, 1, user_id="ada", release="1.0", **failed))
    for number in (10, 11):
        project.send("/traces", asked(number, COSTLY_DAYS_AGO, 40, user_id="batch", release="2.0"))


@pytest.mark.exhaustive  # only another build can break it
def test_costly_day_is_found(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    send_a_week(project)
    page.goto(project.path("usage?period=7d"))
    panel = page.get_by_role("region", name="Cost by model")
    expect(page.get_by_text("all of 8 spans priced").first).to_be_visible()
    expect(panel.get_by_role("row", name="gpt-4o")).to_contain_text("$86.0000")
    take_screenshot("usage")
    # The bucket of the day, by keyboard.
    slider = panel.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(8):
        if "$81" in (slider.get_attribute("aria-valuetext") or ""):
            break
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"\$81"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Period")).to_have_value("own")
    page.get_by_label("Group by").select_option("user")
    panel = page.get_by_role("region", name="Cost by user")
    expect(panel.get_by_role("row", name="batch")).to_contain_text("99 %")
    page.reload()  # all of it is in the address
    expect(panel.get_by_role("row", name="ada")).to_contain_text("$1.0000")
    panel.get_by_role("link", name="batch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Traces")
    expect(page.get_by_role("status").first).to_have_text("2 traces")
    # The histogram of the list counts what matches: the trace of ada on that day isn't in it.
    expect(
        page.get_by_role("img", name=re.compile("^2 traces by hour, 0 of them failed$"))
    ).to_be_visible()
    # Traces before the period aren't counted, though they are in its first hour.
    second = datetime.now(UTC).replace(hour=12, minute=11, second=0) - timedelta(COSTLY_DAYS_AGO)
    show(page, project, f"traces?started_after={second:%Y-%m-%dT%H:%M:%SZ}&user_id=batch")
    expect(page.get_by_role("img", name=re.compile("^1 trace by "))).to_be_visible()
    expect(page.get_by_role("status").first).to_have_text("1 trace")


def test_usage_by_name_leads_to_the_traces_with_this_whole_name(
    signed_in: Page, project: Project
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    for number, name in enumerate(("plan", "replan")):
        project.send("/traces", asked(number, 0, 1) | {"name": name})
    page.goto(project.path("usage?by=name"))
    main.get_by_role("link", name="plan", exact=True).click()
    expect(main.get_by_text("1 trace", exact=True)).to_be_visible()
    expect(main.get_by_role("button", name="Drop the filter name = plan")).to_be_visible()
    expect(main.get_by_role("link", name="replan")).to_have_count(0)
    # A name that is completed shows as many traces as the number next to it.
    page.goto(project.path("traces"))
    expect(main.get_by_role("link", name="replan")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("name:plan")
    main.get_by_role("option", name=re.compile("^name=plan")).click()
    expect(main.get_by_text("1 trace", exact=True)).to_be_visible()
    assert "names=plan" in page.url


def test_model_without_a_price_gets_one_and_is_repriced(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    project.send("/traces", asked(1, 0, None, model="our-own-model"))
    project.send("/traces", asked(2, 0, 2, model="our-own-model"))
    page.goto(project.path("usage?period=24h"))
    expect(page.get_by_role("definition").first).to_contain_text("≥ $2.0000")
    expect(page.get_by_role("definition").first).to_contain_text("50 % of 2 spans priced")
    page.get_by_role("button", name="Set a price of our-own-model").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Models")).to_have_value("our-own-model")
    dialog.get_by_label("Prompt", exact=True).fill("a lot")
    dialog.get_by_label("Completion", exact=True).fill("10")
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Prompt", exact=True)).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Prompt", exact=True).fill("2.50")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("Spans of our-own-model get today’s prices")
    dialog.get_by_role("button", name="Compute the difference").press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("would change: $0.00 → $2.5001")
    take_screenshot("usage-repricing")
    # A dry run has changed nothing.
    expect(page.get_by_role("definition").first).to_contain_text("≥ $2.0000")
    dialog.get_by_role("button", name="Change 1 span").press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("1 of 1 span changed")
    dialog.get_by_role("button", name="Close", exact=True).last.press("Enter")
    expect(page.get_by_role("definition").first).to_contain_text("$4.5001")
    expect(page.get_by_role("definition").first).to_contain_text("all of 2 spans priced")
    expect(page.get_by_role("region", name="Models without a price")).to_contain_text(
        "No model without a price"
    )
    expect(page.get_by_role("region", name="What judges cost")).to_contain_text("no budget")
    page.get_by_role("button", name="Delete the price of our-own-model").press("Enter")
    expect(page.get_by_role("region", name="Prices of this project")).to_contain_text("None")


@pytest.mark.exhaustive  # only another build can break it
def test_tools_that_fail_lead_to_the_traces_with_a_failure(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    now = datetime.now(UTC).isoformat()
    tool = span(9, name="search", status="ERROR", error="no", started_at=now, ended_at=now)
    project.send("/traces", asked(1, 0, 1, spans=[tool]))
    project.send("/traces", asked(2, 0, 1))
    page.goto(project.path(""))
    page.get_by_role("link", name="Traces with a failure").click()
    expect(page.get_by_role("button", name="Drop the filter failed")).to_be_visible()
    expect(page.get_by_role("status").first).to_have_text("1 trace")


@pytest.mark.exhaustive  # only another build can break it
def test_overview_leads_to_what_its_figures_count(
    signed_in: Page,
    page_log: PageLog,
    project: Project,
    take_screenshot: Callable[[str], None],
) -> None:
    page = signed_in
    page.goto(project.path(""))
    expect(page.get_by_text("No trace started in this period")).to_be_visible()
    # Usage and scores usually show other periods.
    for region, name in (("Cost", "Usage"), ("Scores", "Scores")):
        link = page.get_by_role("region", name=region, exact=True).get_by_role("link", name=name)
        expect(link).to_have_attribute("href", re.compile(r"\?period=24h$"))
    send_a_week(project)
    tool = span(99, name="search", status="ERROR", error="timeout after 30 s")
    tool["started_at"] = tool["ended_at"] = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    sent = project.send("/traces", asked(20, 0, None, model="unknown", spans=[tool]))
    for name, value in (("helpful", "0.25"), ("grounded", "0.75")):
        score = {"trace_id": sent["trace_id"], "name": name, "value": value}
        project.send("/evaluations/trace-scores", score)
    leave(page)
    page_log.requested.clear()
    page.goto(project.path("?period=7d"))
    totals = page.locator(".tiles")
    expect(totals).to_contain_text("≥ $86.0000")
    expect(totals).to_contain_text("11 % of the traces")
    expect(page.get_by_role("region", name="Errors")).to_contain_text("timeout after <number> s")
    expect(page.get_by_role("region", name="Tools that fail most")).to_contain_text("search")
    scores = page.get_by_role("region", name="Scores")
    expect(scores).to_contain_text("0.25")
    expect(scores.get_by_text("1 scored")).to_have_count(2)
    helpful = scores.get_by_role("link", name="helpful")
    expect(helpful).to_have_attribute("href", re.compile(r"\?period=7d$"))
    # One request has both trends; a single number is a dot.
    for name in ("helpful", "grounded"):
        dots = scores.get_by_role("img", name=name).locator("path.dots")
        expect(dots).to_have_attribute("d", re.compile("M"))
    expect(page.get_by_role("region", name="Runs under way")).to_contain_text("No evaluation runs")
    expect(page.get_by_role("region", name="Alerts")).to_contain_text("No alert is on")
    page.wait_for_load_state("networkidle")
    # Once each: on a busy machine some are polled meanwhile.
    figures = {url for url in page_log.requested if "/app/" not in url and url[-8:] != "/session"}
    assert len(figures) <= REQUESTS_MAX, sorted(figures)
    assert page.evaluate(SHIFT) <= SHIFT_MAX
    take_screenshot("overview")
    page.get_by_role("link", name="Compare with the period before").click()
    for group in ("A", "B"):
        shown = page.get_by_role("combobox", name=f"Period of group {group}")
        expect(shown.get_by_role("option", selected=True)).to_contain_text(" to ")
    page.go_back()
    models = page.get_by_role("region", name="Models")
    expect(models.get_by_role("row", name="unknown")).to_contain_text("—")
    # Dragging over two bars sets the period of all charts.
    region = page.get_by_role("region", name="Traces and failures")
    box = region.get_by_role("img").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + 50)
    page.mouse.up()
    expect(page.get_by_label("Period")).to_have_value("own")
    page.go_back()
    expect(page.get_by_label("Period")).to_have_value("7d")
    region.get_by_role("button", name="Table").press("Enter")
    expect(region.get_by_role("table")).to_contain_text("failed")
    page.get_by_role("link", name="1", exact=True).press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Traces")
    expect(page.get_by_role("status").first).to_have_text("1 trace")
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.keyboard.press("g")
    page.keyboard.press("u")
    expect(page.get_by_role("heading", level=1)).to_have_text("Usage")
    # The chart has no number for a model without a price either.
    page.get_by_role("region", name="Cost by model").get_by_role("button", name="Table").click()
    table = page.get_by_role("region", name="cost by model: table")
    expect(table.get_by_role("cell", name="—", exact=True)).to_have_count(1)
    totals = page.get_by_role("region", name="Totals by model")
    expect(totals.get_by_role("row", name="unknown").get_by_role("cell").last).to_have_text("—")
