"""Texts of outsiders in the views of evaluations, costs, data and organizations are only text.

`test_dashboard_hostile.py` has traces, sessions, users and payloads.
"""

import re
import uuid
from typing import Final
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import bearer_of
from tests.e2e.dashboard.dashboard_project import START, Project, show, span
from tests.e2e.dashboard.experiment_project import DATASET, EXACT, run_experiment
from tests.e2e.dashboard.hostile import INVISIBLE, assert_harmless, hostile_trace

pytestmark = pytest.mark.e2e
# Short enough for every field.
MARKUP: Final = '<img src="https://elsewhere.test/i" onerror=hit=1>[a](javascript:hit=1)'
TEXT: Final = f"{MARKUP} {INVISIBLE}"
URL: Final = "https://elsewhere.test/?<img/src=x/onerror=hit=1>"
MARCH: Final = "started_after=2026-03-01T00:00:00Z&started_before=2026-03-05T00:00:00Z"
GONE: Final = "00000000-0000-4000-8000-00000000dead"
METRIC: Final = "says_it"
RULE: Final = {"path": "answer", "op": "contains", "value": TEXT}


def people(project: Project, **headers: str) -> httpx.Client:
    """A client of the developer, who owns the project."""
    person = {"Authorization": f"Bearer {project.server.environ['PANDAPROBE_TOKEN']}"}
    within = {"X-Project-ID": project.id, "X-Organization-ID": project.organization}
    return project.server.client(**person, **within, **headers)


@pytest.fixture
def stored(project: Project) -> dict[str, str]:
    """The ids of objects of each kind, whose fields have the texts that the API takes."""
    server = project.server
    trace = project.send("/traces", hostile_trace(TEXT))["trace_id"]
    other = project.send("/traces", hostile_trace(MARKUP))["trace_id"]
    for value, kind in (("0.5", "NUMERIC"), (TEXT, "CATEGORICAL")):
        score = {"trace_id": trace, "name": f"{kind} {MARKUP}", "data_type": kind, "value": value}
        about = {"reason": TEXT, "metadata": {TEXT: TEXT, "judge_kind": TEXT}}
        project.send("/evaluations/trace-scores", score | about)
    metric = {"kind": "rule", "name": METRIC, "description": TEXT, "definition": RULE}
    project.send("/evaluations/custom-metrics", metric)
    changed = {"description": f"Also {TEXT}", "definition": RULE | {"value": MARKUP}}
    project.change(f"/evaluations/custom-metrics/{METRIC}", changed)
    run = {"name": MARKUP, "metrics": [METRIC], "trace_ids": [trace, GONE]}
    known = {"trace": trace, "other": other}
    known["run"] = project.send("/evaluations/trace-runs/batch", run)["id"]
    monitor = {"name": MARKUP, "target_type": "TRACE", "metrics": [METRIC], "cadence": "daily"}
    filters = {"name": TEXT, "tags": [TEXT], "environment": TEXT, "user_id": TEXT}
    made = project.send("/evaluations/monitors", monitor | {"filters": filters})
    known["monitor"] = made["id"]
    hook = project.send("/evaluations/webhooks", {"url": URL})["id"]
    known["webhook"] = hook
    project.send(f"/evaluations/webhooks/{hook}/test", {})
    project.send("/datasets", {"name": DATASET, "description": MARKUP})
    item = {"id": MARKUP, "input": {TEXT: TEXT}, "expected": TEXT, "split": "test"}
    items = [item | {"metadata": {TEXT: TEXT}}]
    project.send(f"/datasets/{DATASET}/items/batch", {"items": items})
    project.send("/evaluations/custom-metrics", EXACT)
    for word, answer in (("base", TEXT), ("candidate", MARKUP)):
        known[word] = run_experiment(project, f"{word} {MARKUP}", {MARKUP: answer})
    known["export"] = project.send("/traces/exports", {"format": "csv", "filters": {"name": TEXT}})[
        "id"
    ]
    project.send("/erasures", {"user_id": f"not {TEXT}"})
    with people(project) as http:
        export = {"format": "csv", "filters": {"name": TEXT}}
        http.post("/traces/exports", json=export).raise_for_status()
        prices = {"match": MARKUP, "input": "1", "output": "1"}
        http.post("/model-prices", json=prices).raise_for_status()
        organization = f"/organizations/{project.organization}"
        key = {"name": MARKUP, "expiration": "90d"}
        http.post(f"{organization}/api-keys", json=key).raise_for_status()
        email = f"{uuid.uuid4().hex[:8]}@elsewhere.test"
        for address in (email, f'"{uuid.uuid4().hex[:8]} {MARKUP}"@elsewhere.test'):
            invited = http.post(f"{organization}/invitations", json={"email": address})
            invited.raise_for_status()
            if address == email:
                accept = f"/me/invitations/{invited.json()['id']}/accept"
        sharing = {"public_links": True}
        http.put(f"{organization}/sharing", json=sharing).raise_for_status()
        known["link"] = http.post(f"/traces/{trace}/links", json={}).json()["url"]
    with server.client(**bearer_of(server, email, TEXT)) as http:
        http.post(accept).raise_for_status()
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin", "User-Agent": MARKUP}
    with server.client(**own) as http:
        signing = {"method": "development", "bind": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}
        http.post("/session", json=signing).raise_for_status()
    return known


