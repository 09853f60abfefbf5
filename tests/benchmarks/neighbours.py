"""Measures one key's latency while another key floods the service.

Prints Markdown.

    python -m tests.benchmarks.neighbours

One `serve` process. The quiet key alternately stores a trace of 12 spans and requests a first page
of 50, at times that are fixed in advance: latency counts from the intended time. The flood, a
separate process, sends at a rate, or as fast as its connections are answered. Rounds with and
without the flood alternate, so that both see the same machine.
"""

import asyncio
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import uvloop

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import answer, quantile
from tests.benchmarks.writes.ingest import SERVE, machine, process
from tests.support.fixtures.first_key import first_key

LIMIT = 100  # requests per second of each key, if limits are on
QUIET_RATE = 40  # requests a second, half of them writes
QUIET_CONNECTIONS = 16  # a slow request must not delay the next
ROUNDS = 4
ROUND_S = 10
WARM_UP_S = 3
SPANS = 12
BODIES = 200  # which are sent repeatedly, as new traces
TRACES = 2_000  # of each key, stored before the measurement

type Headers = dict[str, str]
Times = dict[str, list[float]]  # seconds of each answer, by method


@dataclass(frozen=True, slots=True)
class Flood:
    """`rate` requests per second over all connections; None: as fast as they are answered."""

    label: str
    method: str
    connections: int
    rate: float | None = None


WITH_LIMITS = (
    Flood(f"writes at the limit, {LIMIT}/s", "POST", 32, LIMIT),
    Flood(f"writes at 10 times the limit, {LIMIT * 10}/s", "POST", 32, LIMIT * 10),
    Flood("writes, 32 connections, immediate retries", "POST", 32),
)
WITHOUT_LIMITS = (
    Flood("reads, 4 connections, as fast as possible", "GET", 4),
    Flood("reads, 32 connections, as fast as possible", "GET", 32),
    Flood("reads, 256 connections, as fast as possible", "GET", 256),
)


