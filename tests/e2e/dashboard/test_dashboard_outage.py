"""Each page of a project while the service is away: it says so, keeps what it has, and recovers."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from entrypoints.dashboard import SOURCES
from tests.e2e.dashboard.dashboard_project import FOLLOW, START, Project, span
from tests.e2e.dashboard.experiment_project import DATASET, prepare_questions, run_experiment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
METRIC: Final = "answered"
MARCH: Final = "started_after=2026-03-01T00:00:00Z&started_before=2026-03-05T00:00:00Z"

# A list, a trace, a form, and what is polled.
USUAL: Final = ("traces", "traces/:trace", "runs/new", "runs/:of/:run")

type Ready = Callable[[Locator], Locator]


def link(name: str) -> Ready:
    return lambda main: main.get_by_role("link", name=name).first


def heading(name: str) -> Ready:
    return lambda main: main.get_by_role("heading", name=name)


def text(found: str) -> Ready:
    return lambda main: main.get_by_text(found).first


# By page of the table of routes: where it is, and what the service has to have said for it.
PAGES: Final[dict[str, tuple[str, Ready]]] = {
    "": (f"?{MARCH}", text("no such order")),
    "traces": ("traces", link("answers")),
    "traces/:trace": ("traces/{trace}?span={span}", text("no such order")),
    "compare/:left/:right": ("compare/{trace}/{other}", text("Latency")),
    "compare-groups": ("compare-groups?a=name%3Danswers&b=release%3D1.2", text("Figure")),
    "sessions": ("sessions", link("conversation")),
    "sessions/:session": ("sessions/conversation", text("Where is it?")),
    "users": ("users", link("ada")),
    "scores": ("scores?period=7d", link("helpful")),
    "scores/:name": ("scores/helpful?period=7d", text("0.9")),
    "label": ("label", link(METRIC)),
    "runs": ("runs", link("scored")),
    "runs/new": (f"runs/new?metric={METRIC}", text(METRIC)),
    "runs/:of/:run": ("runs/traces/{run}", text(METRIC)),
    "metrics": ("metrics", link(METRIC)),
    "metrics/:name": (f"metrics/{METRIC}", text("It answers")),
    "usage": (f"usage?{MARCH}", text("gpt-4o")),
    "monitors": ("monitors", link("nightly")),
    "monitors/new": ("monitors/new", text("match now")),
    "monitors/:monitor": ("monitors/{monitor}", heading("nightly")),
    "alerts": ("alerts", text("nightly")),
    "datasets": ("datasets", link(DATASET)),
    "datasets/:dataset": (f"datasets/{DATASET}", text("question 00")),
    "experiments": ("experiments", link("after")),
    "experiments/:experiment": ("experiments/{after}", text("question 00")),
    "experiments/:base/compare/:candidate": (
        "experiments/{before}/compare/{after}",
        text("By item"),
    ),
    "data": ("data?tab=exports", text("Exports of this project")),
}


@pytest.fixture
def sent(project: Project) -> dict[str, str]:
    """The ids of what the pages show."""
    ids = {}
    for number, name in enumerate(("trace", "other")):
        called = span(number + 1, name="fails", status="ERROR", error="no such order")
        called |= {"kind": "LLM", "model": "gpt-4o", "token_usage": {"prompt_tokens": 3}}
        body = {"name": "answers", "status": "ERROR", "started_at": START.isoformat()}
        body |= {"session_id": "conversation", "user_id": "ada", "release": "1.2"}
        body |= {"input": "Where is it?", "output": "There", "spans": [called]}
        ids[name] = project.send("/traces", body)["trace_id"]
    score = {"trace_id": ids["trace"], "name": "helpful", "value": "0.9"}
    project.send("/evaluations/trace-scores", score)
    rule = {"path": "answer", "op": "exists"}
    metric = {"kind": "rule", "name": METRIC, "description": "It answers", "definition": rule}
    project.send("/evaluations/custom-metrics", metric)
    run = {"name": "scored", "metrics": [METRIC], "trace_ids": [ids["trace"]]}
    ids["run"] = project.send("/evaluations/trace-runs/batch", run)["id"]
    monitor = {"name": "nightly", "target_type": "TRACE", "metrics": [METRIC], "cadence": "daily"}
    ids["monitor"] = project.send("/evaluations/monitors", monitor)["id"]
    alert = {"metric": METRIC, "figure": "score_mean", "threshold": 1, "samples_min": 1}
    project.send(f"/evaluations/monitors/{ids['monitor']}/alerts", alert)
    questions = prepare_questions(project, 2)
    for name in ("before", "after"):
        ids[name] = run_experiment(project, name, {one: one for one in questions})
    return ids | {"span": span(1)["span_id"]}


class Service:
    """The service as the page reaches it; while it is away, every connection is refused."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.is_away = False
        page.route("**/*", self._answer)

    def settle(self) -> None:
        """Lets time pass: what is asked again has been, and was answered or not."""
        for _ in range(4):
            self._page.clock.run_for(2_500)

    def _answer(self, route: Route) -> None:
        if self.is_away:
            route.abort("connectionrefused")
        else:
            route.continue_()