# By view: where it is, and what it has to show.
VIEWS: Final = {
    "overview": (f"?{MARCH}", [TEXT]),
    "usage": (f"usage?{MARCH}&by=model", [TEXT]),
    "usage by user": (f"usage?{MARCH}&by=user", [TEXT]),
    "scores": ("scores?period=7d", [MARKUP]),
    "score": (f"scores/{quote(f'NUMERIC {MARKUP}', safe='')}?period=7d", [TEXT]),
    "categories": (f"scores/{quote(f'CATEGORICAL {MARKUP}', safe='')}?period=7d", [TEXT]),
    "no score": (f"scores/{quote(f'no {TEXT}', safe='')}", [TEXT]),
    "queue": ("label", [METRIC]),
    "labelling": (f"label?name={METRIC}", [MARKUP]),
    "runs": ("runs", [MARKUP]),
    "run": ("runs/traces/{run}", [MARKUP, "the target does not exist"]),
    "metrics": ("metrics", [TEXT]),
    "metric": (f"metrics/{METRIC}?revision=2", [TEXT, MARKUP]),
    "monitors": ("monitors", [MARKUP]),
    "monitor": ("monitors/{monitor}", [MARKUP, TEXT]),
    "edited monitor": ("monitors/{monitor}?edit=1", []),
    "alerts": ("alerts?webhook={webhook}", [URL]),
    "datasets": ("datasets", [MARKUP]),
    "dataset": (f"datasets/{DATASET}", [MARKUP, TEXT]),
    "experiments": ("experiments", [MARKUP]),
    "experiment": ("experiments/{candidate}", [MARKUP, TEXT]),
    "verdict": ("experiments/{base}/compare/{candidate}", [MARKUP]),
    "comparison": ("compare/{trace}/{other}", [TEXT, MARKUP]),
    "groups": (
        f"compare-groups?a=name%3D{quote(quote(TEXT))}&b=user_id%3D{quote(quote(MARKUP))}",
        [TEXT],
    ),
    "exports": ("data?tab=exports", ["Exports of this project"]),
    "erasures": ("data?tab=erasures", []),
    "members": ("../../o/{organization}/members", [MARKUP]),
    "invitations": ("../../o/{organization}/invitations", [MARKUP]),
    "keys": ("../../o/{organization}/keys", [MARKUP]),
    "audit log": ("../../o/{organization}/audit", [MARKUP]),
    "me": ("../../me", [MARKUP]),
}


