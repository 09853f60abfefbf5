"""Measures POST /traces, accepted and durable, and its lower bounds.

Prints Markdown.

    python -m tests.benchmarks.writes.ingest [--processes N] [SPANS …]

For 3, 12 and 100 spans per trace: the bare handler of `floor.py`, COPY of the same rows alone, and
`pandaprobe-server serve`, one process unless stated, over PostgreSQL with its default durability.
Everything, including the load generator, shares this machine's cores. With several processes the
memory is that of their parent.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from adapters.postgres.database.pool import PoolSettings, open_pool
from adapters.postgres.piccolo_conf import DB
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes import write_paths
from tests.support.fixtures.first_key import first_key

CONNECTIONS = 32
COUNTS = {3: 100_000, 12: 15_000, 100: 2_000}  # requests; memory is read after the first
READY_MAX_S = 120  # the bare handler prepares its rows before it listens
SERVE = [sys.executable, "-m", "entrypoints.cli", "serve"]


def load(
    url: str, headers: dict[str, str], spans: int, rate: float | None = None
) -> dict[str, Any]:
    """Runs the load generator as a separate process, and returns its report."""
    count = COUNTS[spans] if rate is None else int(rate * 8)
    command = [sys.executable, "-m", "tests.benchmarks.support.load", url]
    command += [str(spans), str(count), str(CONNECTIONS), *([str(rate)] if rate else [])]
    done = subprocess.run(
        command, input=json.dumps(headers), capture_output=True, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert set(report["statuses"]) == {"202"}, report
    return report


@contextmanager
def process(command: list[str], ready: str, environ: dict[str, str]) -> Iterator[tuple[int, float]]:
    """Yields a running process, and the seconds until `ready` was answered."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=environ)
    try:
        while True:
            try:
                urllib.request.urlopen(ready, timeout=1).read()
                break
            except (OSError, ValueError):
                assert time.perf_counter() - begin < READY_MAX_S, f"{command} isn't ready"
                assert child.poll() is None, f"{command} ended"
        yield child.pid, time.perf_counter() - begin
    finally:
        child.terminate()
        child.wait(15)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def copy_rate(servers: Servers, spans: int) -> float:
    """Measures traces per second of COPY alone: prepared rows, two connections, batches of 64."""
    made = [write_paths.rows(batch) for batch in write_paths.batches(spans, 0.0)]
    async with open_pool(DB, PoolSettings(url=servers.owner_url)) as pool:

        async def write(rows: write_paths.Rows) -> None:
            async with pool.acquire() as c, c.transaction():
                await write_paths.copy(c, rows)

        waiting = list(made)

        async def writer() -> None:
            while waiting:
                await write(waiting.pop())

        begin = time.perf_counter()
        await asyncio.gather(writer(), writer())
        took = time.perf_counter() - begin
    await empty(servers)
    return sum(len(rows[0]) for rows in made) / took


async def empty(servers: Servers) -> None:
    async with open_pool(DB, PoolSettings(url=servers.owner_url)) as pool:
        await pool.execute(
            "TRUNCATE traces, trace_payloads, span_rows, trace_facets, trace_hours,"
            " trace_percentiles, usage_hours, span_hours, sessions, session_hours,"
            " trace_users"
        )


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Python {platform.python_version()}"


def main(sizes: Sequence[int] = tuple(COUNTS), processes: int = 1) -> None:
    with bench_folder() as folder, run_servers(folder) as servers:
        port = free_port()
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        headers = {"X-API-Key": asyncio.run(first_key(settings)), "X-Project-Name": "bench"}
        environ = os.environ | {
            "PANDAPROBE_DATABASE_URL": servers.database_url,
            "PANDAPROBE_REDIS_URL": servers.redis_url,
            "PANDAPROBE_PORT": str(port),
            "PANDAPROBE_API_PROCESSES": str(processes),
            "PANDAPROBE_LOG_LEVEL": "WARNING",
            "PANDAPROBE_RATE_LIMIT_ENABLED": "off",  # tests/benchmarks/limiter.py measures its cost
        }
        floor_port = free_port()
        print(machine(), "\n", flush=True)
        print("| spans | kB | bare handler /s | COPY alone /s | bare handler and COPY /s | "
              "**serve, traces/s** | share | p50 ms | p99 ms | half load: p50 ms | p99 ms |",
              flush=True)  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for spans in sizes:
            floor = [sys.executable, "-m", "tests.benchmarks.support.floor", str(floor_port)]
            url = f"http://127.0.0.1:{floor_port}/"
            with process(floor, url, dict(os.environ)):
                bare = load(url + "traces", headers, spans)["per_s"]
            copy = asyncio.run(copy_rate(servers, spans))
            with process(
                [*floor, servers.owner_url, str(spans), str(COUNTS[spans])],
                url,
                dict(os.environ),
            ):
                allowed = load(url + "traces", headers, spans)["per_s"]
            asyncio.run(empty(servers))
            url = f"http://127.0.0.1:{port}/"
            with process(SERVE, url + "health/ready", environ) as (pid, ready_s):
                idle_mb = resident_mb(pid)
                full = load(url + "traces", headers, spans)
                half = load(url + "traces", headers, spans, rate=full["per_s"] / 2)
                used_mb = resident_mb(pid)
            print(
                f"| {spans} | {full['bytes'] / 1e3:.1f} | {bare:,.0f} | {copy:,.0f} | "
                f"{allowed:,.0f} | **{full['per_s']:,.0f}** | {full['per_s'] / allowed:.0%} | "
                f"{full['p50_ms']:.1f} | {full['p99_ms']:.1f} | "
                f"{half['p50_ms']:.1f} | {half['p99_ms']:.1f} |",
                flush=True,
            )
            print(f"<!-- ready after {ready_s:.2f} s; resident {idle_mb:.0f} MB idle, "
                  f"{used_mb:.0f} MB after {COUNTS[spans]:,} traces -->", flush=True)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("spans", type=int, nargs="*", default=tuple(COUNTS))
    given = parser.parse_args()
    main(given.spans, given.processes)
