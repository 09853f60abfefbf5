"""Scores over time: from a mean that fell to the traces and the scores behind it."""

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.dashboard_project import Project

pytestmark = pytest.mark.e2e
WORSE_DAYS_AGO = 2  # the day of the release


def send_a_week(project: Project) -> None:
    """Four traces a day, scored by a model, which give worse answers since a release.

    One a day is skipped, but for today; on the day of the release one failed instead.
    """
    trace = project.send(
        "/traces", {"name": "answers", "started_at": datetime.now(UTC).isoformat()}
    )
    project.send(
        "/evaluations/trace-scores",
        {"trace_id": trace["trace_id"], "name": "helpful", "value": "0.9"},
    )
    bearer = {
        "Authorization": f"Bearer {project.server.environ['PANDAPROBE_TOKEN']}",
        "X-Project-ID": project.id,
    }
    with project.server.client(**bearer) as http:
        [text] = http.get("/traces/export").text.splitlines()
        sample = json.loads(text)
        sample.pop("export")
        lines = [line(sample, day, number) for day in range(6, -1, -1) for number in range(4)]
        answer = http.post("/traces/import", json={"traces": lines})
        assert answer.json()["stored"] == len(lines), answer.text
        # A person disagrees with the judge.
        label = {"trace_id": lines[1]["trace_id"], "name": "helpful", "value": "0.1"}
        assert http.post("/evaluations/trace-scores", json=label).is_success


def line(sample: dict[str, Any], day: int, number: int) -> dict[str, Any]:
    at = (datetime.now(UTC) - timedelta(days=day, minutes=number + 1)).isoformat()
    release = "2.0" if day <= WORSE_DAYS_AGO else "1.0"
    value = 0.9 if release == "1.0" else 0.2
    score = sample["scores"][0] | {
        "id": str(uuid.uuid4()),
        "value": str(value + number / 100),
        "source": "AUTOMATED",
        "author_user_id": None,
        "reason": f"release {release}",
        "created_at": at,
        "updated_at": at,
        "metadata": {
            "judge_kind": "model",
            "model": "openai/a",
            "threshold": 0.5,
            "cache": "hit",
            "usage": {"usd": 0.25},
        },
    }
    if number == 0 and day > 0:
        unmeasured = {"value": None, "status": "FAILED", "outcome": "skipped"}
        code = {"metadata": {"code": "no_input", "judge_kind": "model"}}
        if day == WORSE_DAYS_AGO:
            unmeasured["outcome"], code["metadata"]["code"] = "failed", "judge_timeout"
        score |= unmeasured | code
    trace = {"trace_id": str(uuid.uuid4()), "started_at": at, "release": release}
    score["trace_id"] = trace["trace_id"]
    return sample | trace | {"created_at": at, "updated_at": at, "scores": [score]}


