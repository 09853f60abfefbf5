"""Runs and metrics in the dashboard, as people use them."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Poll, all_completed
from tests.e2e.dashboard.browser import leave
from tests.e2e.dashboard.dashboard_project import START, Project, show

pytestmark = pytest.mark.e2e
METRIC = "output_degeneration"
GONE = str(uuid.UUID(int=7, version=4))


def answered(project: Project, number: int, text: str, **fields: Any) -> str:
    started = START + timedelta(minutes=number)
    body = {
        "name": "answers",
        "status": "COMPLETED",
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=2)).isoformat(),
        "input": f"question {number}",
        "output": text,
    }
    return str(project.send("/traces", body | fields)["trace_id"])


def test_run_is_started_watched_and_its_failure_retried(
    signed_in: Page, project: Project, poll: Poll, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    prose = "The shelf holds nine books about rivers, and one about the sea. " * 4
    known = [
        answered(project, n, prose, tags=["shop"] if n else [], session_id=f"shelf-{min(n, 1)}")
        for n in range(4)
    ]
    page.goto(project.path("runs"))
    expect(page.get_by_text("No run over traces yet")).to_be_visible()
    page.keyboard.press("n")
    targets = page.get_by_role("status").filter(has_text="match")
    expect(targets).to_have_text("4 traces that match")
    page.get_by_role("combobox", name="Filter traces").fill("tag:shop")
    page.keyboard.press("Enter")
    expect(targets).to_have_text("3 traces that match")
    page.get_by_label("Share in percent").fill("70")
    expect(targets).to_have_text("2 traces of 3 that match")
    page.get_by_label("Name", exact=True).fill("nightly")
    page.get_by_role("checkbox", name=METRIC).check()
    estimate = page.get_by_role("region", name="Estimate")
    expect(estimate).to_have_text("No model is asked: 2 traces for $0.00 (heuristic/1).")
    page.get_by_label("Judge model").fill("openai/gpt-4o")
    expect(page.get_by_text("OpenAI can’t be asked")).to_be_visible()
    page.get_by_label("Judge model").fill("")
    expect(estimate).to_have_text("No model is asked: 2 traces for $0.00 (heuristic/1).")
    link = page.url
    leave(page)
    page.goto(link)
    expect(page.get_by_role("checkbox", name=METRIC)).to_be_checked()
    expect(targets).to_have_text("2 traces of 3 that match")
    take_screenshot("new-run")

    show(page, project, "sessions?query=shelf&not_tags=shop")
    page.get_by_role("link", name="Score …").click()
    expect(targets).to_have_text("1 session that matches")
    page.goto(link)
    page.get_by_role("button", name="by ids").click()
    page.get_by_label("Ids of traces, one in a line").fill("\n".join([*known[:2], GONE]))
    expect(estimate).to_contain_text("3 traces for $0.00")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("nightly")
    poll("/evaluations/trace-runs", all_completed(1))
    progress = page.get_by_role("region", name="Progress", exact=True)
    expect(progress).to_contain_text("Traces done3 of 3")
    row = page.get_by_role("row", name=METRIC).first
    expect(row).to_contain_text("2 scored, 1 failed")
    expect(row).to_contain_text("of 2")
    expect(page.get_by_text("the target does not exist").first).to_be_visible()
    take_screenshot("run")
    page.get_by_role("button", name="target_gone 1").click()
    scores = page.get_by_role("region", name="Scores of the run")
    expect(scores.get_by_role("row")).to_have_count(2)  # and the heading
    expect(scores).to_contain_text("— failed")
    expect(page).to_have_url(re.compile("code=target_gone"))

    answered(project, 9, prose, trace_id=GONE)
    page.get_by_role("button", name="Retry 1 failed score").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: nightly")
    poll("/evaluations/trace-runs", all_completed(2))
    expect(progress).to_contain_text("Traces done1 of 1")
    expect(page.get_by_role("row", name=METRIC).first).to_contain_text("1 scored")
    page.get_by_role("button", name="Delete …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("checkbox", name="Delete its scores too").check()
    dialog.get_by_role("button", name="Delete the run and its scores").click()
    table = page.get_by_role("table", name="Runs")
    expect(table.get_by_role("link", name="nightly", exact=True)).to_be_visible()
    expect(table.get_by_role("link")).to_have_count(1)
    take_screenshot("runs")


def test_metric_is_made_tried_revised_and_archived(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    answered(project, 1, "Your code is 42, dear Ada.")
    page.goto(project.path("metrics"))
    page.get_by_label("Find a metric").fill("task_completion")
    page.get_by_role("link", name="task_completion", exact=True).click()
    page.get_by_text("The exact prompt").click()
    expect(page.get_by_label("Prompt: judge")).to_contain_text("Criterion")
    page.go_back()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New metric …").click()
    page.get_by_role("radio", name="A rule over the trace").check()
    page.get_by_label("Name", exact=True).fill("names_code")
    page.get_by_label("Description").fill("The answer has a code")
    page.get_by_label("Operator").select_option("matches")
    page.get_by_label("Value").fill("code is [0-9]+")
    # As after a session that ended: what was typed is there.
    show(page, project, page.url.rpartition("/")[2])
    expect(page.get_by_label("Name", exact=True)).to_have_value("names_code")
    expect(page.get_by_label("Definition as JSON")).to_have_value(
        '{\n  "all": [\n    {\n      "op": "matches",\n      "path": "answer",\n'
        '      "value": "code is [0-9]+"\n    }\n  ]\n}'
    )
    page.get_by_role("button", name="Try it on this trace").click()
    tried = page.get_by_role("region", name="Try it")
    expect(tried.get_by_role("status")).to_contain_text("1.0")
    take_screenshot("new-metric")
    page.get_by_role("button", name="Make the metric").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("names_code")

    page.get_by_role("button", name="Add a condition").click()
    page.get_by_role("group", name="Condition 2").get_by_label("Value").fill("Ada")
    page.get_by_role("button", name="Save revision 2").click()
    revisions = page.get_by_role("region", name="Revisions")
    revisions.get_by_role("button", name="Revision 2").click()
    changed = page.get_by_role("region", name="What revision 2 changed")
    expect(changed.locator("ins").first).to_contain_text("Ada")
    take_screenshot("metric")
    page.get_by_role("link", name="Start a run with it").click()
    expect(page.get_by_role("checkbox", name="names_code")).to_be_checked()
    page.go_back()
    page.get_by_role("button", name="Archive").click()
    expect(page.get_by_role("button", name="Restore")).to_be_visible()
    show(page, project, "metrics?query=names")
    expect(page.get_by_text("No metric matches")).to_be_visible()
    page.get_by_role("button", name="archived").click()
    expect(page.get_by_role("link", name="names_code")).to_be_visible()
