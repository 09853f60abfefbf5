"""Every page of a project: its address, and what a project has so that each shows something."""

from collections.abc import Callable
from typing import Final

from playwright.sync_api import Locator

from tests.e2e.dashboard.dashboard_project import START, Project, span
from tests.e2e.dashboard.experiment_project import DATASET, prepare_questions, run_experiment

METRIC: Final = "answered"
MARCH: Final = "started_after=2026-03-01T00:00:00Z&started_before=2026-03-05T00:00:00Z"

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


def fill(project: Project) -> dict[str, str]:
    """Sends what the pages show; its ids."""
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
