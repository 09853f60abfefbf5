"""Labelling in Chromium: by keyboard alone, taken back, over a judge's score, and by two people."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.dashboard.dashboard_project import START, Project
from tests.support.waiting import until_while

pytestmark = pytest.mark.e2e
METRIC: Final = "coherence"
TRACES: Final = 14
LABELS: Final = 10


def judged(project: Project, count: int) -> None:
    """Sends traces, and has a judge score them."""
    for number in range(count):
        started = START + timedelta(minutes=number)
        question = {"messages": [{"role": "user", "content": f"Where is parcel {number}?"}]}
        trace = {"name": "answers", "status": "COMPLETED", "started_at": started.isoformat()}
        trace |= {"ended_at": (started + timedelta(seconds=2)).isoformat(), "input": question}
        project.send("/traces", trace | {"output": f"It left the depot {number} days ago."})
    run = project.send("/evaluations/trace-runs", {"metrics": [METRIC], "filters": {}})
    path = f"/evaluations/trace-runs/{run['id']}"
    until_while(
        project.server.process, lambda: project.read(path)["status"], lambda one: one == "COMPLETED"
    )


def shown_trace(page: Page) -> str:
    link = page.get_by_role("link", name="Open the trace")
    return (link.get_attribute("href") or "").rsplit("/", 1)[-1]


def queue(project: Project) -> Any:
    return project.read(f"/evaluations/analytics/annotation-queue?name={METRIC}")


def test_ten_labels_by_keyboard(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    judged(project, TRACES)
    page.goto(project.path("label"))
    page.get_by_role("link", name=METRIC).press("Enter")
    item = page.get_by_role("article", name="Item")
    expect(item).to_contain_text("Where is parcel")
    expect(page.get_by_text(f"{TRACES} waiting")).to_be_visible()
    seen, whys = set[str](), list[str]()
    for number in range(LABELS):
        expect(page.get_by_text("The judge gave")).to_have_count(0)
        seen.add(shown_trace(page))
        whys.append(item.locator(".tag").first.inner_text())
        if number == 3:
            page.keyboard.press("r")
            page.keyboard.type("It does not answer")
            page.keyboard.press("Enter")
        page.keyboard.press("0" if number % 4 == 3 else "1")
        expect(page.get_by_text("The judge gave")).to_be_visible()
        if number == 1:
            take_screenshot("label-answered")
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"{number + 1} labelled by you")).to_be_visible()
    assert len(seen) == LABELS
    assert [n for n, why in enumerate(whys, 1) if why == "random"] == [5, 10]
    agreement = page.get_by_role("region", name="Agreement so far")
    expect(agreement).to_contain_text(f"n = {LABELS}")
    expect(agreement).to_contain_text("not calibrated below 30")
    after = queue(project)
    assert (after["queue_length"], after["labelled_today"]) == (TRACES - LABELS, LABELS)
    labels = project.read(f"/evaluations/trace-scores?name={METRIC}&source=ANNOTATION&limit=100")
    assert sorted(one["value"] for one in labels["items"]) == ["0"] * 2 + ["1"] * 8
    assert [one["reason"] for one in labels["items"] if one["reason"]] == ["It does not answer"]
    # Taken back: the item is shown again, and its label is gone.
    page.keyboard.press("z")
    expect(page.get_by_text("9 labelled by you")).to_be_visible()
    expect(page.get_by_text("The judge gave")).to_have_count(0)
    assert shown_trace(page) in seen
    expect(agreement).to_contain_text("n = 9")
    # Over the judge's score, and back: it is the judge's again.
    page.keyboard.press("o")
    expect(page.get_by_role("checkbox", name="Replace the judge’s score")).to_be_checked()
    page.keyboard.press("0")
    expect(page.get_by_text("Your value stands in place of the judge’s")).to_be_visible()
    assert queue(project)["queue_length"] == TRACES - LABELS
    page.keyboard.press("z")
    expect(page.get_by_text("9 labelled by you")).to_be_visible()
    assert queue(project)["queue_length"] == TRACES - LABELS + 1
    page.keyboard.press("s")
    expect(page.get_by_text("Skipped", exact=True)).to_be_visible()
    take_screenshot("label")
    page.set_viewport_size({"width": 390, "height": 844})
    take_screenshot("label-phone")


# Two people claim in tests/contracts/evaluation/scores/test_annotation_claims.py.
@pytest.mark.exhaustive
def test_two_people_never_see_the_same_item(signed_in: Page, project: Project) -> None:
    judged(project, 4)
    first, second = signed_in, signed_in.context.new_page()  # with a session storage of its own
    first.goto(project.path(f"label?name={METRIC}"))
    one = shown_trace(first)
    second.goto(project.path(f"label?name={METRIC}"))
    other = shown_trace(second)
    assert one != other
    first.reload()
    assert shown_trace(first) == one
    expect(first).to_have_url(re.compile(f"at={one}"))
    second.keyboard.press("1")
    expect(second.get_by_text("The judge gave")).to_be_visible()
    second.keyboard.press("Enter")
    expect(second.get_by_text("Others have the rest")).to_be_visible()
    with first.expect_response("**/annotation-queue/claims?**"):
        first.keyboard.press("s")
    second.get_by_role("button", name="Look again").press("Enter")
    assert shown_trace(second) == one
    second.close()
