"""Longer ways through the dashboard, as people go them."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.e2e.conftest import DevServer, FastForward, Poll, all_completed
from tests.e2e.dashboard.browser import VIEWPORT, leave
from tests.e2e.dashboard.dashboard_project import FOLLOW, NOTHING, START, Project, show, span

pytestmark = pytest.mark.e2e
TURNS = 200
BATCH = 50
FIRST_REQUESTS_MAX = 6  # page, theme, style, script, session, traces: until the rows are painted
AWAY_POLL_MS = 2_500  # until the page asks again whether the service is back
ASKED_MS = 1_500  # what the service asks to wait, with the random part
OTHERS = 201  # traces with a longer name: more than one page has
NAME_MIN = 40  # pixels of the name of a span
MATCHES = (3, 77, 150)  # turns that say what is looked for


def answer(number: int, started: datetime, took_s: int, **fields: Any) -> dict[str, Any]:
    """A trace with a root and one step below it."""
    ended = started + timedelta(seconds=took_s)
    times = {"started_at": started.isoformat(), "ended_at": ended.isoformat()}
    root = span(10 * number, name="root", kind="AGENT", **times)
    step = span(10 * number + 1, name="look up", parent_span_id=root["span_id"], **times)
    step |= {"input": {"shelf": number}, **fields.pop("step", {})}
    return {"name": "answers", "status": "COMPLETED", "spans": [root, step], **times, **fields}


def test_slowest_failure_of_a_release_is_compared_with_its_neighbour(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    yesterday = datetime.now(UTC) - timedelta(hours=20)
    broken = {"step": {"status": "ERROR", "error": "the shelf is empty"}, "status": "ERROR"}
    for body in (
        answer(1, yesterday - timedelta(minutes=9), 2, release="2.0"),
        answer(2, yesterday - timedelta(minutes=8), 9, release="2.0", **broken),
        answer(3, yesterday - timedelta(minutes=7), 3, release="2.0", **broken),
        answer(4, yesterday - timedelta(minutes=6), 20, release="1.0", **broken),
        answer(5, yesterday - timedelta(days=5), 30, release="2.0", **broken),
    ):
        project.send("/traces", body)
    between = (yesterday - timedelta(minutes=8, seconds=30)).isoformat()
    others = [{"name": "answers, too", "started_at": between}] * OTHERS
    project.send("/traces/batch", {"traces": others})
    page.goto(project.path("traces"))
    page.get_by_label("Period").select_option("24h")
    page.keyboard.press("/")
    for word in ("release:2.0", "failed"):
        page.keyboard.type(word)
        page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("2 traces")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Latency", exact=True).click()
    expect(page.get_by_role("columnheader", name="Latency")).to_have_attribute(
        "aria-sort", "descending"
    )
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()
    expect(page.get_by_role("treegrid")).to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_role("row", selected=True)).to_contain_text("look up")
    page.get_by_role("button", name="Copy input").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == '{"shelf": 2}'
    page.keyboard.press("]")
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    page.keyboard.press("[")
    expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()
    page.keyboard.press("c")
    page.get_by_role("button", name="The run before").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Comparison")
    expect(page.get_by_text("2 changed, 0 alike")).to_be_visible()
    for _ in range(2):
        page.keyboard.press("]")
    expect(page.get_by_role("row", selected=True)).to_contain_text("look up")
    expect(page.get_by_role("group", name="Error, right")).to_contain_text("the shelf is empty")
    difference = page.get_by_role("region", name="Input")
    expect(difference.locator("del")).to_have_text("1")
    expect(difference.locator("ins")).to_have_text("2")
    take_screenshot("comparison")
    link = page.url
    leave(page)
    page.goto(link)
    expect(page.get_by_role("row", selected=True)).to_contain_text("look up")
    page.get_by_role("button", name="Swap sides").click()
    expect(difference.locator("ins")).to_have_text("1")


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.parametrize("width", [1280, 390])
def test_comparison_of_long_names_and_deep_spans_shows_figures_and_names(
    signed_in: Page, project: Project, width: int
) -> None:
    page = signed_in
    page.set_viewport_size({"width": width, "height": 800})
    chain = [
        span(n, **({"parent_span_id": span(n - 1)["span_id"]} if n else {}), name=f"deep {n}")
        for n in range(12)
    ]
    long = {"name": "answer-" * 36, "started_at": START.isoformat(), "spans": chain}
    ids = [project.send("/traces", long)["trace_id"] for _ in range(2)]
    page.goto(project.path(f"compare/{ids[0]}/{ids[1]}"))
    expect(page.get_by_role("columnheader", name="Started")).to_be_in_viewport(ratio=1)
    page.get_by_role("treegrid").press("End")
    deepest = page.get_by_title("deep 11").bounding_box()
    assert deepest is not None
    assert deepest["width"] > NAME_MIN


@pytest.mark.exhaustive  # only another build can break it
def test_session_of_200_turns_is_read_and_searched(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    turns = [
        {
            "name": "turn",
            "session_id": "long",
            "status": "ERROR" if number == 20 else "COMPLETED",
            "started_at": (START + timedelta(minutes=number)).isoformat(),
            "ended_at": (START + timedelta(minutes=number, seconds=1 + number % 7)).isoformat(),
            "input": {"messages": [{"role": "user", "content": f"question {number}"}]},
            "output": f"answer {number}" + (", the Needle" if number in MATCHES else ""),
        }
        for number in range(TURNS)
    ]
    for first in range(0, TURNS, BATCH):
        project.send("/traces/batch", {"traces": turns[first : first + BATCH]})
    # The number of turns comes with this answer: End leads to the last one without it.
    page.route(re.compile(r"/sessions/long\?limit=1$"), lambda route: None)
    page.goto(project.path("sessions/long"))
    feed = page.get_by_role("feed")
    expect(feed).to_contain_text("question 0")
    page.keyboard.press("End")
    expect(page.get_by_text(f"turn {TURNS} of {TURNS}")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")
    expect(feed).to_contain_text(f"question {TURNS - 1}")
    page.keyboard.press("Home")
    page.keyboard.press("e")
    expect(page.get_by_text("turn 21 of")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.get_by_text("3 turns")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 of 3 turns")).to_be_visible()
    expect(feed).to_contain_text("answer 77, the Needle")
    page.wait_for_function("CSS.highlights.get('found')?.size > 0")
    take_screenshot("conversation")
    link = page.url
    leave(page)
    page.goto(link)
    expect(feed).to_contain_text("answer 77, the Needle")
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.get_by_role("complementary")).to_contain_text("question 78")


# What has the focus after so many keys, between which the page renders, but paints no frame.
GO_DOWN: Final = """async (times) => {
    for (let n = 0; n < times; n++) {
        const down = new KeyboardEvent("keydown", { key: "j", bubbles: true, cancelable: true });
        document.activeElement.dispatchEvent(down);
        for (let rendered = 0; rendered < 9; rendered++) await null;
    }
    return document.activeElement.textContent;
}"""


@pytest.mark.exhaustive  # only another build can break it
def test_list_comes_back_at_the_row_that_was_opened(signed_in: Page, project: Project) -> None:
    page, at_edge, further = signed_in, 18, 24
    for number in range(further + 9):
        at = (START + timedelta(seconds=number)).isoformat()
        project.send(
            "/traces", {"name": f"trace {number:02}", "started_at": at, "session_id": str(number)}
        )
    # The row at the lower edge is drawn after the first paint, while those above it stay.
    for view, name, opened in (("traces", "trace {:02}", at_edge), ("sessions", "{}", further)):
        page.goto(project.path(f"{view}?sort_order=asc"))
        link = page.get_by_role("link", name=name.format(opened), exact=True)
        expect(page.get_by_role("link", name=name.format(0), exact=True)).to_be_visible()
        assert page.evaluate(GO_DOWN, opened + 1) == name.format(opened)
        page.keyboard.press("Enter")
        expect(link).to_have_count(0)
        page.go_back()
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
        page.keyboard.press("j")
        other = page.get_by_role("link", name=name.format(opened + 1), exact=True)
        expect(other).to_be_focused()
        other.click()
        expect(other).to_have_count(0)
        page.locator("a.back").click()
        expect(page.get_by_role("link", name=name.format(opened + 1), exact=True)).to_be_visible()
    # The one that was read last, also if the keys led to it from another.
    page.goto(project.path("traces?sort_order=asc"))
    expect(page.get_by_role("link", name="trace 00")).to_be_visible()
    for key, name in (("j", "Traces"), ("Enter", "trace 00"), ("]", "trace 01")):
        page.keyboard.press(key)
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("link", name="All traces").click()
    expect(page.get_by_role("link", name="trace 01")).to_be_focused()


LONG = "S" * 200


@pytest.mark.exhaustive  # only another build can break it
def test_long_values_leave_room_and_addresses_of_nothing_say_so(
    signed_in: Page, project: Project
) -> None:
    page, hour = signed_in, timedelta(hours=1)
    last = span(2, started_at=(START + hour).isoformat(), ended_at=(START + hour).isoformat())
    usage = {"token_usage": {"prompt_tokens": 10, "completion_tokens": 2}}
    sent = {"name": "x", "started_at": START.isoformat(), "session_id": LONG, "user_id": LONG}
    sent["tags"] = ["t" * 90]
    spans = [span(1, kind="LLM", **usage), last]
    trace = project.send("/traces", sent | {"spans": spans})["trace_id"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(project.path(f"traces?session_id={LONG}"))
    expect(page.get_by_role("link", name="x", exact=True)).to_be_visible()
    drop = page.get_by_role("button", name="Drop the filter session")
    expect(drop).to_be_in_viewport()
    show(page, project, f"traces/{trace}")
    expect(page.get_by_text("More", exact=True)).to_be_in_viewport(ratio=1)
    show(page, project, f"traces?session_id={LONG}")
    drop.click()
    expect(page).to_have_url(project.path("traces"))
    page.set_viewport_size(VIEWPORT)
    show(page, project, f"traces/{trace}?span={spans[0]['span_id']}")
    detail = page.get_by_role("region", name="Detail of the selection")
    expect(detail).to_contain_text("step 1")
    # The name of a fact stays in one line, and a bar at the end of the time within its grid.
    heights = "all => all.map((one) => one.getBoundingClientRect().height)"
    lines = page.locator(".trace-head dt").evaluate_all(heights)
    assert max(lines) < 2 * min(lines)
    grid = page.get_by_role("treegrid").bounding_box()
    bar = page.locator(".tg-bar").last.bounding_box()
    assert grid is not None
    assert bar is not None
    assert bar["x"] + bar["width"] < grid["x"] + grid["width"] - 1  # its border
    expect(detail).to_contain_text("12 tokens")
    show(page, project, f"traces/{trace}?span=gone")
    expect(detail).to_contain_text("This trace has no span gone.")
    for path in ("datasets/nothing", "monitors/nothing", f"runs/traces/{trace}"):
        show(page, project, path)
        expect(page.get_by_role("alert")).to_contain_text("Not here, or not yours")
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    for view in ("traces", ""):
        show(page, project, f"{view}?started_after=soon")
        expect(page.get_by_role("main")).to_contain_text("1 trace" if view else "Failed traces")


def test_two_tabs_show_two_organizations(
    signed_in: Page, project: Project, page: Page, dev_server: DevServer
) -> None:
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}
    with dev_server.client(**bearer) as http:
        other = http.post("/organizations", json={"name": "Second"}).json()["id"]
        made = http.post(f"/organizations/{other}/projects", json={"name": "second"}).json()
        head = bearer | {"X-Project-ID": made["id"], "X-Organization-ID": other}
        for name in ("theirs", "theirs too"):
            http.post("/traces", json={"name": name, "started_at": START.isoformat()}, headers=head)
    project.send("/traces", {"name": "ours", "started_at": START.isoformat()})
    page.goto(project.path("traces"))
    expect(page.get_by_role("link", name="ours")).to_be_visible()
    tab = page.context.new_page()
    tab.goto(f"{dev_server.url}/app/p/{made['id']}/traces")
    expect(tab.get_by_role("link", name="theirs", exact=True)).to_be_visible()
    page.get_by_role("link", name="ours").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ours")
    tab.get_by_role("link", name="theirs", exact=True).click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("theirs")
    page.goto(project.path("traces"))
    expect(page.get_by_role("status").first).to_have_text("1 trace")


def end_sessions(server: DevServer) -> None:
    bearer = {"Authorization": f"Bearer {server.environ['PANDAPROBE_TOKEN']}"}
    with server.client(**bearer) as http:
        for one in http.get("/me/sessions").json():
            assert http.delete(f"/me/sessions/{one['id']}").is_success


def test_page_goes_on_after_its_session_was_ended_elsewhere(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    project.send("/traces", {"name": "kept", "started_at": START.isoformat()})
    page.goto(project.path("traces?name=kept"))
    expect(page.get_by_role("link", name="kept")).to_be_visible()
    end_sessions(dev_server)
    # Not by a link, which is gone if a poll of the page has found out already.
    page.evaluate(FOLLOW, project.path("users"))
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Continue as developer").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Users")


def test_refusal_that_comes_after_the_sign_in_does_not_end_the_session(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    project.send("/traces", {"name": "kept", "started_at": START.isoformat()})
    page.goto(project.path(NOTHING))
    expect(page.get_by_text("No page has this address")).to_be_visible()
    end_sessions(dev_server)
    late: list[tuple[Route, APIResponse]] = []
    volume = f"{dev_server.url}/traces/analytics?metric=latency**"
    page.route(volume, lambda route: late.append((route, route.fetch())), times=1)
    overview = "?started_after=2026-03-01T00:00:00Z&started_before=2026-03-02T00:00:00Z"
    page.evaluate(FOLLOW, project.path(overview))
    expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Continue as developer").press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    [(route, refusal)] = late
    assert refusal.status == HTTPStatus.UNAUTHORIZED
    route.fulfill(response=refusal)
    expect(page.get_by_role("figure", name="Traces and failures")).to_be_visible()


def test_what_is_typed_stays_when_the_session_ends(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    page.goto(project.path("datasets"))
    page.get_by_role("button", name="New dataset …").click()
    dialog = page.get_by_role("dialog", name="New dataset")
    dialog.get_by_label("Name").fill("capitals")
    dialog.get_by_label("Description").fill("Of all countries")
    end_sessions(dev_server)
    dialog.get_by_role("button", name="Create").click()
    again = page.get_by_role("dialog", name="Sign in")
    expect(again.get_by_text("The session has ended")).to_be_visible()
    # Who finds the page open sees nothing of it.
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Of all countries")).to_have_count(0)
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.get_by_text(project.name).first).to_be_hidden()
    for _ in range(2):
        page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(again.get_by_role("button", name="Continue as developer")).to_be_focused()
    page.keyboard.press("Enter")
    expect(again).to_have_count(0)
    expect(dialog.get_by_label("Name")).to_have_value("capitals")
    expect(dialog.get_by_role("alert")).to_contain_text("Try it again")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("capitals")
    expect(page.get_by_text("Of all countries")).to_be_visible()
    assert project.read("/datasets/capitals")["description"] == "Of all countries"


@pytest.mark.exhaustive  # only another build can break it
def test_list_stays_while_the_service_is_away(
    signed_in: Page, project: Project, fast_forward: FastForward
) -> None:
    page = signed_in
    project.send("/traces", {"name": "before", "started_at": START.isoformat()})
    page.goto(project.path("traces?live=1"))
    expect(page.get_by_role("link", name="before")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_text("What you see is from before")).to_be_visible()
    project.send(
        "/traces", {"name": "meanwhile", "session_id": "new", "started_at": START.isoformat()}
    )
    page.context.set_offline(False)
    fast_forward(AWAY_POLL_MS)
    expect(page.get_by_role("link", name="new")).to_be_visible()
    expect(page.get_by_text("What you see")).to_have_count(0)


@pytest.mark.exhaustive  # only another build can break it
def test_parts_of_a_page_come_when_the_service_is_back(
    signed_in: Page, project: Project, fast_forward: FastForward
) -> None:
    page, banner = signed_in, signed_in.get_by_text("What you see is from before")
    # Other tests of this context have read the files of these parts.
    page.context.new_cdp_session(page).send("Network.clearBrowserCache")
    sent = {"name": "before", "started_at": START.isoformat(), "input": "# A heading\n\n**text**"}
    trace = project.send("/traces", sent)["trace_id"]
    page.goto(project.path("traces"))
    expect(page.get_by_role("link", name="before")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Export …").click()
    expect(banner).to_be_visible()
    page.context.set_offline(False)
    fast_forward(AWAY_POLL_MS)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.goto(project.path(f"traces/{trace}?as=raw"))
    box = page.get_by_role("region", name="Input")
    expect(box).to_contain_text("# A heading")
    page.context.set_offline(True)
    box.get_by_role("button", name="Markdown").click()
    expect(banner).to_be_visible()
    expect(box).to_contain_text("# A heading")
    page.context.set_offline(False)
    fast_forward(AWAY_POLL_MS)
    expect(box.get_by_role("heading", name="A heading")).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
def test_part_comes_after_its_connection_was_lost(signed_in: Page, project: Project) -> None:
    """Another answer comes at once, before anything says that the service is away."""
    page, first = signed_in, list[Route]()
    sent = {"name": "both", "started_at": START.isoformat(), "input": "asked", "output": "said"}
    trace = project.send("/traces", sent)["trace_id"]

    def answer(route: Route) -> None:
        first.append(route)
        if len(first) == 2:
            first[0].abort("connectionreset")
            first[1].fulfill(body='"said"', content_type="application/json")
        elif len(first) > 2:
            route.continue_()

    page.route(re.compile(rf"/traces/{trace}/(input|output)$"), answer)
    page.goto(project.path(f"traces/{trace}"))
    expect(page.get_by_role("region", name="Input")).to_contain_text("asked")
    expect(page.get_by_role("region", name="Output")).to_contain_text("said")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_matching_traces_are_exported_and_scored(
    signed_in: Page, project: Project, poll: Poll, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    for number in range(3):
        project.send(
            "/traces", answer(number + 1, START + timedelta(minutes=number), 2, user_id="ada")
        )
    project.send("/traces", {"name": "other", "started_at": START.isoformat()})
    page.goto(project.path("traces?name=answers"))
    expect(page.get_by_role("status").first).to_have_text("3 traces")
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("Name of this view").fill("my answers")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Export …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Export 3 traces").click()
    poll("/traces/exports", all_completed(1))
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download", exact=True).click()
    lines = download.value.path().read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["answers"] * 3
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Select answers").first.check()
    selected = page.get_by_role("region", name="Selected traces")
    selected.get_by_role("button", name="Select all 3").click()
    selected.get_by_role("button", name="Export").click()
    expect(dialog.get_by_role("button", name="selected trace")).to_have_count(0)
    dialog.get_by_role("button", name="Export 3 traces").click()
    poll("/traces/exports", all_completed(2))
    expect(dialog.get_by_role("button", name="Download", exact=True)).to_have_count(2)
    page.keyboard.press("Escape")
    selected.get_by_role("button", name="Clear").click()
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    selected.get_by_role("button", name="Score").click()
    expect(dialog.get_by_role("radio", name="2 selected traces")).to_be_checked()
    dialog.get_by_role("checkbox", name="output_degeneration").check()
    expect(dialog.get_by_role("region", name="Estimate")).to_contain_text("heuristic")
    take_screenshot("estimate")
    dialog.get_by_role("button", name="Start the run").click()
    poll("/evaluations/trace-runs", all_completed(1))
    expect(dialog).to_contain_text("Traces done2 of 2")
    expect(page).to_have_url(re.compile("run="))
    page.reload()
    expect(dialog).to_contain_text("completed: output_degeneration")
    page.keyboard.press("Escape")
    show(page, project, "traces")
    expect(page.get_by_role("status").first).to_have_text("4 traces")
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("link", name="my answers").click()
    expect(page.get_by_role("status").first).to_have_text("3 traces")


def test_user_is_erased_with_a_receipt(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    for user in ("ada", "grace", "ada"):
        project.send("/traces", {"name": "one", "user_id": user, "started_at": START.isoformat()})
    page.goto(project.path("users"))
    page.get_by_role("button", name="Erase ada").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This deletes 2 traces")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Erase …").click()
    erase = dialog.get_by_role("button", name="Erase 2 traces")
    expect(erase).to_be_disabled()
    dialog.get_by_role("textbox").fill("ada")
    erase.click()
    expect(dialog).to_contain_text("2 traces")
    expect(dialog).to_contain_text("SHA-256 of the receipt")
    dialog.get_by_role("button", name="Check that nothing is left").click()
    expect(dialog).to_contain_text("nothing is left")
    take_screenshot("receipt")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Erase grace")).to_be_visible()
    expect(page.get_by_role("button", name="Erase ada")).to_have_count(0)
    page.get_by_role("button", name="Receipts").click()
    expect(dialog.get_by_text("user, ")).to_be_visible()


# The time at which the first row was painted. It is asked before the rows can come.
SHOWN = """() => {
  globalThis.shownAt = new Promise((tell) => {
    new MutationObserver((_, self) => {
      if (document.querySelector("tbody tr[data-index]") === null) return;
      self.disconnect();
      requestAnimationFrame(() => setTimeout(() => tell(performance.now())));
    }).observe(document, { childList: true, subtree: true });
  });
}"""
STARTED = """async () => {
  const shown = await shownAt;
  const all = performance.getEntriesByType("resource");
  return all.filter((one) => one.startTime <= shown).map((one) => one.name);
}"""


def test_first_rows_need_six_requests(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    project.send("/traces", {"name": "one", "started_at": datetime.now(UTC).isoformat()})
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"{dev_server.url}/traces?**", hold)
    with page.expect_request(f"{dev_server.url}/traces?**"):
        page.goto(project.path("traces"))
    page.evaluate(SHOWN)
    for one in held:
        one.continue_()
    expect(page.get_by_role("link", name="one")).to_be_visible()
    expect(page.get_by_role("img", name="1 trace in 30 days")).to_be_visible()  # it comes later
    started = page.evaluate(STARTED)
    assert any("/traces?" in one for one in started)
    assert 1 + len(started) <= FIRST_REQUESTS_MAX, started


@pytest.mark.exhaustive  # only another build can break it
def test_rows_that_come_take_the_focus_from_no_control(
    signed_in: Page, project: Project, dev_server: DevServer
) -> None:
    page = signed_in
    for name in ("one", "two"):
        sent = project.send("/traces", {"name": name, "started_at": datetime.now(UTC).isoformat()})
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route(f"{dev_server.url}/traces?**", hold)
    with page.expect_request(f"{dev_server.url}/traces?**"):
        page.goto(project.path(f"traces?peek={sent['trace_id']}"))
    page.get_by_text("Columns", exact=True).click()
    for route in held:
        route.continue_()
    page.unroute(f"{dev_server.url}/traces?**")
    rows = {name: page.get_by_role("link", name=name, exact=True) for name in ("one", "two")}
    expect(rows["two"]).to_be_visible()
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => setTimeout(go)))")
    expect(page.get_by_role("checkbox", name="Status")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(rows["one"]).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("name:two")
    page.keyboard.press("Enter")
    expect(rows["one"]).to_have_count(0)
    expect(rows["two"]).to_be_visible()
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => setTimeout(go)))")
    expect(page.get_by_role("combobox", name="Filter traces")).to_be_focused()


def test_model_calls_are_read_in_order_and_scored(
    signed_in: Page, project: Project, poll: Poll
) -> None:
    page = signed_in
    said = [{"role": "user", "content": f"question {number}"} for number in range(4)]
    calls = [
        span(number, name="ask", kind="LLM", input={"messages": said[: number + 2]}, output="yes")
        for number in (1, 2)
    ]
    late = span(4, name="late", kind="LLM", ended_at=None)
    spans = [*calls, span(3), late]
    body = {"name": "chat", "started_at": START.isoformat(), "status": "RUNNING", "spans": spans}
    sent = project.send("/traces", body)
    page.goto(project.path(f"traces/{sent['trace_id']}"))
    page.get_by_role("button", name="Model calls").click()
    feed = page.get_by_role("feed", name="Model calls")
    expect(
        feed.get_by_role("article").filter(has=page.get_by_role("button", name="ask"))
    ).to_have_count(2)
    expect(feed).to_contain_text("same as in the call before")
    running = feed.get_by_role("article").filter(has=page.get_by_role("button", name="late"))
    expect(running).to_contain_text("—")
    expect(running).not_to_contain_text("0 ms")
    running.get_by_role("button", name="late").click()
    output = page.get_by_role("region", name="Output", exact=True)
    expect(output).to_contain_text("none")
    path = f"/traces/{sent['trace_id']}"
    project.send(f"{path}/spans", [span(4, name="late", kind="LLM", output="at last")])
    poll(path, lambda trace: trace["spans"][-1]["output"] is not None)
    expect(output).to_contain_text("at last")
    page.get_by_role("button", name="Whole trace").click()
    expect(output).to_contain_text("none")
    change = {"status": "COMPLETED", "output": "all of it"}
    project.send(path, change, method="PATCH")
    poll(path, lambda trace: trace["status"] == "COMPLETED")
    expect(output).to_contain_text("all of it")
    feed.get_by_role("button", name="ask").last.click()
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    page.get_by_role("button", name="Previous span of this name").click()
    expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()
    page.get_by_role("tab", name="Scores").click()
    page.keyboard.press("s")
    dialog = page.get_by_role("dialog", name="Score the span")
    dialog.get_by_label("Name").fill("helpful")
    dialog.get_by_label("Value").fill("0.75")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", name="helpful")).to_contain_text("0.75")


def test_read_only_key_sees_which_scopes_it_lacks(
    page: Page, project: Project, dev_server: DevServer
) -> None:
    project.send("/traces", {"name": "seen", "user_id": "ada", "started_at": START.isoformat()})
    bearer = {"Authorization": f"Bearer {dev_server.environ['PANDAPROBE_TOKEN']}"}
    with dev_server.client(**bearer) as http:
        oldest = min(http.get("/organizations").json(), key=lambda one: one["created_at"])
        path = f"/organizations/{oldest['id']}/api-keys"
        made = http.post(path, json={"name": "reader", "scopes": ["read"]}).json()
    page.goto(project.path("traces"))
    page.get_by_role("radio", name="API key").check()
    page.get_by_label("API key", exact=True).last.fill(made["raw_key"])
    page.get_by_role("button", name="Sign in with the key").click()
    page.get_by_role("checkbox", name="Select seen").check()
    acts = page.get_by_role("region", name="Selected traces")
    for name in ("Tag …", "Delete …"):
        expect(acts.get_by_role("button", name=name)).to_be_disabled()
    expect(acts.get_by_title("It needs the scope ingest").first).to_be_visible()
    page.get_by_role("link", name="seen").click()
    expect(page.get_by_role("button", name="Score …")).to_be_disabled()
    page.get_by_role("link", name="Users").click()
    expect(page.get_by_role("button", name="Erase ada")).to_be_disabled()
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("button", name="New price …")).to_be_disabled()
    expect(page.get_by_text("of the organization need a person")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_projects_are_found_and_made(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    now = datetime.now(UTC)
    for status in ("COMPLETED", "COMPLETED", "COMPLETED", "ERROR"):
        project.send("/traces", {"name": "one", "status": status, "started_at": now.isoformat()})
    page.goto(f"{project.server.url}/app/?all=1")
    card = page.get_by_role("link", name=project.name)
    expect(card).to_contain_text("4 traces in 24 h, 25 % failed")
    expect(card).to_contain_text("last trace")
    expect(card).to_contain_text("$0.00 in 7 days")
    expect(card.get_by_role("img", name="4 traces in 7 days")).to_be_visible()
    take_screenshot("projects")
    page.keyboard.press("/")
    page.keyboard.type(project.name[:-1])
    expect(page.get_by_role("listitem").filter(has=page.locator(".card"))).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("4 traces")
    page.keyboard.press("g")
    page.keyboard.press("h")
    page.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog", name="New project")
    dialog.get_by_label("Name").fill(project.name)  # first, since it waits for the dialog
    if len(project.organizations()) > 1:  # other tests make more of them
        dialog.get_by_label("Organization").select_option(project.organization)
    dialog.get_by_role("button", name="Make the project").click()
    expect(dialog.get_by_role("alert")).to_be_visible()  # the name is taken
    dialog.get_by_label("Name").fill(f"{project.name}-new")
    dialog.get_by_role("button", name="Make the project").click()
    expect(page.get_by_text("Waiting for the first trace")).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
def test_columns_are_moved_hidden_and_kept(signed_in: Page, project: Project) -> None:
    page = signed_in
    for number in (1, 2):
        ended = (START + timedelta(seconds=number)).isoformat()
        sent = {"name": f"takes {number}", "started_at": START.isoformat(), "ended_at": ended}
        text = {"input": "asked at length " * 9, "output": "answered at length " * 9}
        trace = project.send("/traces", sent | text)["trace_id"]
        for name in ("faithful to its sources", "helpful"):
            score = {"trace_id": trace, "name": name, "value": "0.25"}
            project.send("/evaluations/trace-scores", score)
    page.goto(project.path("traces"))
    heads = page.get_by_role("columnheader")
    expect(page.get_by_role("link", name="takes 1")).to_be_visible()
    expect(page.get_by_text("of 2", exact=True).first).to_be_visible()  # one score fits
    for width in (1440, 1280):
        page.set_viewport_size({"width": width, "height": 720})
        sizes = "one => [one.scrollWidth, one.clientWidth]"
        inner, outer = page.locator(".table").evaluate(sizes)
        assert inner == outer, f"the usual columns don't fit {width} px"

    def act(column: str, label: str) -> None:
        page.get_by_role("button", name=f"Column {column}").click()
        page.get_by_role("menuitem", name=label).click()

    act("Latency", "Sort ascending")
    expect(page.get_by_role("row").nth(1)).to_contain_text("takes 1")
    expect(page).to_have_url(re.compile("sort_by=latency&sort_order=asc"))
    names = [one.split("\n")[0].split("⋮")[0].strip(" ↑↓") for one in heads.all_inner_texts()]
    at = names.index("Latency")
    act("Latency", "Move to the left")
    act("Errors", "Hide")
    page.reload()
    expect(heads.nth(at - 1)).to_contain_text("Latency")
    expect(page.get_by_role("button", name="Column Errors")).to_have_count(0)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="Errors").check()
    page.get_by_role("button", name="Usual order").click()
    expect(heads.nth(at)).to_contain_text("Latency")
    page.get_by_role("button", name="Column Name").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("menuitem", name="Narrower")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Column Name")).to_be_focused()
    expect(page.get_by_role("menu")).to_have_count(0)


@pytest.mark.exhaustive  # only another build can break it
def test_widths_of_columns_are_kept(signed_in: Page, project: Project) -> None:
    page = signed_in
    text = {"input": "asked at length " * 30}
    project.send("/traces", {"name": "one", "started_at": START.isoformat()} | text)
    page.goto(project.path("traces"))
    cell = page.get_by_role("row").nth(1).locator("td.c-preview").first

    def width() -> float:
        box = cell.bounding_box()
        assert box is not None
        return box["width"]

    usual = width()
    page.get_by_role("button", name="Column Input").click()
    wider = page.get_by_role("menuitem", name="Wider")
    wider.click()
    wider.click()  # the menu stays
    expect(cell).to_have_css("min-width", f"{usual + 80:.0f}px")
    page.reload()
    expect(cell).to_have_css("min-width", f"{usual + 80:.0f}px")
    assert width() == pytest.approx(usual + 80, abs=1)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("button", name="Usual order and widths").click()
    assert width() == pytest.approx(usual, abs=1)


@pytest.mark.exhaustive  # only another build can break it
def test_key_filters_by_the_focused_cell(signed_in: Page, project: Project) -> None:
    page = signed_in
    for name, user in (("asks", "ada"), ("answers", "bob")):
        sent = {"name": name, "user_id": user, "started_at": START.isoformat()}
        project.send("/traces", sent)
    page.goto(project.path("traces"))
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="User").check()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="asks").focus()
    page.keyboard.press("f")
    expect(page).to_have_url(re.compile(r"names=asks$"))
    expect(page.get_by_role("link", name="answers")).to_have_count(0)
    page.go_back()
    page.get_by_role("button", name="bob").focus()
    page.keyboard.press("Shift+F")
    expect(page).to_have_url(re.compile(r"not_user_id=bob$"))
    expect(page.get_by_role("link", name="asks")).to_be_visible()
    expect(page.get_by_role("link", name="answers")).to_have_count(0)


@pytest.mark.exhaustive  # only another build can break it
def test_menus_close_by_escape_and_by_what_is_chosen(signed_in: Page, project: Project) -> None:
    page = signed_in
    project.send("/traces", {"name": "one", "started_at": START.isoformat()})
    page.goto(project.path("traces"))
    columns, views = page.get_by_text("Columns", exact=True), page.get_by_text("Views", exact=True)
    name = page.get_by_label("Name of this view")
    columns.click()
    expect(page.get_by_role("checkbox", name="Errors")).to_be_checked()
    views.click()
    expect(page.get_by_role("checkbox", name="Errors")).to_have_count(0)
    name.fill("all")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="all", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(name).to_be_hidden()
    expect(views).to_be_focused()
    page.keyboard.press("Enter")
    expect(name).to_be_visible()
    page.get_by_role("heading", name="Traces").click()
    expect(name).to_be_hidden()
    page.get_by_role("link", name="one", exact=True).click()
    more = page.get_by_text("More", exact=True)
    more.click()
    page.get_by_role("button", name="Copy id").click()
    expect(page.get_by_role("button", name="Copy id")).to_be_hidden()
    expect(more).to_be_focused()


@pytest.mark.exhaustive  # only another build can break it
def test_menus_and_peeks_fit_into_what_is_narrow(signed_in: Page, project: Project) -> None:
    page = signed_in
    sent = {"name": "one", "started_at": START.isoformat()}
    spans = [span(1, name="fails " * 20, status="ERROR"), span(2)]
    trace = project.send("/traces", sent | {"spans": spans})["trace_id"]
    page.set_viewport_size({"width": 1024, "height": 768})
    page.goto(project.path(f"traces?peek={trace}"))
    # A menu closes when the focus leaves it, and rows take the focus once they are there.
    listed = page.get_by_role("link", name="one", exact=True)
    step = page.get_by_role("row", name="step 2")
    expect(listed).to_be_visible()
    expect(step).to_be_visible()
    columns = page.get_by_text("Columns", exact=True)
    columns.click()
    expect(page.get_by_role("checkbox", name="Status")).to_be_in_viewport(ratio=1)
    numbers = step.get_by_role("gridcell").nth(1)
    others = page.get_by_role("row", name="fails").get_by_role("gridcell").nth(1)
    left = "one => one.getBoundingClientRect().left"
    assert others.evaluate(left) == numbers.evaluate(left)
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, project, "traces")
    expect(listed).to_be_visible()
    columns.click()
    expect(page.get_by_role("checkbox", name="Status")).to_be_in_viewport(ratio=1)
    show(page, project, f"traces/{trace}")
    expect(page.get_by_role("treegrid")).to_be_focused()
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("button", name="Copy id")).to_be_in_viewport(ratio=1)


def test_trace_is_downloaded_with_its_scores(signed_in: Page, project: Project) -> None:
    page = signed_in
    tags = ["Paris, France", "vip"]
    body = {"name": "exact", "started_at": START.isoformat(), "input": "@", "tags": tags}
    exact = json.dumps(body).replace('"@"', "[1.0, 1e2, 107505301260286111]")
    sent = project.send("/traces", exact)
    score = {"trace_id": sent["trace_id"], "name": "helpful", "value": "0.5"}
    project.send("/evaluations/trace-scores", score)
    page.goto(project.path(f"traces/{sent['trace_id']}"))
    page.get_by_role("button", name="Edit tags").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved the tags")).to_be_visible()
    assert project.read(f"/traces/{sent['trace_id']}")["tags"] == tags
    page.get_by_text("More", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON").click()
    text = download.value.path().read_text()
    assert "[1.0, 1e2, 107505301260286111]" in text
    assert json.loads(text)["scores"][0]["name"] == "helpful"
    project.send("/traces/batch/delete", {"trace_ids": [sent["trace_id"]]})
    page.get_by_role("tab", name="Metadata").click()
    expect(page.get_by_role("alert")).to_contain_text("Trace not found")  # it isn't empty


def test_sessions_show_what_they_began_with_and_their_scores(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    sent = {"name": "turn", "session_id": "s", "started_at": START.isoformat()}
    project.send("/traces", sent | {"input": "Where is it?"})
    project.send(
        "/evaluations/session-scores", {"session_id": "s", "name": "consistent", "value": "0.75"}
    )
    page.goto(project.path("sessions"))
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("Where is it?")
    expect(row).to_contain_text("consistent 0.75")


def test_reads_wait_as_long_as_the_service_asks(
    signed_in: Page, project: Project, fast_forward: FastForward
) -> None:
    page = signed_in
    project.send("/traces", {"name": "patience", "started_at": START.isoformat()})
    refused = json.dumps({"detail": "Too many requests"})
    left = [True] * 5  # more than a read is repeated by itself

    def limit(route: Route) -> None:
        if left:
            left.pop()
            route.fulfill(status=429, headers={"Retry-After": "1"}, body=refused)
        else:
            route.continue_()

    rows = re.compile(r"/traces\?.*include=preview")
    page.route(rows, limit)
    page.goto(project.path("traces"))
    expect(page.get_by_text("The service asks to wait")).to_be_visible()
    while len(left) > 1:  # until the read is repeated no more by itself
        with page.expect_response(rows):
            fast_forward(ASKED_MS)
    expect(page.get_by_role("button", name="Try again now, or in")).to_be_visible()
    while left:
        with page.expect_response(rows):
            fast_forward(ASKED_MS)
    fast_forward(ASKED_MS)
    expect(page.get_by_role("link", name="patience")).to_be_visible()
    assert left == []
    expect(page.get_by_text("The service asks to wait")).to_have_count(0)


@pytest.mark.exhaustive  # only another build can break it
def test_lists_fit_and_cut_no_value_of_a_score(signed_in: Page, project: Project) -> None:
    page = signed_in
    sent = {"session_id": "conv-b5b9ad082762", "user_id": "user-000077", "tags": ["extraction"]}
    sent |= {"name": "answer-question", "started_at": START.isoformat()}
    spans = [span(1, model="gpt-4o", token_usage={"prompt_tokens": 14_568})]
    ended = (START + timedelta(seconds=90)).isoformat()
    trace = project.send("/traces", sent | {"ended_at": ended, "spans": spans})["trace_id"]
    score = {"name": "a_name_of_a_metric_that_is_long", "value": "0.025"}
    project.send("/evaluations/trace-scores", score | {"trace_id": trace})
    project.send("/evaluations/session-scores", score | {"session_id": "conv-b5b9ad082762"})
    for listed in ("traces", "sessions"):
        show(page, project, listed)
        badge = page.get_by_role("row").get_by_title("0.025").locator(".score")
        expect(badge).to_be_visible()
        fits = "one => one.scrollWidth <= one.clientWidth"
        assert badge.evaluate(fits)
        assert page.locator(".table").evaluate(fits)


# How many rows the first drawing of a list has.
FIRST_ROWS: Final = """() => new MutationObserver((_, self) => {
  window.firstRows = document.querySelectorAll("tr[data-index]").length;
  if (window.firstRows > 0) self.disconnect();
}).observe(document, { childList: true, subtree: true })"""
IN_SIGHT: Final = """(table) => Math.floor((table.clientHeight
  - table.querySelector("thead").clientHeight) / table.querySelector("tbody tr").clientHeight)"""


@pytest.mark.exhaustive  # only another build can break it
def test_list_draws_at_once_what_is_in_sight(signed_in: Page, project: Project) -> None:
    """Rows that come later move what is below them."""
    page = signed_in
    sent = {"name": "one", "started_at": START.isoformat()}
    traces = [sent | {"session_id": f"session {number}"} for number in range(40)]
    project.send("/traces/batch", {"traces": traces})
    page.goto(project.path(NOTHING))
    expect(page.get_by_text("No page has this address")).to_be_visible()
    page.evaluate(FIRST_ROWS)
    page.evaluate(FOLLOW, project.path("sessions"))
    expect(page.get_by_role("link", name="session 2").first).to_be_visible()
    assert page.evaluate("window.firstRows") >= page.locator(".table").evaluate(IN_SIGHT)


def test_scores_of_all_targets_come_together(signed_in: Page, project: Project) -> None:
    """Each would move those below it."""
    page = signed_in
    trace = project.send("/traces", {"name": "one", "started_at": START.isoformat()})["trace_id"]
    score = {"trace_id": trace, "name": "helpful", "value": "0.5"}
    project.send("/evaluations/trace-scores", score)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile("session-scores/summary"), hold)
    with page.expect_response(re.compile("trace-scores/summary")):
        page.goto(project.path("scores"))
    expect(page.get_by_text("Loading scores")).to_be_visible()
    expect(page.get_by_role("region", name="Scores of traces")).to_have_count(0)
    for route in held:
        route.continue_()
    page.unroute_all()
    expect(page.get_by_role("link", name="helpful")).to_be_visible()
    expect(page.get_by_role("region", name="Scores of sessions")).to_be_visible()