def test_every_page_is_tried() -> None:
    table = (SOURCES / "src" / "pages.tsx").read_text()
    assert set(re.findall(r'^\s*(?:\{ )?path: "([^"]*)"', table, re.MULTILINE)) == set(PAGES)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param(USUAL, id="usual"),
        pytest.param(tuple(PAGES), id="all", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.usefixtures("fast_forward")  # the clock of the page
def test_pages_recover_by_themselves(
    signed_in: Page, project: Project, sent: Any, pages: Sequence[str]
) -> None:
    page, main = signed_in, signed_in.get_by_role("main")
    page.goto(project.path("../../?all=1"))
    expect(main.get_by_role("link", name=project.name)).to_be_visible()
    service = Service(page)
    for where, ready in map(PAGES.__getitem__, pages):
        check_recovery(page, service, project.path(where.format_map(sent)), ready(main))


def check_recovery(page: Page, service: Service, url: str, ready: Locator) -> None:
    main = page.get_by_role("main")
    away = main.get_by_text("The service does not answer.")
    loading = main.get_by_text(re.compile("^Loading"))
    palette = page.get_by_role("dialog", name="Commands")
    # It is opened while the service is away.
    service.is_away = True
    page.evaluate(FOLLOW, url)
    expect(away, url).to_be_visible()
    service.settle()
    expect(loading, url).to_have_count(0)
    service.is_away = False
    service.settle()
    expect(ready, url).to_be_visible()
    service.settle()
    expect(loading, url).to_have_count(0)
    expect(away, url).to_have_count(0)
    expect(main.get_by_role("alert"), url).to_have_count(0)
    # The service ends while it is open: the next thing that is asked for shows it.
    service.is_away = True
    page.keyboard.press("Control+k")
    # Closing the palette cancels what it asks for, so that has to fail first.
    with page.expect_event("requestfailed"):
        palette.get_by_role("combobox").fill("something")
        service.settle()
    page.keyboard.press("Escape")  # clears the text,
    page.keyboard.press("Escape")  # and closes
    expect(palette).to_have_count(0)
    expect(away, url).to_be_visible()
    service.settle()
    expect(ready, url).to_be_visible()
    expect(main.get_by_role("alert"), url).to_have_count(0)
    service.is_away = False
    service.settle()
    expect(away, url).to_have_count(0)
    expect(ready, url).to_be_visible()


def test_page_without_its_scripts_says_so(signed_in: Page, project: Project) -> None:
    """While two versions serve, the page may be of one, and its scripts be asked of the other."""
    page = signed_in
    page.route("**/app/assets/chunk-*.js", lambda route: route.fulfill(status=404))
    page.goto(project.path("traces"))
    expect(page.get_by_text("This page couldn’t be loaded.")).to_be_visible()
