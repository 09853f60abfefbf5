"""Measures the dashboard in Chromium, against a running `serve`.

Prints Markdown.

    [SCALE=1m] [REPEAT=5] python -m tests.benchmarks.dashboard [TRACES …]

Projects of 10,000 and 100,000 traces (with SCALE=1m also a million), traces of 10,000 and 100,000
spans, and payloads of 5 MB and of a million items, written by SQL or one request. Each figure is
the median of REPEAT runs, each in a browser context of its own. Browser, API and PostgreSQL share
this machine's cores, so that CPU time of the page's main thread says more than time on the clock.
"""

import asyncio
import gzip
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from playwright.sync_api import Browser, CDPSession, Page, expect

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from entrypoints import dashboard, provisioning
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.reads import vacuum
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.ingest import SERVE, machine, process, resident_mb
from tests.e2e.dashboard.browser import started, whole_browser
from tests.support.fixtures.rollup_recount import RECOUNT

SIZES: Final = (10_000, 100_000)
MILLION: Final = 1_000_000
LARGE: Final = (10_000, 100_000)  # spans of one trace
WORD_BYTES: Final = 5 << 20
ITEMS: Final = 1_000_000
REPEAT: Final = int(os.environ.get("REPEAT", "5"))
FRAMES: Final = 120
PRESSES: Final = 20
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
LONG_TASK_MS: Final = 50
SHOWN_MAX_S: Final = 60
POLL_MS: Final = 10
MEASURED: Final = "measured"  # a mark, by which the thread of a page is found

INSERT_TRACES: Final = """
INSERT INTO traces (project_id, trace_id, name, search_name, status, started_at, ended_at,
                    session_id, user_id, environment, release, tags, metadata, span_count,
                    error_span_count, prompt_tokens, completion_tokens, total_cost,
                    unpriced_span_count, models, terms)
SELECT $1, gen_random_uuid(), 'answer question ' || i % 20, 'answer question ' || i % 20,
       CASE WHEN i % 20 = 0 THEN 'ERROR' ELSE 'COMPLETED' END, at, at + i % 997 * interval '7 ms',
       'conv-' || i / 4, 'user-' || i % 500, CASE WHEN i % 5 > 0 THEN 'production' ELSE 'staging'
       END, '1.' || i / 2000, ARRAY['prod'], json_build_object('tenant', 't-' || i % 200), 3, 0, 36,
       15, 0.5, 0, '{}', '{}'
FROM generate_series(0, $2::int - 1) AS i
CROSS JOIN LATERAL (SELECT $3::timestamptz + i * interval '20 s' AS at) AS started
"""
INSERT_PAYLOADS: Final = """
INSERT INTO trace_payloads (project_id, trace_id, start, raw_bytes, block, input_preview,
                            output_preview)
SELECT project_id, trace_id, 0, 0, '', text, text FROM traces
CROSS JOIN LATERAL (SELECT 'Where is the order of ' || user_id || '? It was sent on Monday' AS text)
WHERE project_id = $1
"""
INSERT_SPANS: Final = """
INSERT INTO span_rows (project_id, trace_id, span_id, name, kind, status, started_at, ended_at,
                       model, prompt_tokens, completion_tokens, cost_amount, cost_source)
SELECT project_id, trace_id, gen_random_uuid(), 'step', 'LLM', 'OK', started_at, ended_at,
       CASE WHEN n = 1 THEN 'o3' ELSE 'gpt-4o' END, 12, 5, 0.1, 'client'
FROM traces CROSS JOIN generate_series(1, 3) AS n WHERE project_id = $1
"""
INSERT_LARGE_TRACE: Final = """
INSERT INTO traces (project_id, trace_id, name, search_name, status, started_at, ended_at, tags,
                    metadata, span_count, error_span_count, prompt_tokens, completion_tokens,
                    total_cost, unpriced_span_count, models, terms)
VALUES ($1, $2, 'large', 'large', 'COMPLETED', $4::timestamptz,
        $4::timestamptz + $3::int * interval '1 ms', '{}', '{}', $3::int,
        0, 0, 0, 0, 0, '{}', '{}')
"""
# Each hundredth span is a child of the root, the others are children of the one before.
INSERT_LARGE_SPANS: Final = """
INSERT INTO span_rows (project_id, trace_id, span_id, parent_span_id, name, kind, status,
                       started_at, ended_at, prompt_tokens, completion_tokens, cost_amount,
                       cost_source)
SELECT $1, $2, lpad(to_hex(n), 32, '0')::uuid,
       CASE WHEN n > 0 THEN lpad(to_hex(CASE WHEN n % 100 = 1 THEN 0 ELSE n - 1 END), 32, '0')::uuid
       END, 'step ' || n, CASE WHEN n % 3 = 0 THEN 'LLM' ELSE 'TOOL' END, 'OK',
       $4::timestamptz + n * interval '1 ms',
       $4::timestamptz + (CASE WHEN n = 0 THEN $3::int ELSE n + 5 END) * interval '1 ms',
       0, 0, 0, 'client'
FROM generate_series(0, $3::int - 1) AS n
"""

