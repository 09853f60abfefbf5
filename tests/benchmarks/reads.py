"""Measures every read of the data plane over HTTP with an API key.

Prints Markdown.

    [SCALE=1m] [FOLDER=/a/folder] [ONLY=pattern] python -m tests.benchmarks.reads [TRACES …]

Fills a project with 10,000 traces of about ten spans, and another with 100,000 (with SCALE=1m a
third one with a million), as `many_traces.py` says, each with as many scores. Then it sends each of
`read_requests.py` to one `serve` process: one connection, closed loop. Answers are read but not
decoded. *CPU* is that of the API and of PostgreSQL for one answer; elapsed times depend on the load
of the machine, which is printed. An answer other than 200 is printed with its body, and the program
exits with 1.

FOLDER keeps the data: a project that is filled isn't filled again. ONLY measures the requests
whose group and name match the pattern.

DATABASE=postgresql://owner@host/name uses that database, empty or filled before, in place of an
embedded server. POSTMASTERS are the ids of the processes of its servers, if they run here: one, or
those of all nodes of a cluster.
"""

import asyncio
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import asyncpg

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers, serving_url
from adapters.embedded.valkey import start_valkey
from application.use_cases import UseCases
from domain.identity.organization import Project
from domain.ids import ProjectId
from entrypoints import provisioning
from entrypoints.composition import database, root
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import cpu_s
from tests.benchmarks.support import many_traces
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.connection import Answer, Connection
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import quantile
from tests.benchmarks.support.read_requests import GROUPS, Read
from tests.benchmarks.writes.ingest import SERVE, machine, process
from tests.support.builders.many_scores import inserts

SIZES = (10_000, 100_000)
MILLION = 1_000_000
UNTIL = datetime(2026, 6, 1, tzinfo=UTC)  # all traces start in the 30 days before
DAYS = 30
PAGE = 50
DEEP = 50_000  # offset; a smaller project is read at its middle
WARM_UP, WARM_UP_MAX_S = 10, 5.0
REQUESTS_MIN, REQUESTS_MAX = 50, 200
ENOUGH_S = 2.0  # once REQUESTS_MIN are done
SLOW_MAX_S, SLOW_MIN = 8.0, 5  # slow reads are repeated less often
WALK_PAGES = 20  # pages around the measured one
PROBED = 1_000  # traces among which values are searched

