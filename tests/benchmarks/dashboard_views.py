"""Measures the views of evaluations, costs, data and organizations in Chromium.

    [REPEAT=5] python -m tests.benchmarks.dashboard_views

One project with 10,000 traces of the last days, 200 scores of people, two runs, an experiment of 50
items and its baseline, a monitor with an alert. Printed for each view: CPU time of the page's main
thread until its content was painted, the longest task, requests and bytes until the network is
idle. Each visit has an empty cache. Browser, API, worker and PostgreSQL share the machine.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from entrypoints import provisioning
from entrypoints.composition import database
from tests.benchmarks import dashboard
from tests.benchmarks.dashboard import REPEAT, Bench, Figures
from tests.benchmarks.reads import vacuum
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.ingest import SERVE, machine, process
from tests.e2e.conftest import DevServer, bearer_of
from tests.e2e.dashboard.browser import started, whole_browser
from tests.e2e.dashboard.dashboard_project import START, Project
from tests.e2e.dashboard.experiment_project import DATASET, prepare_questions, run_experiment

WORKER: Final = [sys.executable, "-m", "entrypoints.cli", "worker"]
TRACES: Final = 10_000
SCORES: Final = 200
ITEMS: Final = 50
METRIC: Final = "says_it"
RULE: Final = {"path": "answer", "op": "contains", "value": "it"}
CELL: Final = "main tbody tr td"
# By view: its address below the project, and a selector of its content.
VIEWS: Final = {
    "overview": ("?period=24h", "main section[aria-label=Models] tbody tr"),
    "usage": ("usage?period=24h", CELL),
    "scores": ("scores?period=7d", "main a[href*='/scores/']"),
    "score": ("scores/quality?period=7d", CELL),
    "labelling": (f"label?name={METRIC}", "main article, main .empty-title"),
    "runs": ("runs", CELL),
    "run": ("runs/traces/{run}", CELL),
    "metrics": ("metrics", CELL),
    "metric": (f"metrics/{METRIC}", "main form"),
    "monitors": ("monitors", "main a[href*='/monitors/']:not([href$=new])"),
    "monitor": ("monitors/{monitor}", "main h1"),
    "alerts": ("alerts", "main a[href*='/monitors/']"),
    "comparison of groups": (
        "compare-groups?a=environment%3Dproduction&b=environment%3Dstaging",
        CELL,
    ),
    "datasets": ("datasets", "main a[href*='/datasets/']"),
    "dataset": (f"datasets/{DATASET}", CELL),
    "experiments": ("experiments", "main a[href*='/experiments/']"),
    "experiment": ("experiments/{candidate}", CELL),
    "verdict": ("experiments/{base}/compare/{candidate}", CELL),
    "data: exports": ("data?tab=exports", "main form"),
    "organization": ("../../o/{organization}/members", CELL),
    "audit log": ("../../o/{organization}/audit", CELL),
    "me": ("../../me", "main tbody td, main li"),
    "shared link": ("{shared}", "[role=treegrid]"),
}


def main() -> None:
    program = whole_browser()
    if program is None:
        print("no Chromium or Chrome is installed: the views are not measured")
        return
    with bench_folder() as folder, run_servers(folder) as servers:
        environ = dashboard.environ_of(servers, folder)
        settings = dashboard.settings_of(servers, folder)
        asyncio.run(database.migrate(settings))
        key = asyncio.run(provisioning.ensure_developer_key(settings, None))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with process(SERVE, f"{url}/health/ready", environ | {"PANDAPROBE_PORT": str(port)}):
            worker = subprocess.Popen(WORKER, env=environ)
            try:
                project = _project(url, key, folder, worker)
                asyncio.run(_fill(servers, project.id))
                ids = _seed(project)
                with started(program) as browser:
                    bench = Bench(url, browser, dashboard.signed_in(browser, url), Figures())
                    rows = list(_measured(bench, project, ids))
            finally:
                worker.terminate()
                worker.wait(30)
    print(machine(), "\n")
    print("\n".join(rows))


def _project(url: str, key: str, folder: Path, worker: subprocess.Popen[bytes]) -> Project:
    server = DevServer(folder / "data", {"PANDAPROBE_ENDPOINT": url}, worker)
    person = bearer_of(server, "dev@localhost", "Developer")
    server.environ["PANDAPROBE_TOKEN"] = person["Authorization"].split()[1]
    server.environ["PANDAPROBE_API_KEY"] = key
    server.environ["PANDAPROBE_PROJECT_NAME"] = "views"
    return Project(server)


async def _fill(servers: Servers, project: str) -> None:
    connection = await asyncpg.connect(servers.owner_url)
    try:
        begin = datetime.now(UTC) - TRACES * timedelta(seconds=20)
        await dashboard.fill_traces(connection, project, TRACES, begin)
        await dashboard.recount(connection)
    finally:
        await connection.close()
    await vacuum(servers.owner_url)


def _seed(project: Project) -> Mapping[str, str]:
    """Makes an object of each kind; the ids that addresses have."""
    traces = project.read(f"/traces?limit={SCORES}")["items"]
    for number, trace in enumerate(traces):
        score = {"trace_id": trace["trace_id"], "name": "quality", "value": str(number % 10 / 10)}
        project.send("/evaluations/trace-scores", score)
    metric = {"kind": "rule", "name": METRIC, "description": "It says it", "definition": RULE}
    project.send("/evaluations/custom-metrics", metric)
    answered = {
        "name": "answer", "status": "COMPLETED", "started_at": START.isoformat(),
        "ended_at": (START + timedelta(seconds=1)).isoformat(), "input": "is it?",
        "output": {"answer": "it is"},
    }  # fmt: skip
    own = [project.send("/traces", answered)["trace_id"] for _ in range(3)]
    run = {"name": "nightly", "metrics": [METRIC], "trace_ids": own}
    ids = {"run": project.send("/evaluations/trace-runs/batch", run)["id"]}
    monitor = {"name": "daily", "target_type": "TRACE", "metrics": [METRIC], "cadence": "daily"}
    ids["monitor"] = project.send("/evaluations/monitors", monitor)["id"]
    alert = {"metric": METRIC, "figure": "score_mean", "threshold": 1, "samples_min": 1}
    project.send(f"/evaluations/monitors/{ids['monitor']}/alerts", alert)
    questions = prepare_questions(project, ITEMS)
    right = {one: one for one in questions}
    ids["base"] = run_experiment(project, "before", right)
    ids["candidate"] = run_experiment(project, "after", right | {questions[0]: "wrong"})
    person = {"Authorization": f"Bearer {project.server.environ['PANDAPROBE_TOKEN']}"}
    within = {"X-Project-ID": project.id, "X-Organization-ID": project.organization}
    with project.server.client(**person, **within) as http:
        sharing = f"/organizations/{project.organization}/sharing"
        http.put(sharing, json={"public_links": True}).raise_for_status()
        ids["shared"] = http.post(f"/traces/{own[0]}/links", json={}).json()["url"]
    return ids | {"organization": project.organization}


def _noted(received: list[float]) -> Callable[[dict[str, float]], None]:
    return lambda one: received.append(one["encodedDataLength"])


def _measured(bench: Bench, project: Project, ids: Mapping[str, str]) -> Iterator[str]:
    yield "| view | CPU, ms: median, least | longest task, ms | requests | kB received |"
    yield "|---|---|---|---|---|"
    for view, (where, ready) in VIEWS.items():
        path = where.format_map(ids)
        url = f"{bench.url}{path}" if path.startswith("/") else project.path(path)
        figures = Figures()
        for _ in range(REPEAT):
            with bench.opened(url) as watched:
                received: list[float] = []  # bytes of each answer
                watched.devtools.send("Network.enable")
                watched.devtools.on("Network.loadingFinished", _noted(received))
                before = watched.cpu_ms()
                watched.go(url, ready)
                after = watched.cpu_ms()
                figures.add("cpu", after - before if after >= before else after)
                watched.page.wait_for_load_state("networkidle")
                figures.add("task", max(watched.seen()["tasks"], default=0))
                figures.add("requests", len(received))
                figures.add("kB", sum(received) / 1e3)
        cpu, least = figures.median("cpu"), min(figures.taken["cpu"])
        rest = (figures.median(one) for one in ("task", "requests", "kB"))
        yield f"| {view} | {cpu:.0f}, {least:.0f} | {' | '.join(f'{one:.0f}' for one in rest)} |"
        print(view, flush=True, file=sys.stderr)


if __name__ == "__main__":
    main()
