"""Where it got worse: between two releases, and between two experiments."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import Poll
from tests.e2e.dashboard.dashboard_project import Project, show, span
from tests.e2e.dashboard.experiment_project import (
    DATASET,
    answered_experiment,
    prepare_questions,
    run_experiment,
)

pytestmark = pytest.mark.e2e
TRACES = 30  # of each release: with fewer there is no interval


def answer(number: int, release: str, **fields: Any) -> dict[str, Any]:
    started = datetime.now(UTC) - timedelta(hours=1, seconds=number)
    times = {
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=1 + number % 3)).isoformat(),
    }
    step = span(number, **times, token_usage={"prompt_tokens": 10}, cost={"total": 0.01})
    return {"name": "answers", "release": release, "spans": [step], **times, **fields}


def answer_in_part(route: Route) -> None:
    """As the service answers a search that ends at a limit, which takes thousands of traces."""
    got = route.fetch()
    page = got.json()
    page["search"]["is_complete"] = False
    route.fulfill(response=got, json=page)


@pytest.mark.exhaustive  # only another build can break it
def test_worse_scores_of_a_release_lead_to_their_traces(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    old = [answer(n, "1.4") for n in range(TRACES)]
    new = [answer(n, "1.5", status="ERROR" if n < 12 else "COMPLETED") for n in range(TRACES)]
    stored = project.send("/traces/batch", {"traces": [*old, *new]})["accepted"]
    for number, one in enumerate(stored):
        is_bad = number >= TRACES and number % 3 == 0
        score = {"trace_id": one["trace_id"], "name": "helpful", "value": "0.1" if is_bad else "1"}
        project.send("/evaluations/trace-scores", score)
    page.goto(project.path("traces?release=1.4"))
    expect(page.get_by_role("link", name="answers").first).to_be_visible()
    page.get_by_role("link", name="Compare with …").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare groups")
    filter_b = page.get_by_role("combobox", name="Filter group B")
    filter_b.fill("release:1.5")
    filter_b.press("Enter")
    failed = page.get_by_role("row", name=re.compile("^Failed"))
    expect(failed).to_contain_text("12 · 40 %")
    expect(failed).to_contain_text("▼ worse +40.0 points")
    expect(failed).to_contain_text(re.compile(r"\+\d+\.\d points to \+\d+\.\d points"))
    helpful = page.get_by_role("row", name=re.compile("helpful"))
    expect(helpful).to_contain_text("▼ worse −0.300")
    expect(helpful).to_contain_text("30 scored")
    expect(page.get_by_role("row", name=re.compile("^Cost a trace"))).to_contain_text("$0.0100")
    take_screenshot("groups")
    page.reload()  # all of it is in the address
    expect(helpful).to_contain_text("▼ worse")
    page.keyboard.press("w")
    expect(helpful).to_contain_text("▲ better")
    page.keyboard.press("w")
    expect(helpful).to_contain_text("▼ worse")
    helpful.get_by_role("link").first.press("Enter")
    expect(page.get_by_role("tabpanel")).to_contain_text("helpful")
    show(page, project, "traces")
    expect(page.get_by_role("link", name="answers").first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("cost>0.5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No trace matches")).to_be_visible()
    page.get_by_role("button", name="Drop the filter cost ≥ $0.5").click()
    page.keyboard.press("/")
    page.route("**/traces?*query=answers*", answer_in_part)
    page.keyboard.type("text:answers")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Export …")).to_be_disabled()
    expect(page.get_by_role("link", name="answers").first).to_be_visible()
    expect(page.get_by_text("This search isn’t complete: it stopped at a limit")).to_be_visible()
    page.get_by_role("button", name="Search on in older traces").click()
    expect(page.get_by_text("This search may have missed traces")).to_be_visible()


# The numbers and single words in cells of a table that are broken over lines.
BROKEN = """() => [...document.querySelectorAll("td.c-number, td:last-child")].flatMap((cell) => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = [];
  for (let text = texts.nextNode(); text; text = texts.nextNode())
    for (const word of text.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((one) => one.top)).size > 1) broken.push(word[0]);
    }
  return broken;
})"""


@pytest.mark.exhaustive  # only another build can break it
def test_numbers_of_experiments_stay_on_one_line(signed_in: Page, project: Project) -> None:
    page = signed_in
    ids = prepare_questions(project, 3)
    metrics = ["as_expected", "task_completion", "tool_success_rate", "argument_correctness"]
    asked = {"name": "priced", "dataset": DATASET, "split": "test", "metrics": metrics}
    git = {"sha": "a" * 40, "branch": "long/" * 9, "pull_request": "812"}
    asked |= {"release": "candidate of the day", "git": git, "repetitions": 2}
    experiment = project.send("/experiments", asked)["id"]
    step = span(1, cost={"total": 0.00035})
    item = ids[0]
    trace = project.send("/traces", answer(1, "1.4", output=item, spans=[step]))["trace_id"]
    result = {"item": item, "trace_id": trace}
    project.send(f"/experiments/{experiment}/results/batch", {"results": [result]})
    for width, bar_height in ((1280, 800), (360, 50)):  # on a phone the navigation is one row
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(project.path("experiments"))
        bar = page.get_by_role("navigation", name="Main").bounding_box()
        assert bar is not None
        assert bar["height"] <= bar_height
        expect(page.get_by_role("cell", name="open")).to_be_visible()
        assert page.evaluate(BROKEN) == []
        page.get_by_role("link", name="priced").click()
        expect(page.get_by_role("cell", name="$0.000350")).to_be_attached()
        assert page.evaluate(BROKEN) == []
        expect(page.get_by_text("812", exact=True)).to_be_visible()


def test_new_failures_of_an_experiment_and_the_verdict(
    signed_in: Page, project: Project, poll: Poll, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    ids = prepare_questions(project, 12)
    right = {one: one for one in ids}
    run_experiment(project, "before", right)
    after = answered_experiment(project, "after", right | {ids[3]: "Bonn", ids[7]: "Basel"})
    page.goto(project.path(f"experiments/{after}"))
    expect(page.get_by_role("row", name=ids[3])).to_contain_text("not scored")
    page.get_by_role("button", name="Close and score …").click()
    # The items are read before there are scores, however soon these come.
    unscored = project.read(f"/experiments/{after}/items")
    page.route("**/items?*", lambda route: route.fulfill(json=unscored), times=1)
    page.get_by_role("button", name="Close and score", exact=True).click()
    poll(f"/experiments/{after}", lambda one: one["status"] == "COMPLETED")
    expect(page.get_by_text("12 scored")).to_be_visible()
    expect(page.get_by_role("row", name=ids[3])).not_to_contain_text("not scored")
    show(page, project, "datasets")
    page.get_by_role("link", name=DATASET).press("Enter")
    expect(page.get_by_role("status").first).to_have_text("12 items")
    # Each digit is shown as it was sent.
    exact = '{"id": 9007199254740993, "share": 1.10}'
    batch = (
        f'{{"items": [{{"id": "{ids[11]}", "input": {exact}, "expected": 12345678901234567890}}]}}'
    )
    project.send(f"/datasets/{DATASET}/items/batch", batch)
    page.reload()
    exactly = page.get_by_role("row", name=ids[11])
    expect(exactly).to_contain_text(exact)
    expect(exactly).to_contain_text("12345678901234567890")
    page.get_by_role("button", name=f"Delete {ids[11]}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).press("Enter")
    expect(page.get_by_role("status").first).to_have_text("11 items")
    take_screenshot("dataset")
    page.get_by_role("link", name="Experiments", exact=True).last.click()
    for name in ("before", "after"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    take_screenshot("experiments")
    page.get_by_role("link", name="after", exact=True).click()
    expect(page.get_by_text("12 scored")).to_be_visible()
    take_screenshot("experiment")
    page.go_back()
    for name in ("before", "after"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("button", name="Compare the selected two").press("Enter")
    verdict = page.get_by_role("status").first
    expect(verdict).to_contain_text("Inconclusive")
    expect(page.get_by_role("heading", name="New failures: 2")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile(rf"^{ids[3]} as_expected"))).to_be_visible()
    expect(page.get_by_text("Would decide it")).to_be_visible()
    expect(page.get_by_text("2 of 12 changed")).to_be_visible()
    expect(page.get_by_role("row", name="Latency")).to_contain_text("1 s of 12 items")
    # No step has a cost: it is unknown, and not $0.00.
    unknown = page.get_by_role("row", name="Cost of all traces")
    expect(unknown.get_by_role("cell")).to_have_text(["— of 0 items"] * 2)
    take_screenshot("verdict")
    value = page.get_by_label("Value of rule 1")
    value.fill("0.9")
    value.press("Enter")
    expect(verdict).to_contain_text("Pass")
    expect(page).to_have_url(re.compile("as_expected:max_drop:0.9"))
    page.reload()
    expect(verdict).to_contain_text("Pass")
    page.get_by_label("Limit of rule 1").select_option("min")
    expect(page).to_have_url(re.compile("as_expected:min:0.9"))
    page.get_by_role("link", name="Trace of repetition 1").first.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("after")
    show(page, project, "traces?name=after")
    page.get_by_role("checkbox", name="Select after").first.check()
    page.get_by_role("region", name="Selected traces").get_by_role(
        "button", name="Add to dataset …"
    ).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Split").fill("found")
    dialog.get_by_role("button", name="Add 1 trace").press("Enter")
    expect(dialog).to_contain_text("1 item added")