type Times = list[float]  # seconds


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of each answer, and seconds of CPU for one answer."""

    times: Times
    api: float
    postgres: float

    def cells(self) -> str:
        numbers = (quantile(self.times, 0.5), quantile(self.times, 0.95), self.api, self.postgres)
        return "".join(f" {one * 1e3:.1f} |" for one in numbers)


@dataclass(frozen=True, slots=True)
class Measured:
    """A connection to `serve`, with the processes whose CPU is measured."""

    http: Connection
    api: int
    postmasters: Sequence[int]

    def cpu(self) -> tuple[float, float]:
        return cpu_s(self.api), sum(map(cpu_s, self.postmasters))


@dataclass(frozen=True, slots=True)
class Running:
    """The URLs of running servers, and the processes of PostgreSQL."""

    database_url: str
    owner_url: str
    redis_url: str
    postmasters: Sequence[int]


@dataclass(slots=True)
class Results:
    """Costs or failures, by scale, group and label."""

    costs: dict[tuple[int, str, str], Cost] = field(default_factory=dict)
    failures: dict[tuple[int, str, str], str] = field(default_factory=dict)


class UnexpectedAnswer(Exception):
    """An answer other than 200, or with unexpected content."""

    def __init__(self, target: str, answer: Answer, why: str = "") -> None:
        text = answer.body[:500].decode(errors="replace")
        super().__init__(f"{why}GET {target} → {answer.status} {text}")


def get(http: Connection, target: str) -> tuple[Answer, float]:
    begin = time.perf_counter()
    answer = http.get(target)
    took = time.perf_counter() - begin
    if answer.status != 200:
        raise UnexpectedAnswer(target, answer)
    return answer, took


def measure(of: Measured, targets: Sequence[str]) -> Cost:
    """Measures the answers after a warm-up; cycles through the targets."""
    again = cycle(targets)
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        get(of.http, next(again))
        if time.perf_counter() - begin > WARM_UP_MAX_S:
            break
    times: Times = []
    used, begin = of.cpu(), time.perf_counter()
    while len(times) < REQUESTS_MAX:
        times.append(get(of.http, next(again))[1])
        spent = time.perf_counter() - begin
        if len(times) >= (REQUESTS_MIN if spent < SLOW_MAX_S else SLOW_MIN) and spent > ENOUGH_S:
            break
    api, postgres = (
        (after - before) / len(times) for after, before in zip(of.cpu(), used, strict=True)
    )
    return Cost(times, api, postgres)


def targets_around(http: Connection, read: Read, values: dict[str, str], offset: int) -> list[str]:
    """Returns targets of the pages around `offset`, found by following `next_cursor`."""

    def page(limit: int, cursor: str | None) -> str:
        query = (*read.query, ("limit", str(limit)), *([("cursor", cursor)] if cursor else []))
        return Read("", read.path, query).target(values)

    cursor, at = None, 0
    targets: list[str] = []
    while len(targets) < WALK_PAGES:
        target = page(PAGE if at >= offset else min(200, offset - at), cursor)
        answer, _ = get(http, target)
        found = answer.json()
        cursor = found["next_cursor"]
        at += len(found["items"])
        if cursor is None:
            if not targets:
                raise UnexpectedAnswer(target, answer, f"no next_cursor after {at} items: ")
            break
        if at >= offset:
            targets.append(page(PAGE, cursor))
    return targets


def values_of(http: Connection, traces: int, trace_of_5000: str) -> dict[str, str]:
    """Returns values for the names in the requests; reads those that are not known in advance."""
    recent = [
        trace
        for offset in range(0, min(PROBED, traces), 200)
        for trace in get(http, f"/traces?limit=200&offset={offset}")[0].json()["items"]
    ]
    sessions = Counter(trace["session_id"] for trace in recent if trace["session_id"])
    spans = get(http, "/spans?limit=200&kind=TOOL")[0].json()["items"]
    names = Counter(span["name"] for span in spans)
    total = get(http, "/traces?limit=1")[0].json()["total"]
    deep = min(DEEP, total // 2) // PAGE * PAGE
    near = min(recent, key=lambda trace: (abs(trace["span_count"] - 12), trace["trace_id"]))
    return {
        "deep": f"{deep}",
        "deep_session": f"{min(10_000, traces // 10)}",
        "deep_user": f"{min(10_000, traces // 40)}",
        "rare_word": many_traces.rare_words(traces)[-1],
        "session": sessions.most_common(1)[0][0],
        "frequent_user": "user-000000",
        "rare_user": f"user-{max(1, total // 20) - 1:06d}",
        "trace_of_12": near["trace_id"],
        "trace_of_5000": trace_of_5000,
        "frequent_span": names.most_common(1)[0][0],
        "day_ends": (UNTIL - timedelta(days=13)).isoformat(),
        "week_begins": (UNTIL - timedelta(days=14)).isoformat(),
        "week_ends": (UNTIL - timedelta(days=7)).isoformat(),
        "month_begins": (UNTIL - timedelta(days=DAYS)).isoformat(),
        "month_ends": UNTIL.isoformat(),
    }


def measure_all(of: Measured, traces: int, trace_of_5000: str, into: Results) -> None:
    values = values_of(of.http, traces, trace_of_5000)
    for group, read in chosen():
        key = (traces, group, read.label)
        try:
            deep = int(values["deep" if read.path == "/traces" else "deep_session"])
            targets = (
                targets_around(of.http, read, values, deep) if read.walks else [read.target(values)]
            )
            cost = into.costs[key] = measure(of, targets)
            result = cost.cells()
        except UnexpectedAnswer as refused:
            into.failures[key] = result = str(refused)
        print(f"{traces:,} {group}: {read.label}: {result}", file=sys.stderr, flush=True)


def chosen() -> Iterator[tuple[str, Read]]:
    """The requests to measure, with their groups."""
    only = re.compile(os.environ.get("ONLY", ""))
    for group, reads in GROUPS.items():
        for read in reads:
            if only.search(f"{group}: {read.label}"):
                yield group, read


def large_trace(port: int, headers: dict[str, str], traces: int) -> str:
    """Sends a trace of 5,000 spans outside the period of the others; returns its id."""
    content = body(random.Random(traces), 5_000)
    with Connection(port, headers) as http:  # the service closes connections without a request
        answer = http.post("/traces", content)
    assert answer.status == 202, answer
    return str(answer.json()["trace_id"])


def project(traces: int) -> str:
    return f"reads-{traces}"


async def vacuum(owner_url: str) -> None:
    """Does now what autovacuum would do later."""
    connection = await asyncpg.connect(owner_url)
    await connection.execute("VACUUM ANALYZE", timeout=None)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def prepare(settings: Settings, traces: int) -> bool:
    """Fills the project of this size. Returns False if it is filled."""
    owner_url, name = settings.migration_database_url or "", project(traces)
    owner = await asyncpg.connect(owner_url)
    known = await owner.fetchval("SELECT id FROM projects WHERE name = $1", name)
    filled = known and await owner.fetchval(
        "SELECT EXISTS (SELECT 1 FROM trace_scores WHERE project_id = $1)", known
    )
    if not filled:
        id_ = await ensure_project(settings, name)
        await many_traces.fill(owner_url, id_, traces, UNTIL)
        async with many_traces.without_indexes([owner], ("trace_scores", "session_scores")):
            for sql, arguments in inserts(id_, traces, traces // 5):
                await owner.execute(sql, *arguments, timeout=None)
    await owner.close()
    return not filled


async def ensure_project(settings: Settings, name: str) -> ProjectId:
    async with root.ports(settings) as ports:
        owner = await provisioning.resolve_organization(settings, UseCases(ports).identity, None)
        new = Project(
            id=ProjectId(ports.new_id()), organization_id=owner, name=name, created_at=ports.clock()
        )
        return (await ports.identity.projects.ensure(owner, new)).id


@contextmanager
def serving(environ: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yields the port and the process of a running `serve`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/ready"
    with process(SERVE, url, environ | {"PANDAPROBE_PORT": str(port)}) as (pid, _):
        yield port, pid


def table(results: Results, sizes: Sequence[int]) -> Iterator[str]:
    """Yields a Markdown table in milliseconds: a row per read, four columns per scale."""
    columns = "".join(f" {size:,}: p50 | p95 | CPU: API | PostgreSQL |" for size in sizes)
    yield f"| ms |{columns}"
    yield f"|---|{'---|---|---|---|' * len(sizes)}"
    last = ""
    for group, read in chosen():
        if group != last:
            yield f"| **{group}** |{' | | | |' * len(sizes)}"
            last = group
        costs = [results.costs.get((size, group, read.label)) for size in sizes]
        cells = "".join(cost.cells() if cost else " failed | | | |" for cost in costs)
        yield f"| {read.label} |{cells}"


@contextmanager
def data_folder() -> Iterator[Path]:
    if kept := os.environ.get("FOLDER"):
        folder = Path(kept)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        yield folder
    else:
        with bench_folder() as folder:
            yield folder


@contextmanager
def running(folder: Path, options: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Servers on the folder, or DATABASE with a Valkey on the folder."""
    if not (owner_url := os.environ.get("DATABASE")):
        with run_servers(folder, options) as servers:
            postgres = servers.children[0].process.pid
            yield Running(servers.database_url, servers.owner_url, servers.redis_url, [postgres])
        return
    valkey, redis_url = start_valkey(folder)
    try:
        postmasters = [int(one) for one in os.environ.get("POSTMASTERS", "").split(",") if one]
        yield Running(serving_url(owner_url), owner_url, redis_url, postmasters)
    finally:
        valkey.stop()