# What the page says of itself, from the same definitions as Lighthouse.
OBSERVE: Final = """
globalThis.seen = { tasks: [], shift: 0, largest: 0 };
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) seen.tasks.push(one.duration);
}).observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) seen.shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) seen.largest = one.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
"""
# Tells once that an element is there, after the frame that paints it. The driver's own ways to wait
# look for it in each frame, and take a quarter of the CPU time that is measured.
WATCH: Final = """
new MutationObserver((_, self) => {
  if (document.querySelector(%s) === null) return;
  self.disconnect();
  requestAnimationFrame(() => setTimeout(() => isShown(String(performance.now()))));
}).observe(document, { childList: true, subtree: true });
"""
READ_SEEN: Final = """({ ...seen,
  first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0 })"""
SCROLL: Final = """async ([selector, frames, step]) => {
  const box = document.querySelector(selector), times = [];
  const frame = () => new Promise(requestAnimationFrame);
  let last = await frame();
  for (let n = 0; n < frames; n++) {
    box.scrollTop += step;
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times.sort((a, b) => a - b)[Math.floor(frames * 0.95)];
}"""
# Requests that a page began until an instant, its own included.
STARTED: Final = """(ms) => 1 + performance.getEntriesByType("resource")
  .filter((one) => one.startTime <= ms).length"""
PRESS: Final = """async ([selector, key]) => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame();
  const begin = performance.now();
  const pressed = new KeyboardEvent("keydown", { key, bubbles: true });
  document.querySelector(selector).dispatchEvent(pressed);
  await frame();
  await new Promise((done) => setTimeout(done));
  return performance.now() - begin;
}"""