def request(port: int, method: str, headers: Headers, content: bytes = b"") -> bytes:
    path = "/traces" if method == "POST" else "/traces?limit=50"
    lines = {"Host": f"127.0.0.1:{port}", **headers, "Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def requests(port: int, method: str, headers: Headers) -> list[bytes]:
    if method == "GET":
        return [request(port, method, headers)]
    random_ = random.Random(time.time_ns())
    return [request(port, method, headers, body(random_, SPANS)) for _ in range(BODIES)]


async def flood(port: int, flood: Flood, headers: Headers) -> None:
    """Floods until SIGTERM, then prints the rate of answers by status."""
    made = requests(port, flood.method, headers)
    statuses: Counter[int] = Counter()
    begin, sent, ended = time.perf_counter(), 0, asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

    async def one() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            number, sent = sent, sent + 1
            if flood.rate is not None:
                intended = begin + number / flood.rate
                await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            writer.write(made[number % len(made)])
            statuses[await answer(reader)] += 1

    tasks = [asyncio.create_task(one()) for _ in range(flood.connections)]
    await ended.wait()
    for task in tasks:
        task.cancel()
    took = time.perf_counter() - begin
    print(json.dumps({status: count / took for status, count in statuses.items()}))


@contextmanager
def running_flood(port: int, kind: Flood, headers: Headers) -> Iterator[dict[str, float]]:
    """Runs a flood during the block; fills the yielded dict with answers per second by status."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.neighbours", "flood", str(port), kind.method,
         str(kind.connections), str(kind.rate or "")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(headers))
    child.stdin.close()
    answered: dict[str, float] = {}
    try:
        time.sleep(WARM_UP_S)
        yield answered
    finally:
        child.terminate()
        assert child.stdout is not None
        answered.update(json.loads(child.stdout.read()))
        child.wait(15)


async def measure_quiet_key(
    port: int, headers: Headers, seconds: float, refused: Counter[int] | None = None
) -> Times:
    """Returns the seconds of each answer, by method.

    Answers other than a success are counted in `refused`; without it they end the measurement.
    """
    made = {method: requests(port, method, headers) for method in ("POST", "GET")}
    times: Times = {"POST": [], "GET": []}
    total, begin, sent = int(seconds * QUIET_RATE), time.perf_counter(), 0

    async def one() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while sent < total:
            number, sent = sent, sent + 1
            method = "GET" if number % 2 else "POST"
            intended = begin + number / QUIET_RATE
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            writer.write(made[method][number % len(made[method])])
            status = await answer(reader)
            if status not in {200, 202}:
                assert refused is not None, status
                refused[status] += 1
            times[method].append(time.perf_counter() - intended)
        writer.close()

    gc.collect()
    gc.disable()
    await asyncio.gather(*(one() for _ in range(QUIET_CONNECTIONS)))
    gc.enable()
    return times


def add(into: Times, more: Times) -> None:
    for method, times in more.items():
        into.setdefault(method, []).extend(times)


def row(label: str, alone: Times, during: Times) -> str:
    cells = []
    for method in ("POST", "GET"):
        of = [quantile(times[method], q) * 1e3 for times in (alone, during) for q in (0.5, 0.99)]
        cells.append(" | ".join(f"{one:.1f}" for one in of) + f" | {of[3] / of[1]:.1f} ×")
    return f"| {label} | {' | '.join(cells)} |"


def measure(
    servers: Servers, keys: tuple[str, str], floods: tuple[Flood, ...], limited: bool
) -> None:
    port = free_port()
    environ = os.environ | {
        "PANDAPROBE_DATABASE_URL": servers.database_url,
        "PANDAPROBE_REDIS_URL": servers.redis_url,
        "PANDAPROBE_PORT": str(port),
        "PANDAPROBE_LOG_LEVEL": "WARNING",
        "PANDAPROBE_RATE_LIMIT_ENABLED": "on" if limited else "off",
        "PANDAPROBE_RATE_LIMIT_INGEST": f"{LIMIT}/second",
        "PANDAPROBE_RATE_LIMIT_DEFAULT": f"{LIMIT}/second",
    }
    ours, theirs = ({"X-API-Key": key, "X-Project-Name": "bench"} for key in keys)
    with process(SERVE, f"http://127.0.0.1:{port}/health/ready", environ):
        uvloop.run(measure_quiet_key(port, ours, WARM_UP_S))
        for kind in floods:
            alone, during = Times(), Times()
            rates_by_status: dict[str, float] = {}
            for _ in range(ROUNDS):
                add(alone, uvloop.run(measure_quiet_key(port, ours, ROUND_S)))
                with running_flood(port, kind, theirs) as answered:
                    add(during, uvloop.run(measure_quiet_key(port, ours, ROUND_S)))
                for status, rate in answered.items():
                    rates_by_status[status] = rates_by_status.get(status, 0.0) + rate / ROUNDS
            rates = ", ".join(
                f"{rate:,.0f}/s {status}" for status, rate in sorted(rates_by_status.items())
            )
            print(row(f"{kind.label} ({rates})", alone, during), flush=True)


def fill(servers: Servers, key: str) -> None:
    environ = os.environ | {
        "PANDAPROBE_DATABASE_URL": servers.database_url,
        "PANDAPROBE_REDIS_URL": servers.redis_url,
        "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
        "PANDAPROBE_LOG_LEVEL": "WARNING",
    }
    port = free_port()
    with process(SERVE, f"http://127.0.0.1:{port}/health/ready",
                 environ | {"PANDAPROBE_PORT": str(port)}):  # fmt: skip
        load = [
            sys.executable,
            "-m",
            "tests.benchmarks.support.load",
            f"http://127.0.0.1:{port}/traces",
        ]
        headers = json.dumps({"X-API-Key": key, "X-Project-Name": "bench"})
        subprocess.run([*load, str(SPANS), str(TRACES), "8"], input=headers, text=True,
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip


def main() -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(run_servers(stack.enter_context(bench_folder())))
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        keys = asyncio.run(first_key(settings)), asyncio.run(first_key(settings))
        for key in keys:
            fill(servers, key)
        print(machine(), "\n", flush=True)
        columns = "p50 | p99 | during the flood: p50 | p99 | p99 ratio"
        print(f"| ms | write, alone: {columns} | first page, alone: {columns} |")
        print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
        measure(servers, keys, WITH_LIMITS, limited=True)
        measure(servers, keys, WITHOUT_LIMITS, limited=False)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flood", port, method, connections, rate]:
            kind = Flood("", method, int(connections), float(rate) if rate else None)
            uvloop.run(flood(int(port), kind, json.load(sys.stdin)))
        case _:
            main()