REFUSED: Final = {
    "name": ("/evaluations/monitors", {"target_type": "TRACE", "metrics": ["coherence"]}),
    "name of a score": ("/evaluations/trace-scores", {"trace_id": GONE, "value": "1"}),
    "name of a metric": (
        "/evaluations/custom-metrics",
        {"kind": "rule", "description": "It does", "definition": RULE},
    ),
    "name of a dataset": ("/datasets", {}),
    "name of a run": ("/evaluations/trace-runs/batch", {"metrics": [], "trace_ids": [GONE]}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_names_take_no_invisible_characters(project: Project, what: str) -> None:
    path, body = REFUSED[what]
    with project.server.client(**project.server.headers) as http:
        answer = http.post(path, json=body | {"name": f"a {INVISIBLE}"})
    assert answer.status_code == 422
    assert "name" in [one["field"] for one in answer.json()["errors"]]


def test_text_is_text(opened: Page, project: Project, stored: dict[str, str]) -> None:
    page, main = opened, opened.get_by_role("main")
    for where, texts in VIEWS.values():
        show(page, project, where.format_map(stored | {"organization": project.organization}))
        for text in texts:
            expect(main).to_contain_text(text)
        assert_harmless(page)
    page.goto(f"{project.server.url}{stored['link']}?span={span(1)['span_id']}")
    expect(page.get_by_role("treegrid")).to_contain_text(TEXT)
    expect(page.get_by_role("group", name="Error", exact=True)).to_contain_text(TEXT)
    assert_harmless(page)


LONG: Final = f"{TEXT} {'x' * 400_000} {MARKUP} the end"  # no word break, as some providers answer
SHORT_MAX: Final = 6_000  # characters of a folded part of a page


def with_errors(value: object) -> object:
    """An answer in which a provider, a webhook or a program has said something long."""
    if isinstance(value, list):
        return [with_errors(one) for one in value]
    if not isinstance(value, dict):
        return value
    said = {one: LONG for one in ("reason", "error", "error_message") if one in value}
    found = {name: with_errors(one) for name, one in value.items()} | said
    if "waiting_for" in found:
        found["waiting_for"] = {"targets": 1, "reason": LONG, "until": "2030-01-01T00:00:00Z"}
    return found


@pytest.mark.exhaustive  # only another build can break it
def test_long_errors_are_cut_and_shown_whole(
    opened: Page, project: Project, stored: dict[str, str]
) -> None:
    page, main = opened, opened.get_by_role("main")

    def answer(route: Route) -> None:
        got = route.fetch()
        is_json = got.ok and "json" in got.headers.get("content-type", "")
        if is_json and route.request.method == "GET":
            route.fulfill(response=got, json=with_errors(got.json()))
        else:
            route.fulfill(response=got)

    page.route(re.compile(r"/(evaluations|experiments)/"), answer)
    views = {
        "runs/traces/{run}": main,
        "alerts?webhook={webhook}": main.get_by_role("region", name="Deliveries"),
        "traces/{trace}?tab=scores": main.get_by_role("tabpanel"),
    }
    for where, part in views.items():
        show(page, project, where.format_map(stored))
        more = part.get_by_role("button", name="Show all").first
        expect(more).to_be_visible()
        expect(part).to_contain_text(TEXT)
        assert len(part.inner_text()) < SHORT_MAX
        assert_harmless(page)
        more.click()
        expect(part).to_contain_text(f"{MARKUP} the end")
        assert_harmless(page)
    # A program may send a long reason, and an agent an error of any length.
    reason = LONG.replace("x" * 400_000, "x" * 90_000)
    about = {"trace_id": stored["trace"], "name": "wordy", "value": "0.5", "reason": reason}
    project.send("/evaluations/trace-scores", about)
    failed = span(77, status="ERROR", error=LONG)
    known = {"trace_id": stored["trace"], "name": "wordy", "started_at": START.isoformat()}
    project.send("/traces", known | {"spans": [failed]})
    page.unroute_all(behavior="ignoreErrors")  # a poll may be under way
    page.goto(project.path(f"traces/{stored['trace']}?span={failed['span_id']}"))
    error = main.get_by_role("group", name="Error", exact=True)
    expect(error).to_contain_text(TEXT)
    assert len(error.inner_text()) < SHORT_MAX
    error.get_by_role("button", name="Show all").click()
    expect(error).to_contain_text(f"{MARKUP} the end")
    show(page, project, "scores/wordy?period=7d")
    expect(main.get_by_role("table", name="Scores")).to_contain_text(MARKUP)
    assert len(main.inner_text()) < SHORT_MAX
    assert_harmless(page)
