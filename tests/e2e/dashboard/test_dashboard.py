"""The dashboard in a browser, as a person uses it: by keyboard, by links, and without a network."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import DevServer, Poll
from tests.e2e.dashboard.browser import PageLog, leave
from tests.e2e.dashboard.dashboard_project import START, Project, show, span

pytestmark = pytest.mark.e2e
SPANS = 10_000  # of the large trace
ELEMENTS_MAX = 1_500  # in the page, whatever the trace
EXACT = '{"a": 1.0, "b": 1e2, "c": 107505301260286111}'
PYTHON = "{'city': None}"  # as some programs write the arguments of a call
HOSTILE = (
    "<img src=x onerror=\"document.title='hit'\"> [link](javascript:alert(1)) ![i](http://x.test/i)"
)

LIVE_PAGE = 50  # traces that a poll of the list reads


def test_first_trace_is_opened_when_it_comes(
    signed_in: Page, project: Project, poll: Poll, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    page.goto(project.path("traces"))
    expect(page.get_by_text("Waiting for the first trace")).to_be_visible()
    url = project.server.url
    ways = {
        "curl": f"{url}/traces",
        "Python": "pandaprobe.init()",
        "TypeScript": "await flush()",
        "OpenTelemetry": f"OTEL_EXPORTER_OTLP_ENDPOINT={url}",
        "Environment": f"PANDAPROBE_ENDPOINT={url}",
    }
    for way, words in ways.items():
        page.get_by_role("tab", name=way).click()
        expect(page.get_by_role("tabpanel")).to_contain_text(words)
    take_screenshot("first-trace")
    # The view's own poll is held until the list's poll has answered.
    own_poll = re.compile(r"/traces\?limit=1$")
    page.route(own_poll, lambda route: None)
    with page.expect_response(re.compile(r"/traces\?include=")):
        project.send("/traces", {"name": "hello", "started_at": START.isoformat(), "input": "hi"})
        poll("/traces", lambda page: page["total"] == 1)
    page.unroute(own_poll)
    expect(page.get_by_role("heading", level=1)).to_have_text("hello")
    page.goto(project.path("traces?live=1"))
    expect(page.get_by_role("link", name="hello")).to_be_visible()
    project.send("/traces", {"name": "live", "started_at": datetime.now(UTC).isoformat()})
    poll("/traces", lambda page: page["total"] == 2)
    expect(page.get_by_role("link", name="live", exact=True)).to_be_visible()


def test_live_list_is_that_of_the_service(signed_in: Page, project: Project, poll: Poll) -> None:
    page = signed_in
    now = datetime.now(UTC)

    def send(name: str, count: int) -> None:
        rows = [
            {"name": f"{name} {at}", "started_at": (now + timedelta(milliseconds=at)).isoformat()}
            for at in range(count)
        ]
        project.send("/traces/batch", {"traces": rows})

    def link(name: str) -> Locator:
        return page.get_by_role("link", name=name, exact=True)

    project.send("/traces", {"name": "first", "started_at": START.isoformat()})
    page.goto(project.path("traces?live=1"))
    expect(link("first")).to_be_visible()
    page.keyboard.press("j")
    send("few", 1)
    poll("/traces", lambda page: page["total"] == 2)
    expect(link("few 0")).to_be_visible()
    expect(page.locator("tr.at")).to_contain_text("first")  # the keys stay where they were
    page.keyboard.press("l")
    page.get_by_role("checkbox", name="Select few 0").check()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete 1 trace").click()
    expect(link("few 0")).to_have_count(0)
    page.get_by_role("button", name="Live").click()
    send("many", LIVE_PAGE + 1)
    poll("/traces", lambda page: page["total"] == LIVE_PAGE + 2)
    expect(link(f"many {LIVE_PAGE}")).to_be_visible()
    page.locator(".table").evaluate("(table) => table.scrollTo(0, table.scrollHeight)")
    expect(link("many 0")).to_be_visible()  # none is missing in between
    page.goto(project.path("traces?live=1&sort_by=latency"))
    live = page.get_by_role("button", name="Live")
    expect(live).to_be_disabled()
    expect(live).to_have_attribute("title", "Newest traces first only")


def test_from_failure_to_failing_span_by_keyboard(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    body = {
        "name": "answers",
        "status": "ERROR",
        "started_at": START.isoformat(),
        "ended_at": (START + timedelta(seconds=2)).isoformat(),
        "spans": [
            span(1, name="root", kind="AGENT"),
            span(2, parent_span_id=span(1)["span_id"], name="fine"),
            span(
                3,
                parent_span_id=span(1)["span_id"],
                name="broken",
                status="ERROR",
                error="the shelf is empty",
                input={"html": HOSTILE},
            ),
        ],
    }
    project.send("/traces", body)
    project.send(
        "/traces", {"name": "other", "started_at": START.isoformat(), "status": "COMPLETED"}
    )
    page.goto(project.path("traces"))
    expect(page.get_by_role("status").first).to_have_text("2 traces")
    page.keyboard.press("/")
    page.keyboard.type("status:e")
    options = page.get_by_role("listbox", name="Filters").get_by_role("option")
    expect(options.filter(has_text="ERROR")).to_have_text("status:ERROR1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("1 trace")
    expect(page).to_have_url(re.compile("status=ERROR"))
    page.keyboard.type("name:")
    expect(options).to_have_text("name=answers1")  # under the other filter
    page.keyboard.press("Escape")
    with page.expect_response(lambda answer: "/outline" in answer.url):
        page.get_by_role("link", name="answers").hover()
    page.get_by_role("combobox", name="Filter traces").focus()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("answers")
    expect(page.get_by_role("treegrid")).to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_role("row", selected=True)).to_contain_text("broken")
    expect(page.get_by_role("group", name="Error")).to_contain_text("the shelf is empty")
    expect(page.get_by_label("Input").first).to_contain_text("<img src=x")
    take_screenshot("failing-span")
    page.get_by_role("button", name="Tree", exact=True).click()
    expect(page.get_by_role("columnheader", name="Self")).to_be_visible()
    root = page.get_by_role("row", name="root").get_by_role("gridcell")
    expect(root.nth(1)).to_have_text("5 ms")
    expect(root.nth(2)).to_have_text("1 ms")  # until the first step begins
    page.get_by_role("button", name="Tree + time").click()
    page.keyboard.press("/")
    page.keyboard.type("img onerr")  # in the input alone
    expect(page.get_by_text("1 match", exact=True)).to_be_visible()
    expect(page.get_by_text("input: ")).to_contain_text("onerror")
    page.get_by_role("searchbox", name="Find spans").fill("")
    link = page.url
    leave(page)
    page.goto(link)
    expect(page.get_by_role("row", selected=True)).to_contain_text("broken")
    expect(page).to_have_title(re.compile("^answers"))


@pytest.mark.exhaustive  # only another build can break it
def test_keys_that_follow_each_other_at_once_choose_a_filter(
    signed_in: Page, project: Project
) -> None:
    """A render lies between the keys, as between those of a person, but no painted frame."""
    project.send("/traces", {"name": "answers", "started_at": START.isoformat()})
    signed_in.goto(project.path("traces"))
    signed_in.get_by_role("combobox", name="Filter traces").evaluate(
        """async (input) => {
            input.focus();
            input.value = "fail";
            input.dispatchEvent(new InputEvent("input", { bubbles: true }));
            for (const key of ["ArrowDown", "Enter"]) {
                await new Promise((resolve) => queueMicrotask(() => queueMicrotask(resolve)));
                input.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            }
        }"""
    )
    expect(signed_in).to_have_url(re.compile("has_error=true"))
    # What matches is not behind the list of filters, until that is asked for again.
    expect(signed_in.get_by_role("listbox")).to_have_count(0)
    signed_in.keyboard.press("ArrowDown")
    expect(signed_in.get_by_role("listbox")).to_be_visible()


def test_project_of_another_organization_is_shown(signed_in: Page, project: Project) -> None:
    bearer = {"Authorization": f"Bearer {project.server.environ['PANDAPROBE_TOKEN']}"}
    with project.server.client(**bearer) as http:
        other = http.post("/organizations", json={"name": "Another"}).json()["id"]
        made = http.post(f"/organizations/{other}/projects", json={"name": "elsewhere"})
        head = bearer | {"X-Project-ID": made.json()["id"], "X-Organization-ID": other}
        sent = {"name": "far away", "started_at": START.isoformat()}
        assert http.post("/traces", json=sent, headers=head).status_code == 202
    project.send("/traces", {"name": "near", "started_at": START.isoformat()})
    page = signed_in
    page.goto(project.path("traces"))
    page.get_by_role("checkbox", name="Select near").check()
    projects = page.get_by_label("Project", exact=True)
    projects.select_option("elsewhere")
    expect(page.get_by_role("link", name="far away")).to_be_visible()
    expect(page.get_by_role("region", name="Selected traces")).to_have_count(0)
    page.get_by_role("link", name="Sessions").click()
    projects.select_option(project.name)
    expect(page).to_have_url(project.path("sessions"))


def show_tags(page: Page) -> None:
    """Chooses the column, which is hidden by default."""
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="Tags").check()
    page.keyboard.press("Escape")


def test_selected_traces_are_tagged_and_deleted(signed_in: Page, project: Project) -> None:
    page = signed_in
    for name in ("one", "two", "three"):
        project.send("/traces", {"name": name, "started_at": START.isoformat()})
    page.goto(project.path("traces?sort_by=name&sort_order=asc"))
    expect(page.get_by_role("status").first).to_have_text("3 traces")
    show_tags(page)
    for key in ("j", "x", "j", "Shift+X"):
        page.keyboard.press(key)
    acts = page.get_by_role("region", name="Selected traces")
    expect(acts).to_contain_text("2 traces selected")
    page.get_by_role("button", name="Skip the rows").press("Enter")
    page.keyboard.press("Tab")
    expect(acts.get_by_role("button", name="Select all 3")).to_be_focused()
    acts.get_by_role("button", name="Tag").click()
    page.get_by_role("dialog").get_by_label("Tag to add").fill("vip")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="vip")).to_have_count(2)
    page.get_by_role("button", name="vip").first.click()
    expect(page).to_have_url(re.compile("[?&]tags=vip"))
    expect(page.get_by_role("status").first).to_have_text("2 traces")
    page.get_by_role("checkbox", name="Select one").check()
    acts.get_by_role("button", name="Select all 2").click()
    expect(acts).to_contain_text("All 2 traces that match selected")
    expect(page.get_by_role("checkbox", name="Select three")).to_be_checked()
    acts.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("button", name="Delete 2 traces").click()
    expect(page.get_by_text("No trace matches these filters")).to_be_visible()
    page.get_by_role("button", name="Drop all filters").click()
    expect(page.get_by_role("status").first).to_have_text("1 trace")


@pytest.mark.exhaustive  # only another build can break it
def test_values_are_excluded_in_lists(signed_in: Page, project: Project) -> None:
    page = signed_in
    bob = "bob%40x"  # as it is: no address is decoded twice
    users = {"one": ("ada", "vip"), "two": ("ada", "test"), "three": (bob, "test")}
    for name, (user, tag) in users.items():
        sent = {"name": name, "started_at": START.isoformat(), "tags": [tag]}
        project.send("/traces", sent | {"user_id": user, "session_id": name})
    status = page.get_by_role("status").first
    page.goto(project.path("traces"))
    show_tags(page)
    page.get_by_role("button", name="vip", exact=True).click(modifiers=["Shift"])
    expect(status).to_have_text("2 traces")
    expect(page).to_have_url(re.compile("not_tags=vip"))
    page.get_by_role("button", name="Filter by tag: vip").click()
    expect(status).to_have_text("1 trace")
    page.get_by_role("button", name="Exclude tag: vip").click()
    expect(status).to_have_text("2 traces")
    page.keyboard.press("/")
    page.keyboard.type("-user:b")
    expect(page.get_by_role("option", name=f"-user:{bob}")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="two", exact=True)).to_be_visible()
    expect(status).to_have_text("1 trace")
    page.reload()
    expect(page.get_by_text(f"not user: {bob}")).to_be_visible()
    expect(status).to_have_text("1 trace")
    show(page, project, "sessions")
    page.get_by_role("button", name=bob).click(modifiers=["Shift"])
    expect(status).to_have_text("2 sessions")
    page.get_by_role("button", name="test", exact=True).click(modifiers=["Shift"])
    expect(status).to_have_text("1 session")
    expect(page).to_have_url(re.compile("not_user_id=bob%2540x&not_tags=test"))


def test_numbers_are_shown_as_sent_and_found(signed_in: Page, project: Project) -> None:
    page = signed_in
    with_payload = json.dumps(span(1, name="exact", output="@")).replace('"@"', EXACT)
    call = {"type": "function", "function": {"name": "find", "arguments": PYTHON}}
    said = json.dumps(span(2, name="said", output={"role": "assistant", "tool_calls": [call]}))
    spans = f"[{with_payload}, {said}]"
    trace = f'{{"name": "exact", "started_at": "{START.isoformat()}", "spans": {spans}}}'
    sent = project.send("/traces", trace)
    page.goto(project.path(f"traces/{sent['trace_id']}?span={span(1)['span_id']}"))
    output = page.get_by_role("region", name="Output")
    for digits in ("1.0", "1e2", "107505301260286111"):
        expect(output).to_contain_text(digits)
    output.get_by_role("button", name="Raw").click()
    expect(output.locator("pre")).to_contain_text("107505301260286111")
    expect(page).to_have_url(re.compile("as=raw"))
    output.get_by_role("button", name="JSON").click()
    output.get_by_role("searchbox").fill("1e2")
    expect(output.locator(".found")).to_contain_text("1e2")
    page.get_by_role("row", name="said").click()
    output.get_by_role("button", name="Chat").click()  # arguments that aren't JSON are shown too
    expect(output).to_contain_text(PYTHON)


# While a grid is scrolled its elements come to show other rows: those that show a wrong one.
SCROLLED = """async () => {
  const grid = document.querySelector("[role=treegrid]"), wrong = [];
  for (let n = 0; n < 20; n++) {
    grid.scrollTop -= 240;
    await new Promise(requestAnimationFrame);
    for (const row of grid.querySelectorAll(".tg-row")) {
      const name = row.querySelector(".tg-text").textContent;
      if (name !== `step ${row.ariaRowIndex - 2}`) wrong.push(`${row.ariaRowIndex} ${name}`);
    }
  }
  return wrong;
}"""
IN_ORDER = """() => {
  const all = [...document.querySelectorAll(".tg-row")].map((row) => Number(row.ariaRowIndex));
  return all.every((row, at) => row === all[0] + at);
}"""


@pytest.mark.exhaustive  # only another build can break it
def test_trace_of_10_000_spans_is_shown_whole(
    signed_in: Page, project: Project, take_screenshot: Callable[[str], None]
) -> None:
    page = signed_in
    root = span(0, name="root", kind="AGENT", ended_at=(START + timedelta(seconds=11)).isoformat())
    sent = project.send(
        "/traces", {"name": "large", "started_at": START.isoformat(), "spans": [root]}
    )
    for first in range(1, SPANS, 2_500):
        spans = [
            span(number, parent_span_id=span(0 if number % 100 == 1 else number - 1)["span_id"])
            for number in range(first, min(SPANS, first + 2_500))
        ]
        project.send(f"/traces/{sent['trace_id']}/spans", spans)
    page.goto(project.path(f"traces/{sent['trace_id']}"))
    grid = page.get_by_role("treegrid")
    expect(grid).to_have_attribute("aria-rowcount", str(SPANS + 1))
    grid.press("End")
    expect(page.get_by_role("row", selected=True)).to_contain_text(f"step {SPANS - 1}")
    assert page.evaluate(SCROLLED) == []
    page.wait_for_function(IN_ORDER)  # as screen readers read them
    assert page.evaluate("document.getElementsByTagName('*').length") <= ELEMENTS_MAX
    page.keyboard.press("/")
    page.keyboard.type("step 5000")
    expect(page.get_by_text("1 match")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("row", selected=True)).to_contain_text("step 5000")
    take_screenshot("large-trace")
    assert page.evaluate("document.getElementsByTagName('*').length") <= ELEMENTS_MAX


PRESS = """(given) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...given }))"""


@pytest.mark.exhaustive  # only another build can break it
def test_keys_work_on_keyboards_of_other_scripts(signed_in: Page, project: Project) -> None:
    page = signed_in
    for number in range(2):
        started = START + timedelta(minutes=number)
        project.send("/traces", {"name": f"trace {number}", "started_at": started.isoformat()})
    page.goto(project.path("traces"))
    expect(page.get_by_role("link", name="trace 1")).to_be_visible()
    page.evaluate(PRESS, {"key": "о", "code": "KeyJ"})
    expect(page.get_by_role("link", name="trace 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()
    page.evaluate(PRESS, {"key": "[", "code": "Digit5", "altKey": True})  # German, on a Mac
    page.evaluate(PRESS, {"key": "]", "code": "Digit6", "altKey": True})
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    page.evaluate(PRESS, {"key": "л", "code": "KeyK", "ctrlKey": True})
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
def test_enter_of_an_input_method_adds_no_filter(signed_in: Page, project: Project) -> None:
    page = signed_in
    project.send("/traces", {"name": "東京の旅", "started_at": START.isoformat()})
    page.goto(project.path("traces"))
    expect(page.get_by_role("link", name="東京の旅")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.insert_text("東京")
    page.evaluate(PRESS, {"key": "Enter", "isComposing": True})
    page.keyboard.insert_text("の旅")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Drop the filter name: 東京の旅")).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
def test_list_of_spans_shows_the_selected_one(signed_in: Page, project: Project) -> None:
    page = signed_in
    failed = span(90, status="ERROR", error="no")
    spans = [span(number) for number in range(90)]
    sent = {"started_at": START.isoformat(), "spans": [*spans, failed]}
    project.send("/traces", {"name": "first", **sent})
    page.goto(project.path("traces?name=first"))
    page.get_by_role("link", name="first").click()
    page.get_by_role("button", name="List", exact=True).click()
    row = page.get_by_role("row", name="step 90")
    expect(row).to_have_count(0)
    page.keyboard.press("e")
    expect(row).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="step 89").click()
    page.locator("a.back").click()
    expect(page.locator("tr.at")).to_contain_text("first")  # still the row that was opened
    page.go_back()
    page.reload()
    expect(page.get_by_role("row", name="step 89")).to_be_in_viewport(ratio=1)


def test_session_reads_as_a_conversation(signed_in: Page, project: Project) -> None:
    page = signed_in
    for turn in range(3):
        project.send(
            "/traces",
            {
                "name": f"turn {turn}",
                "session_id": "a/b 100% c",
                "started_at": (START + timedelta(minutes=turn)).isoformat(),
                "input": {"messages": [{"role": "user", "content": f"question {turn}"}]},
                "output": {"messages": [{"role": "assistant", "content": f"answer **{turn}**"}]},
            },
        )
    page.goto(project.path("sessions"))
    page.get_by_role("link", name="a/b 100% c").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("a/b 100% c")
    feed = page.get_by_role("feed")
    expect(feed).to_contain_text("question 0")
    expect(feed.locator("strong").first).to_have_text("0")
    expect(feed).to_contain_text("question 2")
    page.get_by_role("button", name="turn 1").click()
    expect(page.get_by_role("complementary")).to_contain_text("question 1")


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.parametrize("what", ["trace", "span"])
def test_failed_turns_are_found_before_their_page_is_read(
    signed_in: Page, project: Project, what: str
) -> None:
    page = signed_in
    failed = {55, 115}  # of pages of 50 turns
    broken = {"spans": [span(1, name="fails", status="ERROR")]} if what == "span" else {}
    status = "COMPLETED" if what == "span" else "ERROR"
    turns = [
        {
            "name": f"turn {turn}",
            "session_id": "long",
            "status": status if turn in failed else "COMPLETED",
            "started_at": (START + timedelta(minutes=turn)).isoformat(),
            "input": f"question {turn}",
            **(broken if turn in failed else {}),
        }
        for turn in range(120)
    ]
    for first in range(0, len(turns), 60):
        project.send("/traces/batch", {"traces": turns[first : first + 60]})
    current = page.locator("[aria-current=true]")
    page.goto(project.path("sessions/long"))
    page.get_by_role("button", name="0 failed so far").click()
    expect(current).to_contain_text("question 55")
    page.keyboard.press("e")
    expect(current).to_contain_text("question 115")
    page.keyboard.press("e")  # begins again
    expect(current).to_contain_text("question 55")
    page.goto(project.path("sessions/long"))
    expect(page.get_by_role("feed")).to_contain_text("question 0")
    page.keyboard.press("Shift+E")
    expect(current).to_contain_text("question 115")


def test_a_missing_object_has_a_heading_and_a_way_on(signed_in: Page, project: Project) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    gone = "00000000-0000-4000-8000-0000000000ff"
    for path, way in {
        f"traces/{gone}": "All traces",
        "sessions/gone": "All sessions",
        f"runs/traces/{gone}": "All runs",
        "metrics/gone": "All metrics",
        f"monitors/{gone}": "All monitors",
        "datasets/gone": "All datasets",
        f"experiments/{gone}": "All experiments",
        f"compare/{gone}/{gone}": "All traces",
    }.items():
        show(page, project, path)
        expect(main.get_by_role("link", name=way), path).to_be_visible()
        assert main.get_by_role("heading", level=1).count() == 1, path


def test_key_signs_in_and_out_without_the_page_keeping_it(
    page: Page, page_log: PageLog, project: Project, dev_server: DevServer
) -> None:
    project.send("/traces", {"name": "seen", "started_at": START.isoformat()})
    key = dev_server.environ["PANDAPROBE_API_KEY"]
    page.goto(project.path("traces"))
    page.get_by_label("Token of your identity provider").fill("no token")
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page.get_by_role("alert")).to_contain_text("Invalid token")
    page.get_by_role("radio", name="API key").check()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_label("API key", exact=True).last).to_have_value("")
    page.get_by_label("API key", exact=True).last.fill(key)
    page.get_by_role("button", name="Sign in with the key").click()
    expect(page.get_by_role("link", name="seen")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="seen")).to_be_visible()
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert key not in kept
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("radio", name="API key")).to_be_visible()
    assert page_log.reported == []
