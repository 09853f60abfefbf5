"""A tab that stays open: over an upgrade, an outage, another account's sign-in, and for hours."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import DevServer, FastForward
from tests.e2e.dashboard.browser import PageLog
from tests.e2e.dashboard.dashboard_project import FOLLOW, START, Project
from tests.support.waiting import until_while

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
KEPT_ROWS: Final = 2_000  # of a list of traces
MINUTE_MS: Final = 60_000


def listed(number: int) -> dict[str, Any]:
    """A trace with an id of its own, by its number."""
    started = START + timedelta(seconds=number)
    trace_id = f"00000000-0000-4000-8000-{number:012x}"
    return {"trace_id": trace_id, "name": f"trace {number}", "started_at": started.isoformat()}


class Held:
    """Requests of a page that get no answer until they go on."""

    def __init__(self, page: Page, pattern: str) -> None:
        self.held: list[Route] = []
        self._goes_on = False
        page.route(pattern, self._hold)

    def _hold(self, route: Route) -> None:
        if self._goes_on:
            route.continue_()
        else:
            self.held.append(route)

    def go_on(self) -> None:
        self._goes_on = True
        for route in self.held:
            route.continue_()


@pytest.mark.exhaustive  # only another build can break it
def test_a_page_of_an_old_version_says_so_and_is_loaded_again(
    signed_in: Page, project: Project
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    project.send("/traces", listed(1) | {"status": "COMPLETED"})
    page.goto(project.path("traces"))
    expect(main.get_by_role("link", name="trace 1", exact=True)).to_be_visible()
    newer = '<script type="module" src="/app/assets/app-NEWER.js"></script>'
    page.route("**/app/assets/*", lambda route: route.fulfill(status=404))
    page.route("**/app", lambda route: route.fulfill(content_type="text/html", body=newer))
    for view in ("monitors", "../../?all=1"):
        page.evaluate(FOLLOW, project.path(view))
        expect(main.get_by_text("The dashboard was updated")).to_be_visible()
    page.unroute_all()
    main.get_by_role("button", name="Load the page again").click()
    expect(main.get_by_role("heading", name="Projects")).to_be_visible()
    expect(main.get_by_role("alert")).to_have_count(0)
    expect(main.get_by_role("button", name="New project …")).to_be_visible()


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.usefixtures("fast_forward")  # the clock of the page
def test_a_service_that_hangs_is_not_asked_more_and_more(signed_in: Page, project: Project) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.goto(project.path("monitors"))
    expect(main.get_by_text("No monitor yet")).to_be_visible()
    service = Held(page, "**/health")
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/monitors?*", lambda route: route.abort("connectionrefused"))
    page.clock.run_for(MINUTE_MS)
    expect(main.get_by_text("The service does not answer.")).to_be_visible()
    for _ in range(5):
        page.clock.run_for(MINUTE_MS)
    page.unroute("**/monitors?*")
    assert len(service.held) > 1
    asked.clear()
    service.go_on()
    page.clock.run_for(MINUTE_MS)
    expect(main.get_by_text("The service does not answer.")).to_have_count(0)
    expect(main.get_by_text("No monitor yet")).to_be_visible()
    assert sum(url.endswith("/health") for url in asked) < 20  # one tab would send hundreds


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.usefixtures("fast_forward")  # the clock of the page
def test_a_page_goes_on_after_a_proxy_had_no_service(signed_in: Page, project: Project) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.goto(project.path("../../?all=1"))
    expect(main.get_by_role("link", name=project.name)).to_be_visible()
    page.route(
        re.compile("/(monitors|alerts|health)"),
        lambda route: route.fulfill(status=503, content_type="text/html", body="<h1>503</h1>"),
    )
    page.evaluate(FOLLOW, project.path("monitors"))
    expect(main.get_by_text("The service does not answer.")).to_be_visible()
    for _ in range(4):
        page.clock.run_for(5_000)
    page.unroute_all()
    page.clock.run_for(5_000)
    expect(main.get_by_text("No monitor yet")).to_be_visible()
    expect(main.get_by_role("alert")).to_have_count(0)


@pytest.mark.exhaustive  # only another build can break it
def test_an_answer_of_a_proxy_in_place_of_the_service_is_named(
    signed_in: Page, project: Project
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.route(
        "**/monitors?*",
        lambda route: route.fulfill(content_type="text/html", body="<h1>Hello</h1>"),
    )
    page.goto(project.path("monitors"))
    expect(main.get_by_text("answered in place of the service")).to_be_visible()
    assert "Unexpected token" not in main.inner_text()


@pytest.mark.exhaustive  # only another build can break it
def test_a_tab_follows_the_account_that_another_tab_signs_in(
    page: Page, dev_server: DevServer
) -> None:
    page.goto(dev_server.url)
    page.get_by_role("button", name="Continue as developer").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    page.goto(f"{dev_server.url}/app/me")
    email = page.get_by_role("main").get_by_text(re.compile("@")).first
    expect(email).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{dev_server.url}/app/?all=1")
    expect(other.get_by_role("button", name="New project …")).to_be_visible()
    # The session ends, and another account signs in where it was seen first.
    page.context.clear_cookies()
    other.evaluate(FOLLOW, f"{dev_server.url}/app/me")
    expect(other.get_by_text("The session has ended.")).to_be_visible()
    other.get_by_label("API key", exact=True).check()
    other.locator("input[name=secret]").fill(dev_server.environ["PANDAPROBE_API_KEY"])
    other.get_by_role("button", name="Sign in with the key").click()
    for one in (other, page):
        expect(one.get_by_role("navigation")).to_be_visible()
        expect(one.get_by_role("navigation")).not_to_contain_text("@")
        expect(one.get_by_role("main").get_by_text(re.compile("@"))).to_have_count(0)
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Continue as developer")).to_be_visible()
    assert page.get_by_role("navigation").count() == 0


@pytest.mark.exhaustive  # only another build can break it
def test_a_live_list_keeps_a_number_of_rows(
    signed_in: Page, project: Project, fast_forward: FastForward
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    newest = [KEPT_ROWS - 10]

    project.send("/traces", listed(1) | {"status": "COMPLETED"})
    first = project.read("/traces?include=preview,scores,models,errors")
    row = first["items"][0]

    def fulfil(route: Route) -> None:
        count = newest[0] if newest[0] < KEPT_ROWS else 40
        items = [row | listed(newest[0] - number) for number in range(count)]
        found = {"items": items, "total": newest[0] + 5_000, "next_cursor": "more"}
        route.fulfill(json=first | found)

    page.route(re.compile(r"/traces\?include"), fulfil)
    page.goto(project.path("traces?live=1"))
    expect(main.get_by_role("link", name=f"trace {newest[0]}", exact=True)).to_be_visible()
    for _ in range(3):
        newest[0] += 30
        fast_forward(20_000)
        expect(main.get_by_role("link", name=f"trace {newest[0]}", exact=True)).to_be_visible()
    expect(main.get_by_text("The first 2,000 of")).to_be_visible()
    assert newest[0] == KEPT_ROWS + 80


@pytest.mark.exhaustive  # only another build can break it
@pytest.mark.parametrize(
    ("view", "path", "bound", "text"),
    [
        ("", "/traces/analytics?", "started_before", "No trace started in this period"),
        ("usage", "/traces/analytics?", "started_before", "no span reported any"),
        ("scores", "/trace-scores/summary?", "date_to", "No score of a trace in this period"),
        ("traces?live=1&period=1h", "/traces?include", "started_after", "1 trace"),
    ],
)
def test_the_last_hours_go_on(
    signed_in: Page, page_log: PageLog, project: Project, fast_forward: FastForward, *,
    view: str, path: str, bound: str, text: str,
) -> None:  # fmt: skip
    page, main = signed_in, signed_in.get_by_role("main")
    if "live" in view:
        project.send("/traces", listed(1) | {"started_at": datetime.now(UTC).isoformat()})

    def asked() -> set[str]:
        page.title()  # what the page reported meanwhile is logged
        urls = [urlsplit(url) for url in page_log.requested if path in url]
        return {parse_qs(url.query)[bound][0] for url in urls}

    page.goto(project.path(view))
    expect(main.get_by_text(text).first).to_be_visible()
    before = until_while(project.server.process, asked)
    fast_forward(6 * MINUTE_MS)
    expect(main.get_by_text(text).first).to_be_visible()
    until_while(project.server.process, asked, lambda found: found > before)
    assert max(asked()) > max(before)


@pytest.mark.exhaustive  # only another build can break it
def test_a_period_that_stands_still_says_its_end(
    signed_in: Page, page_log: PageLog, project: Project, fast_forward: FastForward
) -> None:
    """Rows that are read don't go: those of a score, and of a list that isn't live."""
    page, main = signed_in, signed_in.get_by_role("main")
    score = {"name": "helpful", "value": "0.9"}
    score["trace_id"] = project.send("/traces", listed(1))["trace_id"]
    project.send("/evaluations/trace-scores", score)
    page.goto(project.path("scores/helpful?period=24h"))
    end = main.get_by_text(re.compile(r"^until .*\d\d:\d\d"))
    expect(end).to_be_visible()
    first = end.inner_text()
    fast_forward(6 * MINUTE_MS)
    main.get_by_role("button", name="Up to now").click()
    expect(end).not_to_have_text(first)

    def ends() -> set[str]:
        page.title()  # what the page reported meanwhile is logged
        urls = [urlsplit(url) for url in page_log.requested if "/trace-scores?" in url]
        return {parse_qs(url.query)["date_to"][0] for url in urls}

    assert len(until_while(project.server.process, ends, lambda found: len(found) > 1)) == 2


@pytest.mark.exhaustive  # only another build can break it
def test_a_score_is_made_once_by_two_presses_and_after_a_lost_answer(
    signed_in: Page, project: Project
) -> None:
    page = signed_in
    trace = project.send("/traces", listed(1) | {"status": "COMPLETED"})["trace_id"]

    def made() -> int:
        return len(project.read(f"/evaluations/trace-scores?trace_id={trace}")["items"])

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.goto(project.path(f"traces/{trace}"))
    page.get_by_role("button", name="Score …").click()
    dialog = page.get_by_role("dialog", name="Score the trace")
    dialog.get_by_label("Name").fill("helpful")
    dialog.get_by_label("Value").fill("1")
    save = dialog.get_by_role("button", name="Save")
    service = Held(page, "**/trace-scores")
    with page.expect_request("**/trace-scores"):
        save.dblclick()
    expect(save).to_be_disabled()
    assert len(service.held) == 1
    lose(service.held.pop())
    service.go_on()
    expect(dialog.get_by_role("alert")).to_contain_text("does not answer")
    assert made() == 1
    save.click()
    expect(dialog).to_have_count(0)
    assert made() == 1


@pytest.mark.exhaustive  # only another build can break it
def test_the_list_of_projects_has_those_that_others_made(
    signed_in: Page, project: Project, fast_forward: FastForward
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.goto(project.path("monitors"))
    expect(main.get_by_text("No monitor yet")).to_be_visible()
    later = Project(project.server)
    fast_forward(2 * MINUTE_MS)
    page.evaluate(FOLLOW, project.path("../../?all=1"))
    expect(main.get_by_role("link", name=later.name)).to_be_visible()
    main.get_by_role("link", name=later.name).click()
    expect(main.get_by_role("heading", name=re.compile("first trace"))).to_be_visible()
    assert later.id in page.url


@pytest.mark.exhaustive  # only another build can break it
def test_a_long_conversation_is_printed_whole(signed_in: Page, project: Project) -> None:
    page = signed_in
    for number in range(12):
        turn = listed(number + 1) | {"status": "COMPLETED", "session_id": "long"}
        project.send("/traces", turn | {"input": "Where is it? " * 50, "output": f"Box {number}"})
    page.goto(project.path("sessions/long"))
    expect(page.get_by_text("Box 0").first).to_be_visible()
    sheets = re.findall(rb"/Type\s*/Page\b", page.pdf())
    assert len(sheets) > 1