@pytest.mark.exhaustive  # only another build can break it
def test_day_on_which_a_score_fell_is_found_by_keyboard(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    send_a_week(project)
    page.goto(project.path("traces"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("c")
    row = page.get_by_role("row", name="helpful")
    expect(row).to_contain_text("model")
    expect(row).to_contain_text("22 scored, 5 skipped, 1 failed")
    expect(row.get_by_role("img", name="its mean by day")).to_be_visible()
    take_screenshot("scores")
    row.get_by_role("link", name="helpful").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("helpful")
    expect(page.get_by_text("of 22 numbers")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("no_input"))).to_contain_text("5")
    bins = page.get_by_role("group", name=re.compile("^22 numbers")).get_by_role("button")
    counted = bins.and_(page.locator(":enabled")).first
    total = (counted.get_attribute("aria-label") or "").rpartition(" ")[2]
    counted.click()
    status = page.get_by_role("region", name="The scores").get_by_role("status").first
    expect(status).to_have_text(re.compile(f"^{total} scores?$"))
    take_screenshot("score")
    counted.click()
    # To the day of the release, on which the mean fell, and what lies in its bucket.
    slider = page.get_by_role("region", name="Trend").get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(10):
        if "1 failed" in (slider.get_attribute("aria-valuetext") or ""):
            break
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute(
        "aria-valuetext", re.compile(r"mean 0\.2\d, 3 scored, 1 failed")
    )
    page.keyboard.press("Enter")
    expect(page.get_by_label("Period")).to_have_value("own")
    scores = page.get_by_role("region", name="The scores")
    expect(scores.get_by_text("4 scores", exact=True)).to_be_visible()
    page.reload()  # all of it is in the address
    expect(scores.get_by_text("4 scores", exact=True)).to_be_visible()
    measured = scores.get_by_role("row", name=re.compile(r"release 2\.0.*cached"))
    expect(measured).to_have_count(3)
    expect(page.get_by_role("row", name=re.compile("judge_timeout"))).to_contain_text("1")
    measured.first.get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("treegrid")).to_be_visible()


def test_traces_are_found_by_their_scores_and_spans(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    send_a_week(project)
    span = {"name": "find", "kind": "TOOL", "started_at": datetime.now(UTC).isoformat()}
    sent = {"name": "x", "started_at": span["started_at"], "spans": [span]}
    at_threshold = {"trace_id": project.send("/traces", sent)["trace_id"], "name": "helpful"}
    project.send("/evaluations/trace-scores", at_threshold | {"value": "0.5"})
    page.goto(project.path("scores/helpful"))
    page.get_by_role("link", name="Traces with a newest score below 0.5").click()
    found = page.get_by_role("status").first
    expect(found).to_have_text("11 traces")  # ten of the release, and what a person says
    expect(page.get_by_role("button", name="Drop the filter score < 0.5")).to_be_visible()
    take_screenshot("traces-by-score")
    options = page.get_by_role("listbox", name="Filters").get_by_role("option")
    page.keyboard.press("/")
    page.keyboard.type("score:hel")
    expect(options.first).to_contain_text("score:helpful")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("=failed")
    page.keyboard.press("Enter")
    expect(found).to_have_text("1 trace")
    page.reload()  # all of it is in the address
    expect(found).to_have_text("1 trace")
    page.get_by_role("button", name="Drop the filter score: helpful").click()
    expect(found).to_have_text("30 traces")
    for typed, offered in (("span:fi", "span:find"), ("kind:to", "kind:TOOL")):
        page.get_by_role("combobox", name="Filter traces").fill(typed)
        expect(options.first).to_contain_text(offered)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(found).to_have_text("1 trace")
    expect(page).to_have_url(re.compile("span_kind=TOOL"))


def test_person_writes_over_a_judge_whose_value_stays_visible(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    send_a_week(project)
    page.goto(project.path("scores/helpful?of=traces&outcome=scored"))
    scores = page.get_by_role("region", name="The scores")
    scores.get_by_role("button", name="Change the score 0.23").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Value, from 0 to 1").fill("2")
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(dialog.get_by_text("number from 0 to 1")).to_be_visible()
    dialog.get_by_label("Value, from 0 to 1").fill("0.75")
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(dialog).not_to_be_visible()
    changed = scores.get_by_role("row", name=re.compile("was 0.23"))
    expect(changed).to_contain_text("0.75")
    # The label and this change: two traces on which judge and people are compared.
    agreement = page.get_by_role("region", name="Agreement with people")
    expect(agreement).to_contain_text("not calibrated below 30")
    agreement.get_by_role("button", name=re.compile("people (pass|fail): [1-9]")).first.click()
    cell = agreement.get_by_role("region", name="Traces of the cell")
    expect(cell.get_by_role("listitem").first).to_contain_text("people")
    changed.get_by_role("button").click()
    dialog.get_by_role("button", name="Take the last change back").click()
    expect(dialog).not_to_be_visible()
    expect(changed).not_to_be_visible()
    scores.get_by_role("button", name="Change the score 0.23").first.click()
    dialog.get_by_label("Value, from 0 to 1").fill("0.75")
    dialog.get_by_role("button", name="Change", exact=True).click()
    expect(changed).to_contain_text("0.75")
    changed.get_by_role("button").click()
    expect(dialog.get_by_text("The judge had said 0.23")).to_be_visible()
    dialog.get_by_role("button", name="Delete this score").click()
    expect(dialog).not_to_be_visible()
    expect(changed).not_to_be_visible()
