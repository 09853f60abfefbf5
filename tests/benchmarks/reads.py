"""Measures every read of the data plane over HTTP with an API key.

Prints Markdown.

    [SCALE=1m] python -m tests.benchmarks.reads [TRACES …]

Fills a project with 10,000 traces of about ten spans, and another with 100,000 (with SCALE=1m a
third one with a million, about 25 GB of disk), and sends each of `read_requests.py` to one `serve`
process: one connection, closed loop. Answers are read but not decoded. Load generator, API and
PostgreSQL share this machine's cores. An answer other than 200 is printed with its body, and the
program exits with 1.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import asyncpg

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from entrypoints import provisioning
from entrypoints.composition import root
from entrypoints.settings import Settings
from tests.benchmarks.bodies import body
from tests.benchmarks.connection import Answer, Connection
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.ingest import SERVE, machine, process
from tests.benchmarks.load import quantile
from tests.benchmarks.read_requests import GROUPS, Read

SIZES = (10_000, 100_000)
MILLION = 1_000_000
UNTIL = datetime(2026, 6, 1, tzinfo=UTC)  # all traces start in the 30 days before
DAYS = 30
PAGE = 50
DEEP = 50_000  # offset; a smaller project is read at its middle
WARM_UP, WARM_UP_MAX_S = 10, 5.0
REQUESTS_MIN, REQUESTS_MAX = 100, 200
ENOUGH_S = 3.0  # once REQUESTS_MIN are done
SLOW_MAX_S, SLOW_MIN = 15.0, 5  # slow reads are repeated less often
WALK_PAGES = 20  # pages around the measured one
PROBED = 1_000  # traces among which values are searched

type Times = list[float]  # seconds


@dataclass(slots=True)
class Results:
    """Durations or failures, by scale, group and label."""

    times: dict[tuple[int, str, str], Times] = field(default_factory=dict)
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


def measure(http: Connection, targets: Sequence[str]) -> Times:
    """Returns the seconds of each answer after a warm-up; cycles through the targets."""
    again = cycle(targets)
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        get(http, next(again))
        if time.perf_counter() - begin > WARM_UP_MAX_S:
            break
    times: Times = []
    begin = time.perf_counter()
    while len(times) < REQUESTS_MAX:
        times.append(get(http, next(again))[1])
        spent = time.perf_counter() - begin
        if len(times) >= (REQUESTS_MIN if spent < SLOW_MAX_S else SLOW_MIN) and spent > ENOUGH_S:
            break
    return times


def targets_around(http: Connection, read: Read, values: dict[str, str], offset: int) -> list[str]:
    """Returns targets of the pages around `offset`, found by following `next_cursor`."""

    def page(limit: int, cursor: str | None) -> str:
        query = (*read.query, ("limit", str(limit)), *([("cursor", cursor)] if cursor else []))
        return Read("", read.path, query).target(values)

    cursor, at, targets = None, 0, []
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
        "session": sessions.most_common(1)[0][0],
        "frequent_user": "user-000000",
        "rare_user": f"user-{max(1, traces // 20) - 1:06d}",
        "trace_of_12": near["trace_id"],
        "trace_of_5000": trace_of_5000,
        "frequent_span": names.most_common(1)[0][0],
        "day_ends": (UNTIL - timedelta(days=13)).isoformat(),
        "week_begins": (UNTIL - timedelta(days=14)).isoformat(),
        "week_ends": (UNTIL - timedelta(days=7)).isoformat(),
        "month_begins": (UNTIL - timedelta(days=DAYS)).isoformat(),
        "month_ends": UNTIL.isoformat(),
    }


def measure_all(http: Connection, traces: int, trace_of_5000: str, into: Results) -> None:
    values = values_of(http, traces, trace_of_5000)
    for group, reads in GROUPS.items():
        for read in reads:
            key = (traces, group, read.label)
            try:
                deep = int(values["deep" if read.path == "/traces" else "deep_session"])
                targets = (
                    targets_around(http, read, values, deep)
                    if read.walks
                    else [read.target(values)]
                )
                into.times[key] = measure(http, targets)
                result = f"{quantile(into.times[key], 0.5) * 1e3:.2f} ms"
            except UnexpectedAnswer as refused:
                into.failures[key] = result = str(refused)
            print(f"{traces:,} {group}: {read.label}: {result}", file=sys.stderr, flush=True)


def large_trace(http: Connection, traces: int) -> str:
    """Sends a trace of 5,000 spans outside the period of the others; returns its id."""
    content = body(random.Random(traces), 5_000)
    answer = http.post("/traces", content)
    assert answer.status == 202, answer
    return answer.json()["trace_id"]


def seed(environ: dict[str, str], traces: int) -> None:
    command = [sys.executable, "-m", "entrypoints.cli", "seed", "--traces", str(traces)]
    command += ["--project", project(traces), "--seed", str(traces), "--days", str(DAYS)]
    subprocess.run([*command, "--until", UNTIL.isoformat()], env=environ, check=True, stdout=2)


def project(traces: int) -> str:
    return f"reads-{traces}"


async def vacuum(servers: Servers) -> None:
    """Does now what autovacuum would do later."""
    connection = await asyncpg.connect(servers.owner_url)
    await connection.execute("VACUUM ANALYZE", timeout=None)
    await connection.execute("CHECKPOINT")
    await connection.close()


@contextmanager
def serving(environ: dict[str, str]) -> Iterator[int]:
    """Yields the port of a running `serve`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/ready"
    with process(SERVE, url, environ | {"PANDAPROBE_PORT": str(port)}):
        yield port


