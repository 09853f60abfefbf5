"""Barriers for people with assistive technology, as axe-core finds them, in every view."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Page, expect

from tests.e2e.conftest import DevServer
from tests.e2e.dashboard.browser import leave
from tests.e2e.dashboard.dashboard_project import NOTHING, START, Project, show, span
from tests.e2e.dashboard.experiment_project import DATASET, prepare_questions, run_experiment
from tests.support.waiting import until_while

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
# WCAG 2.0 to 2.2 A and AA, and the best practices of axe.
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RULES: Final = {"type": "tag", "values": TAGS}
# An experimental rule. It doesn't know a separator that is moved by keys and a feed, which ARIA
# gives a place in the order of focus, and texts that scroll within a region, where another region
# would be a landmark too many.
FOCUS_ORDER: Final = {"focus-order-semantics": {"enabled": True}}
FOCUSABLE: Final = re.compile(
    '^<(?:[^>]* role="(?:separator|feed)"|pre [^>]*role="group")', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Look:
    """A size of the window and a theme."""

    width: int
    height: int
    scheme: Literal["light", "dark"]


ALL_LOOKS: Final = tuple(
    Look(width, height, scheme)
    for width, height in ((1280, 800), (390, 844))
    for scheme in ("light", "dark")
)
GONE: Final = "00000000-0000-4000-8000-0000000000ff"

type Step = Callable[[Page, Project, dict[str, str]], None]


def turn(number: int) -> dict[str, Any]:
    """A trace with a failed call, in a session."""
    started = START + timedelta(minutes=number)
    ids = [span(10 * number + n)["span_id"] for n in range(3)]
    chat = {"messages": [{"role": "user", "content": f"# Question {number}\n\n- one\n- `two`"}]}
    return {
        "name": "answers",
        "status": "ERROR" if number % 2 else "COMPLETED",
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=2)).isoformat(),
        "session_id": "conversation",
        "user_id": "ada",
        "environment": "production",
        "release": "1.2",
        "tags": ["shop"],
        "metadata": {"tenant": "north"},
        "input": chat,
        "output": {"role": "assistant", "content": "See [the docs](https://docs.test/) **now**"},
        "spans": [
            span(10 * number, name="root", kind="AGENT"),
            span(10 * number + 1, parent_span_id=ids[0], name="fails", status="ERROR", error="no"),
            span(10 * number + 2, parent_span_id=ids[0], name="asks", kind="LLM", model="gpt-4o",
                 input=chat, output={"list": [1, {"a": None}]},
                 token_usage={"prompt_tokens": 10, "completion_tokens": 2}),
        ],
    }  # fmt: skip


@pytest.fixture
def sent(project: Project) -> dict[str, str]:
    """The ids of two traces, in a project with scores."""
    ids = [project.send("/traces", turn(number))["trace_id"] for number in range(4)]
    score = {"session_id": "conversation", "name": "consistent", "value": "0.7"}
    project.send("/evaluations/session-scores", score)
    for value in ("0.2", "0.9"):
        score = {"trace_id": ids[0], "name": "helpful", "value": value, "reason": "short"}
        project.send("/evaluations/trace-scores", score | {"metadata": {"threshold": 0.5}})
    scored = {"name": "scored", "metrics": ["output_degeneration"], "trace_ids": [ids[0], GONE]}
    started = project.send("/evaluations/trace-runs/batch", scored)
    metric = {"kind": "rule", "name": "answered", "description": "It answers"}
    rule = {"path": "answer", "op": "exists"}
    project.send("/evaluations/custom-metrics", metric | {"definition": rule})
    project.change(
        "/evaluations/custom-metrics/answered",
        {"description": "It says yes", "definition": rule | {"op": "contains", "value": "yes"}},
    )
    monitor = project.send("/evaluations/monitors", MONITOR)["id"]
    rule = {"metric": METRIC, "figure": "score_mean", "threshold": 1, "samples_min": 1}
    project.send(f"/evaluations/monitors/{monitor}/alerts", rule)
    hook = project.send("/evaluations/webhooks", {"url": "http://127.0.0.1:9/hook"})["id"]
    project.send(f"/evaluations/webhooks/{hook}/test", {})
    run = project.send(f"/evaluations/monitors/{monitor}/trigger", {})["id"]
    alert_changes = "/evaluations/alert-changes"
    until_while(project.server.process, lambda: project.read(alert_changes)["total"])
    trace, other, *_ = ids
    known = {"trace": trace, "other": other, "span": span(2)["span_id"]}
    known |= {"monitor": monitor, "webhook": hook, "run": run, "scored": started["id"]}
    questions = prepare_questions(project, 6)
    right = {one: one for one in questions}
    known["base"] = run_experiment(project, "before", right)
    known["experiment"] = run_experiment(project, "after", right | {questions[0]: "Bonn"})
    return known | {"organization": project.organization}


def at(path: str, ready: Callable[[Page], Any]) -> Step:
    def go(page: Page, project: Project, ids: dict[str, str]) -> None:
        show(page, project, path.format_map(ids))
        expect(ready(page)).to_be_visible()

    return go


def pressing(step: Step, keys: str, ready: Callable[[Page], Any]) -> Step:
    def go(page: Page, project: Project, ids: dict[str, str]) -> None:
        step(page, project, ids)
        page.keyboard.press(keys)
        expect(ready(page)).to_be_visible()

    return go


def pressing_text(step: Step, text: str, ready: Callable[[Page], Any]) -> Step:
    def go(page: Page, project: Project, ids: dict[str, str]) -> None:
        step(page, project, ids)
        page.get_by_text(text).click()
        expect(ready(page)).to_be_visible()

    return go


def selecting(step: Step) -> Step:
    def go(page: Page, project: Project, ids: dict[str, str]) -> None:
        step(page, project, ids)
        page.get_by_role("checkbox", name="Select answers").first.check()

    return go


def acting(step: Step, *names: str, role: Literal["dialog", "menu"] = "dialog") -> Step:
    """Presses what has these names, one after the other, until a dialog or a menu is open."""

    def go(page: Page, project: Project, ids: dict[str, str]) -> None:
        step(page, project, ids)
        for name in names:
            page.locator("button, summary").and_(page.get_by_label(name, exact=True)).or_(
                page.locator("button, summary").get_by_text(name, exact=True)
            ).first.click()
        expect(page.get_by_role(role)).to_be_visible()

    return go


def _row(page: Page) -> Any:
    return page.get_by_role("link", name="answers").first


def _panel(page: Page) -> Any:
    return page.get_by_role("tabpanel")


def _heading(page: Page) -> Any:
    return page.get_by_role("heading", level=1)


def _table(page: Page) -> Any:
    return page.get_by_role("cell").first


def receipt(page: Page, project: Project, ids: dict[str, str]) -> None:
    project.send("/erasures", {"user_id": "nobody"})
    page.goto(project.path("data?tab=erasures"))  # the list that the view has read is kept
    page.get_by_text("user, ").first.click()
    # The test of all looks has made several, of which the others are closed.
    expect(page.get_by_label("Id of the user").first).to_be_visible()


def shared(page: Page, project: Project, ids: dict[str, str]) -> None:
    """A trace by a public link, which the organization allows meanwhile."""
    person = {"Authorization": f"Bearer {project.server.environ['PANDAPROBE_TOKEN']}"}
    sharing = f"/organizations/{project.organization}/sharing"
    in_project = {"X-Project-ID": project.id, "X-Organization-ID": project.organization}
    with project.server.client(**person, **in_project) as http:
        http.put(sharing, json={"public_links": True}).raise_for_status()
        made = http.post(f"/traces/{ids['trace']}/links", json={}).json()
    page.goto(f"{project.server.url}{made['url']}?span={ids['span']}")
    expect(page.get_by_role("treegrid")).to_be_visible()


TRACES = at("traces", _row)
TRACE = at("traces/{trace}", lambda page: page.get_by_role("treegrid"))
MARCH = "started_after=2026-03-01T00:00:00Z&started_before=2026-03-05T00:00:00Z"
USAGE = at(f"usage?{MARCH}", lambda page: page.get_by_role("row", name="gpt-4o").first)
METRIC: Final = "coherence"
MONITOR: Final = {
    "name": "nightly",
    "target_type": "TRACE",
    "metrics": [METRIC],
    "cadence": "cron:0 6 * * 1",
}
LABELLING = at(
    f"label?name={METRIC}&shades=on", lambda page: page.get_by_role("article", name="Item")
)
MONITORED = at("monitors/{monitor}", lambda page: page.get_by_text("▲ alerting").first)
ALERTS = at("alerts?webhook={webhook}", lambda page: page.get_by_role("region", name="Deliveries"))
NOW = "period=7d"  # scores are created when they are sent
SCORE = at(f"scores/helpful?{NOW}", lambda page: page.get_by_role("cell", name="0.9").first)
VIEWS: dict[str, Step] = {
    "overview": at(f"?{MARCH}", lambda page: page.get_by_role("row", name="fails").first),
    "overview of nothing": at("", lambda page: page.get_by_text("No trace started")),
    "usage": USAGE,
    "new price": acting(USAGE, "New price …"),
    "repricing": acting(USAGE, "Reprice …"),
    "scores": at(f"scores?{NOW}", lambda page: page.get_by_role("link", name="helpful")),
    "a score": SCORE,
    "changing a score": acting(SCORE, "Change the score 0.9"),
    "no score": at("scores/nothing", lambda page: page.get_by_text("No score nothing of")),
    "home": at("../..", _heading),
    "traces": TRACES,
    "peek": at("traces?peek={trace}", lambda page: page.get_by_role("complementary")),
    "no match": at("traces?name=nothing", lambda page: page.get_by_text("No trace matches")),
    "trace": TRACE,
    **{
        f"tab {tab}": at(f"traces/{{trace}}?span={{span}}&tab={tab}", _panel)
        for tab in ("io", "details", "metadata", "scores", "raw")
    },
    "unknown trace": at("traces/00000000-0000-4000-8000-000000000000", _heading),
    "sessions": at("sessions", lambda page: page.get_by_role("link", name="conversation").first),
    "conversation": at("sessions/conversation", lambda page: page.get_by_role("feed")),
    "users": at("users", lambda page: page.get_by_text("ada").first),
    "comparison": at("compare/{trace}/{other}", _heading),
    "groups": at(
        "compare-groups?a=release%3D1.2&b=name%3Danswers", lambda page: page.get_by_text("Figure")
    ),
    "datasets": at("datasets", lambda page: page.get_by_role("link", name=DATASET)),
    "dataset": at(f"datasets/{DATASET}", lambda page: page.get_by_text("question 00").first),
    "new dataset": acting(at("datasets", _heading), "New dataset …"),
    "adding to a dataset": at("traces?dialog=dataset", lambda page: page.get_by_label("Split")),
    "experiments": at("experiments", lambda page: page.get_by_role("link", name="after")),
    "experiment": at(
        "experiments/{experiment}", lambda page: page.get_by_text("question 00").first
    ),
    "verdict": at(
        "experiments/{base}/compare/{experiment}", lambda page: page.get_by_text("By item")
    ),
    "scoring": at("traces?dialog=score", lambda page: page.get_by_role("checkbox").last),
    "exporting": at("traces?dialog=export", lambda page: page.get_by_role("dialog")),
    "deleting traces": acting(selecting(TRACES), "Delete …"),
    "tagging traces": acting(selecting(TRACES), "Tag …"),
    "scoring a trace": pressing(TRACE, "s", lambda page: page.get_by_role("dialog")),
    "comparing with": pressing(TRACE, "c", lambda page: page.get_by_role("dialog")),
    "tags of a trace": acting(TRACE, "Edit tags"),
    "deleting a trace": acting(TRACE, "More", "Delete …"),
    "erasing": acting(at("users", lambda page: page.get_by_text("ada").first), "Erase ada"),
    "receipts": acting(at("users", lambda page: page.get_by_text("ada").first), "Receipts"),
    "queues": at("label", lambda page: page.get_by_role("link", name=METRIC)),
    "labelling": LABELLING,
    "labelled": pressing(LABELLING, "1", lambda page: page.get_by_text("The judge gave")),
    "monitors": at("monitors", lambda page: page.get_by_text("▲ alerting")),
    "monitor": MONITORED,
    "new alert": acting(MONITORED, "New alert …"),
    "deleting a monitor": acting(MONITORED, "Delete …"),
    "new monitor": at("monitors/new", lambda page: page.get_by_text("traces match now")),
    "edited monitor": at(
        "monitors/{monitor}?edit=1", lambda page: page.get_by_text("every Monday")
    ),
    "alerts": ALERTS,
    "new webhook": acting(ALERTS, "New webhook …"),
    "new project": acting(at("../../?all=1", _heading), "New project …"),
    "menu of a column": acting(TRACES, "Column Latency", role="menu"),
    "commands": pressing(TRACES, "Control+k", lambda page: page.get_by_role("dialog")),
    "keys": pressing(TRACE, "?", lambda page: page.get_by_role("dialog")),
    "no page": at(NOTHING, _heading),
    "runs": at("runs", lambda page: page.get_by_role("link", name="scored").first),
    "no run": at("runs?of=sessions", lambda page: page.get_by_text("No run over sessions yet")),
    "new run": at(
        "runs/new?metric=output_degeneration",
        lambda page: page.get_by_text("No model is asked"),
    ),
    "new run over sessions": at(
        "runs/new?of=sessions", lambda page: page.get_by_label("User", exact=True)
    ),
    "run": at("runs/traces/{scored}", lambda page: page.get_by_text("target_gone").first),
    "deleting a run": at(
        "runs/traces/{scored}?dialog=delete", lambda page: page.get_by_role("dialog")
    ),
    "progress of a run": at(
        "traces?dialog=score&run={scored}", lambda page: page.get_by_text("completed: output")
    ),
    "unknown run": at("runs/traces/{trace}", lambda page: page.get_by_role("alert")),
    "metrics": at("metrics", lambda page: page.get_by_role("link", name="confidence")),
    **{
        f"new {kind} metric": at(
            f"metrics?new={kind}", lambda page: page.get_by_label("Trace", exact=True)
        )
        for kind in ("judge", "rule", "measured")
    },
    "metric": pressing_text(
        at("metrics/task_completion", _heading),
        "The exact prompt",
        lambda page: page.get_by_label("Prompt: judge"),
    ),
    "custom metric": at(
        "metrics/answered?revision=2", lambda page: page.get_by_text("What revision 2 changed")
    ),
    **{
        tab: at(f"data?tab={tab}", lambda page: page.get_by_role("heading", level=1))
        for tab in ("retention", "exports", "imports", "erasures", "prices")
    },
    "receipt": receipt,
    "me": at("../../me", lambda page: page.get_by_text("this one")),
    **{
        f"organization: {one}": at(f"../../o/{{organization}}/{one}", ready)
        for one, ready in {
            "members": _table,
            "invitations": lambda page: page.get_by_text("No open invitations"),
            "keys": _table,
            "projects": _table,
            "limits": lambda page: page.get_by_label("Lifetime of a new API key"),
            "costs": _heading,
            "sharing": lambda page: page.get_by_role("switch"),
            "audit": _table,
        }.items()
    },
    "new key": acting(at("../../o/{organization}/keys", _table), "New API key …"),
    "shares": pressing(TRACE, "Shift+Y", lambda page: page.get_by_role("dialog")),
    "shared": shared,
}

AXE: Final = AXE_FILE_PATH.read_text()
# Once the page is painted as it now has to look. What is behind a dialog is a view of its own.
RUN_AXE: Final = """async (options) => {
  await new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)));
  const dialog = document.querySelector("dialog[open]");
  return (await axe.run(dialog ?? document, options)).violations;
}"""

# What has to be scrolled sideways to be read, or covers the next cell. Tables and texts scroll in
# regions of their own.
WIDER: Final = """() => {
  const all = [document.documentElement, ...document.querySelectorAll("dialog[open], main")];
  const cells = [...document.querySelectorAll("td, th")];
  const spilling = cells.filter((one) => getComputedStyle(one).overflowX === "visible");
  return [...all, ...spilling].filter((one) => one.scrollWidth > one.clientWidth)
    .map((one) => `${one.localName} is ${one.scrollWidth} px wide, not ${one.clientWidth}`
      + `: ${one.innerText.slice(0, 80)}`);
}"""


def barriers(page: Page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    options = {"runOnly": RULES, "resultTypes": ["violations"], "rules": FOCUS_ORDER}
    found = page.evaluate(RUN_AXE, options)
    return [
        f"{one['id']}: {node['html'][:200]} {json.dumps(node.get('any'))[:300]}"
        for one in found
        for node in one["nodes"]
        if not (one["id"] in FOCUS_ORDER and FOCUSABLE.search(node["html"]))
    ]


def have_look(page: Page, look: Look) -> None:
    page.set_viewport_size({"width": look.width, "height": look.height})
    page.emulate_media(color_scheme=look.scheme, reduced_motion="reduce")


def found_in(page: Page, view: str, looks: Sequence[Look]) -> dict[str, list[str]]:
    found = {}
    for look in looks:
        have_look(page, look)
        some = barriers(page)
        if some := [*some, *page.evaluate(WIDER)]:
            found[f"{view}, {look.width} px wide, {look.scheme}"] = some
    return found


@pytest.mark.exhaustive  # only another build can break it
def test_no_view_has_a_barrier_in_any_look(signed_in: Page, project: Project, sent: Any) -> None:
    """Loads each view in each look."""
    found: dict[str, list[str]] = {}
    for look in ALL_LOOKS:
        have_look(signed_in, look)
        for view, step in VIEWS.items():
            leave(signed_in)
            step(signed_in, project, sent)
            found |= found_in(signed_in, view, [look])
    assert found == {}


@pytest.mark.exhaustive  # only another build can break it
def test_what_is_chosen_is_seen_in_forced_colors(signed_in: Page, project: Project) -> None:
    """A browser may replace all colours by a few, and backgrounds with them."""
    page = signed_in
    page.emulate_media(forced_colors="active")
    TRACE(page, project, {"trace": project.send("/traces", turn(0))["trace_id"]})
    groups = [
        (page.get_by_role("group", name="View").get_by_role("button"), "Tree + time"),
        (page.get_by_role("tab"), "Input / Output"),
        (page.get_by_role("navigation", name="Main").get_by_role("listitem"), "Traces"),
    ]
    background = """all => all.map((one) => [one.textContent,
      getComputedStyle(one.querySelector("a") ?? one).backgroundColor])"""
    for group, chosen in groups:
        colors = dict(group.evaluate_all(background))
        own = colors.pop(chosen)
        assert own not in colors.values()
        assert len({*colors.values()}) == 1


@pytest.mark.exhaustive  # only another build can break it
def test_pages_with_panels_fit_a_window_of_320_px(
    signed_in: Page, project: Project, sent: dict[str, str]
) -> None:
    """As wide as a window of 1280 px that is zoomed to 400 %."""
    assert sent
    earlier = (datetime.now(UTC) - timedelta(hours=20)).isoformat()
    usage = {"prompt_tokens": 1_042_190}
    call = span(900, kind="LLM", model="house-llama-70b", started_at=earlier, token_usage=usage)
    project.send("/traces", {"name": "unpriced", "started_at": earlier, "spans": [call]})
    page = signed_in
    page.set_viewport_size({"width": 320, "height": 640})
    wide = "(main) => main.scrollWidth - main.clientWidth"
    for path, ready in (("", "threshold"), ("usage", "house-llama-70b")):
        show(page, project, path)
        expect(page.get_by_text(ready).last).to_be_attached()
        assert page.get_by_role("main").evaluate(wide) == 0


def test_first_pages_have_no_barrier(page: Page, dev_server: DevServer, project: Project) -> None:
    have_look(page, ALL_LOOKS[0])
    page.goto(dev_server.url)
    button = page.get_by_role("button", name="Continue as developer")
    expect(button).to_be_visible()
    found = found_in(page, "sign-in", ALL_LOOKS)
    button.click()
    expect(page.get_by_role("navigation")).to_be_visible()
    page.goto(project.path("traces"))
    expect(page.get_by_text("Waiting for the first trace")).to_be_visible()
    found |= found_in(page, "first trace", ALL_LOOKS)
    assert found == {}