def fill(folder: Path, sizes: Sequence[int]) -> None:
    with running(folder, many_traces.FILLING) as servers:
        settings, _ = configured(folder, servers)
        asyncio.run(database.migrate(settings))
        filled = [asyncio.run(prepare(settings, traces)) for traces in sizes]
        if any(filled):
            asyncio.run(vacuum(servers.owner_url))


def configured(folder: Path, servers: Running | Servers) -> tuple[Settings, dict[str, str]]:
    """The settings, for this process and for others."""
    settings = Settings(
        database_url=servers.database_url,
        migration_database_url=servers.owner_url,
        redis_url=servers.redis_url,
        data_dir=str(folder / "data"),
        app_env="development",
        auth_dev_issuer=True,
    )
    Path(settings.data_dir).mkdir(exist_ok=True)
    return settings, os.environ | {
        "PANDAPROBE_DATABASE_URL": servers.database_url,
        "PANDAPROBE_REDIS_URL": servers.redis_url,
        "PANDAPROBE_DATA_DIR": settings.data_dir,
        "PANDAPROBE_APP_ENV": "development",
        "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
        "PANDAPROBE_LOG_LEVEL": "WARNING",
    }


def main(sizes: Sequence[int] = ()) -> int:
    sizes = sizes or (*SIZES, *([MILLION] if os.environ.get("SCALE") == "1m" else []))
    results, loads = Results(), [os.getloadavg()[0]]
    with data_folder() as folder:
        fill(folder, sizes)
        with running(folder) as servers:
            settings, environ = configured(folder, servers)
            key = asyncio.run(provisioning.ensure_developer_key(settings, None))
            for traces in sizes:
                headers = {"X-API-Key": key, "X-Project-Name": project(traces)}
                with serving(environ) as (port, api):
                    large = large_trace(port, headers, traces)
                    asyncio.run(many_traces.catch_up(servers.owner_url))
                    with Connection(port, headers) as http:
                        measure_all(
                            Measured(http, api, servers.postmasters), traces, large, results
                        )
                loads.append(os.getloadavg()[0])
    print(machine(), f"Load: {', '.join(f'{one:.0f}' for one in loads)}.\n")
    print("\n".join(table(results, sizes)))
    for (size, group, label), error in results.failures.items():
        print(f"\nFAILED at {size:,}: {group}: {label}: {error}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]]))