def table(results: Results, sizes: Sequence[int]) -> Iterator[str]:
    """Yields a Markdown table in milliseconds: a row per read, three columns per scale."""
    columns = "".join(f" {size:,}: p50 | p95 | p99 |" for size in sizes)
    yield f"| ms |{columns}"
    yield f"|---|{'---|---|---|' * len(sizes)}"
    for group, reads in GROUPS.items():
        yield f"| **{group}** |{' | | |' * len(sizes)}"
        for read in reads:
            cells = ""
            for size in sizes:
                times = results.times.get((size, group, read.label))
                cells += (
                    "".join(f" {quantile(times, q) * 1e3:.1f} |" for q in (0.5, 0.95, 0.99))
                    if times
                    else " failed | | |"
                )
            yield f"| {read.label} |{cells}"


def main(sizes: Sequence[int] = ()) -> int:
    sizes = sizes or (*SIZES, *([MILLION] if os.environ.get("SCALE") == "1m" else []))
    results = Results()
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
            data_dir=str(folder / "data"),
            app_env="development",
            auth_dev_issuer=True,
        )
        environ = os.environ | {
            "PANDAPROBE_DATABASE_URL": servers.database_url,
            "PANDAPROBE_REDIS_URL": servers.redis_url,
            "PANDAPROBE_DATA_DIR": settings.data_dir,
            "PANDAPROBE_APP_ENV": "development",
            "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
            "PANDAPROBE_AUTH_DEV_ISSUER": "on",
            "PANDAPROBE_LOG_LEVEL": "WARNING",
        }
        Path(settings.data_dir).mkdir()
        asyncio.run(root.migrate(settings))
        key = asyncio.run(provisioning.ensure_developer_key(settings, None))
        for traces in sizes:
            seed(environ, traces)
            headers = {"X-API-Key": key, "X-Project-Name": project(traces)}
            with serving(environ) as port:
                with Connection(port, headers) as http:
                    large = large_trace(http, traces)
                asyncio.run(vacuum(servers))
                with Connection(port, headers) as http:
                    measure_all(http, traces, large, results)
    print(machine(), "\n")
    print("\n".join(table(results, sizes)))
    for (size, group, label), error in results.failures.items():
        print(f"\nFAILED at {size:,}: {group}: {label}: {error}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]]))