@dataclass(slots=True)
class Figures:
    """Medians of repeated measurements, in the order in which they were first taken."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, value: float) -> None:
        self.taken.setdefault(what, []).append(value)

    def median(self, what: str) -> float:
        return statistics.median(self.taken[what])

    def rows(self) -> Iterator[str]:
        yield "| | median | least | most |"
        yield "|---|---|---|---|"
        for what, values in self.taken.items():
            numbers = (statistics.median(values), min(values), max(values))
            yield f"| {what} | {' | '.join(_number(one) for one in numbers)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Watched:
    """A page, with the CPU time of its main thread."""

    page: Page
    devtools: CDPSession

    def metrics(self) -> dict[str, float]:
        answer = self.devtools.send("Performance.getMetrics")
        return {one["name"]: one["value"] for one in answer["metrics"]}

    def cpu_ms(self) -> float:
        """CPU of the page itself, without the commands that measure it."""
        metrics = self.metrics()
        return (metrics["TaskDuration"] - metrics["DevToolsCommandDuration"]) * 1e3

    def go(self, url: str, ready: str) -> float:
        """Goes there; returns the ms until an element that `ready` selects was painted."""
        reported: list[float] = []
        self.devtools.on(
            "Runtime.bindingCalled", lambda call: reported.append(float(call["payload"]))
        )
        for domain in ("Runtime", "Page"):
            self.devtools.send(f"{domain}.enable")
        self.devtools.send("Runtime.addBinding", {"name": "isShown"})
        source = WATCH % json.dumps(ready)
        script = self.devtools.send("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        self.page.goto(url, wait_until="commit")
        deadline = time.monotonic() + SHOWN_MAX_S
        while not reported:
            assert time.monotonic() < deadline, f"{ready} isn't there"
            self.page.wait_for_timeout(POLL_MS)  # in the driver: the page does nothing for it
        self.devtools.send("Page.removeScriptToEvaluateOnNewDocument", script)
        return reported[0]

    @property
    def heap_mb(self) -> float:
        self.devtools.send("HeapProfiler.collectGarbage")
        return self.metrics()["JSHeapUsedSize"] / 1e6

    @property
    def elements(self) -> int:
        found: int = self.page.evaluate("document.getElementsByTagName('*').length")
        return found

    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate(READ_SEEN)
        return found


@contextmanager
def traced(browser: Browser, page: Page) -> Iterator[list[float]]:
    """Yields a list that gets the CPU time of each task of the page's main thread, in ms.

    They are there once the block has ended. Unlike times on the clock, they are about those of a
    quiet machine.
    """
    tasks, events, ended = list[float](), list[dict[str, Any]](), list[object]()
    devtools = browser.new_browser_cdp_session()
    devtools.on("Tracing.dataCollected", lambda part: events.extend(part["value"]))
    devtools.on("Tracing.tracingComplete", lambda _: ended.append(True))
    config = {"includedCategories": ["toplevel", "blink.user_timing"]}
    devtools.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
    yield tasks
    page.evaluate(f"performance.mark('{MEASURED}')")
    devtools.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(POLL_MS)
    devtools.detach()
    [own] = {(one["pid"], one["tid"]) for one in events if one["name"] == MEASURED}
    tasks += [
        one.get("tdur", 0) / 1e3
        for one in events
        if (one["pid"], one["tid"]) == own and one["ph"] == "X" and one["name"].endswith("RunTask")
    ]


@dataclass(frozen=True, slots=True)
class Bench:
    """A server with filled projects, and a browser."""

    url: str
    browser: Browser
    state: Any  # cookies and storage of a person who is signed in
    figures: Figures

    @contextmanager
    def opened(self, path: str) -> Iterator[Watched]:
        """A page of an empty cache that is about to go to `path`."""
        with self.browser.new_context(storage_state=self.state) as context:
            page = context.new_page()
            page.goto(f"{self.url}/health")  # so that its process is that of the next page
            devtools = context.new_cdp_session(page)
            devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.add_init_script(OBSERVE)
            yield Watched(page, devtools)

    def go(self, on: Watched, what: str, path: str, ready: str) -> float:
        """Time and CPU from the navigation until what the selector `ready` finds is painted.

        Returns the ms until then.
        """
        before = on.cpu_ms()
        shown = on.go(f"{self.url}{path}", ready)
        self.figures.add(f"{what}: until shown, ms", shown)
        after = on.cpu_ms()  # counted from 0 if the page came into another process
        self.figures.add(f"{what}: CPU, ms", after - before if after >= before else after)
        return shown


def main(sizes: Sequence[int] = ()) -> None:
    program = whole_browser()
    if program is None:
        print("no Chromium or Chrome is installed: the dashboard is not measured")
        return
    sizes = sizes or (*SIZES, *([MILLION] if os.environ.get("SCALE") == "1m" else []))
    with bench_folder() as folder, run_servers(folder) as servers:
        environ = environ_of(servers, folder)
        settings = settings_of(servers, folder)
        asyncio.run(database.migrate(settings))
        key = asyncio.run(provisioning.ensure_developer_key(settings, None))
        figures = Figures()
        _measure_cost_of_serving(environ, figures)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        ready = f"{url}/health/ready"
        with process(SERVE, ready, environ | {"PANDAPROBE_PORT": str(port)}):
            names = [f"list-{size}" for size in sizes]
            projects = {name: _project(url, key, name) for name in [*names, "large"]}
            traces = [uuid.uuid4() for _ in LARGE]
            asyncio.run(_fill(servers, sizes, projects, traces))
            payloads = _send_payloads(url, key)
            with started(program) as browser:
                bench = Bench(url, browser, signed_in(browser, url), figures)
                for size in sizes:
                    _measure_list(bench, size, projects[f"list-{size}"])
                _measure_live(bench, projects["large"], key)
                for spans, trace in zip(LARGE, traces, strict=True):
                    _measure_trace(bench, spans, f"/app/p/{projects['large']}/traces/{trace}")
                for what, sent in payloads.items():
                    path = f"/app/p/{projects['large']}/traces/{sent}?span={_SPAN}"
                    _measure_payload(bench, what, path)
    print(machine(), "\n")
    print("\n".join(_sizes()), "\n")
    print("\n".join(figures.rows()))


def environ_of(servers: Servers, folder: Path) -> dict[str, str]:
    (folder / "data").mkdir()
    return os.environ | {
        "PANDAPROBE_DATABASE_URL": servers.database_url,
        "PANDAPROBE_REDIS_URL": servers.redis_url,
        "PANDAPROBE_DATA_DIR": str(folder / "data"),
        "PANDAPROBE_APP_ENV": "development",
        "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
        "PANDAPROBE_LOG_LEVEL": "WARNING",
    }


def settings_of(servers: Servers, folder: Path) -> Settings:
    return Settings(
        database_url=servers.database_url,
        migration_database_url=servers.owner_url,
        redis_url=servers.redis_url,
        data_dir=str(folder / "data"),
        app_env="development",
        auth_dev_issuer=True,
    )


def _project(url: str, key: str, name: str) -> uuid.UUID:
    """The id of a new project with one trace, which tells it."""
    headers = {"X-API-Key": key, "X-Project-Name": name}
    body = {"name": "first", "started_at": START.isoformat()}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        sent = http.post("/traces", json=body)
        assert sent.status_code == 202, sent.text
        return uuid.UUID(http.get(f"/traces/{sent.json()['trace_id']}").json()["project_id"])


async def fill_traces(
    connection: "asyncpg.Connection[Any]", project: object, size: int, begin: datetime
) -> None:
    """Traces of three spans, one each 20 s."""
    await connection.execute(INSERT_TRACES, project, size, begin, timeout=None)
    for sql in (INSERT_PAYLOADS, INSERT_SPANS):
        await connection.execute(sql, project, timeout=None)


async def recount(connection: "asyncpg.Connection[Any]") -> None:
    """Makes the roll-ups of what was inserted."""
    for sql in RECOUNT:
        await connection.execute(sql, timeout=None)


async def _fill(
    servers: Servers,
    sizes: Sequence[int],
    projects: dict[str, uuid.UUID],
    traces: Sequence[uuid.UUID],
) -> None:
    connection = await asyncpg.connect(servers.owner_url)
    try:
        for size in sizes:
            project = projects[f"list-{size}"]
            # The last trace starts now, so that the periods of the list show some.
            begin = datetime.now(UTC) - size * timedelta(seconds=20)
            await fill_traces(connection, project, size, begin)
        for spans, trace in zip(LARGE, traces, strict=True):
            for sql in (INSERT_LARGE_TRACE, INSERT_LARGE_SPANS):
                await connection.execute(sql, projects["large"], trace, spans, START, timeout=None)
        await recount(connection)
    finally:
        await connection.close()
    await vacuum(servers.owner_url)


_SPAN: Final = "00000000-0000-4000-8000-000000000001"


def _send_payloads(url: str, key: str) -> dict[str, str]:
    """The ids of traces with one span, by what its input is."""
    payloads = {
        "one word of 5 MB": json.dumps("x" * WORD_BYTES),
        "chat of 5 MB": json.dumps(
            {"messages": [{"role": "user", "content": "word " * 200}] * (WORD_BYTES // 1_050)}
        ),
        "array of a million numbers": f"[{','.join(map(str, range(ITEMS)))}]",
        "a million empty objects": f"[{','.join(['{}'] * ITEMS)}]",
    }
    sent = {}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        for what, payload in payloads.items():
            begin = START.isoformat()
            span = json.dumps({"span_id": _SPAN, "name": "call", "started_at": begin, "input": "@"})
            body = json.dumps({"name": what, "started_at": begin, "spans": ["@span"]})
            text = body.replace('"@span"', span.replace('"@"', payload))
            headers = {"X-API-Key": key, "X-Project-Name": "large"}
            headers |= {"Content-Type": "application/json"}
            answer = http.post("/traces", content=text, headers=headers)
            assert answer.status_code == 202, answer.text
            sent[what] = answer.json()["trace_id"]
    return sent


def signed_in(browser: Browser, url: str) -> Any:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_role("button", name="Continue as developer").click()
        expect(page.get_by_role("navigation")).to_be_visible()
        return context.storage_state()


def _measure_cost_of_serving(environ: dict[str, str], figures: Figures) -> None:
    """Start-up and memory of `serve` with and without the dashboard, alternately."""
    for _ in range(REPEAT):
        for switch in ("on", "off"):
            port = str(free_port())
            ready = f"http://127.0.0.1:{port}/health/ready"
            settings = {"PANDAPROBE_PORT": port, "PANDAPROBE_DASHBOARD": switch}
            with process(SERVE, ready, environ | settings) as (pid, _ready_s):
                figures.add(f"serve, dashboard {switch}: start, CPU, ms", _cpu_ms(pid))
                figures.add(f"serve, dashboard {switch}: resident, MB", resident_mb(pid))


def _cpu_ms(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(one.read_text().split()[0]) for one in threads) / 1e6


FIRST_ROW: Final = "tbody tr[data-index] a"


def _measure_list(bench: Bench, size: int, project: uuid.UUID) -> None:
    what, path, add = f"list of {size:,}", f"/app/p/{project}/traces", bench.figures.add
    for _ in range(REPEAT):
        with bench.opened(path) as watched:
            shown = bench.go(watched, what, path, FIRST_ROW)
            watched.page.wait_for_load_state("networkidle")
            add(f"{what}: requests until shown", watched.page.evaluate(STARTED, shown))
            seen = watched.seen()
            add(f"{what}: first contentful paint, ms", seen["first"])
            add(f"{what}: largest contentful paint, ms", seen["largest"])
            add(f"{what}: layout shift", seen["shift"])
            over = sum(one - LONG_TASK_MS for one in seen["tasks"])
            add(f"{what}: blocking time, ms", over)
            bench.go(watched, f"{what}, warm cache", path, FIRST_ROW)


def _measure_live(bench: Bench, project: uuid.UUID, key: str) -> None:
    headers = {"X-API-Key": key, "X-Project-Name": "large"}
    with bench.opened("") as watched, httpx.Client(base_url=bench.url, headers=headers) as http:
        page = watched.page
        page.goto(f"{bench.url}/app/p/{project}/traces?live=1")
        page.wait_for_selector(FIRST_ROW)
        for number in range(REPEAT):
            name = f"live {number}"
            page.evaluate("globalThis.sent = performance.now()")
            http.post("/traces", json={"name": name, "started_at": datetime.now(UTC).isoformat()})
            page.wait_for_selector(f"tbody a[title='{name}']")
            took = page.evaluate("performance.now() - sent")
            bench.figures.add("live: from stored to shown, ms", took)


def _measure_trace(bench: Bench, spans: int, path: str) -> None:
    what, add, grid = f"trace of {spans:,} spans", bench.figures.add, "[role=treegrid]"
    rows = f"{grid}[aria-rowcount='{spans + 1}']"
    for _ in range(REPEAT):
        with bench.opened(path) as watched:
            page = watched.page
            bench.go(watched, what, path, ".tg-row:nth-child(3)")
            page.wait_for_selector(rows)
            add(f"{what}: all rows known, ms", page.evaluate("performance.now()"))
            page.wait_for_load_state("networkidle")
            add(f"{what}: elements", watched.elements)
            add(f"{what}: heap, MB", watched.heap_mb)
            before = watched.cpu_ms()
            add(
                f"{what}: frames while scrolling, p95, ms",
                page.evaluate(SCROLL, [grid, FRAMES, 240]),
            )
            add(f"{what}: CPU of a frame, ms", (watched.cpu_ms() - before) / FRAMES)
            page.locator(grid).focus()
            pressed = [page.evaluate(PRESS, [grid, "ArrowDown"]) for _ in range(PRESSES)]
            add(f"{what}: arrow key until painted, ms", statistics.median(pressed))
            page.evaluate(PRESS, [grid, "Home"])
            keys = ("ArrowLeft", "ArrowRight") * 5
            pressed = [page.evaluate(PRESS, [grid, key]) for key in keys]
            add(f"{what}: fold or unfold all, ms", statistics.median(pressed))


MODES: Final = "section[aria-label=Input] .modes button"


def _measure_payload(bench: Bench, what: str, path: str) -> None:
    add = bench.figures.add
    for _ in range(REPEAT):
        with bench.opened(path) as watched, traced(bench.browser, watched.page) as on_cpu:
            page = watched.page
            bench.go(watched, what, path, MODES)
            box = page.locator("section[aria-label=Input]")
            before = watched.cpu_ms()
            if (more := box.locator("button", has_text="Load all")).count():
                more.click()
            box.locator(".modes button", has_text="JSON").click()
            page.wait_for_selector("section[aria-label=Input] .json")
            add(f"{what}: whole, indexed, ms", page.evaluate("performance.now()"))
            add(f"{what}: CPU of the rest, ms", watched.cpu_ms() - before)
            page.wait_for_load_state("networkidle")
            tasks = watched.seen()["tasks"]
            add(f"{what}: longest task, ms", max(tasks, default=0))
            add(f"{what}: tasks over {LONG_TASK_MS} ms", len(tasks))
            add(f"{what}: elements", watched.elements)
        add(f"{what}: longest task, CPU, ms", max(on_cpu))


def _sizes() -> Iterator[str]:
    """What is sent to a browser, compressed by gzip."""
    built = Path(dashboard.__file__).parent / "built"
    first = json.loads((built / "manifest.json").read_text())["first"]
    assets = sorted((built / "assets").iterdir())
    groups = {
        "script of the first view": [built / one for one in first if one.endswith(".js")],
        "all script": [one for one in assets if one.suffix == ".js"],
        "style": [one for one in assets if one.suffix == ".css"],
    }
    yield "| kB, compressed | |"
    yield "|---|---|"
    for what, files in groups.items():
        size = sum(len(gzip.compress(one.read_bytes(), 9)) for one in files)
        yield f"| {what} | {size / 1e3:.1f} |"


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
