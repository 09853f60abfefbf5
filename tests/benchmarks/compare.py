"""Compares two trees in one run, by bursts that alternate between them.

Prints Markdown.

    python -m tests.benchmarks.compare OTHER_TREE [SHAPE …]

A machine that others share is faster at one minute than at the next, so runs one after the other
can't be compared. Here both services run at the same time, each with a PostgreSQL and a Valkey of
its own, and each burst of requests to one is followed by the same burst to the other. Each pair
gives a ratio, this tree to the other; the table has the medians, and the quartiles as the spread.
CPU time per request is that of the API process, and of all processes of the PostgreSQL. It varies
less than elapsed time on a busy machine; the least of all bursts varies least.

OTHER_TREE needs its own `.venv`, the commands `migrate`, `serve` and `token`, and the same REST
API. Shapes that it lacks (such as OTLP) are left out.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from adapters.embedded.process import free_port
from adapters.embedded.servers import run_servers
from tests.benchmarks.support.bodies import body
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import answer, quantile
from tests.benchmarks.writes import otlp
from tests.benchmarks.writes.ingest import machine, process, resident_mb

ROUNDS: Final = 16
BURST_S: Final = 1.5
TEMPLATE_SPANS: Final = 1_200  # of all bodies that are sent repeatedly, each time with new ids
BATCH_TRACES: Final = 20
STORED_TRACES: Final = 3_000  # of 12 spans, before the first read
STORED_SCORES: Final = 3_000
LONG_SPANS: Final = 5_000
OTLP_KILOBYTES: Final = 0.5
WRITE_CONNECTIONS: Final = 32
READ_CONNECTIONS: Final = 4
UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
WAL_POSITION: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
ALL_PARTS: Final = "preview,scores,models,errors"
ORGANIZATION: Final = json.dumps({"name": "bench"}).encode()
API_KEY: Final = json.dumps({"name": "bench"}).encode()


COLUMNS: Final = (
    "this tree to the other",
    "requests/s",
    "p50",
    "API CPU",
    "PostgreSQL CPU",
    "WAL",
    "requests/s: this, other",
    "p50 ms",
    "least API CPU, ms",
    "least PostgreSQL CPU, ms",
    "WAL bytes",
)


@dataclass(frozen=True, slots=True)
class Side:
    """A running service, with the processes whose CPU time is counted."""

    port: int
    headers: dict[str, str]
    api: int
    postgres: int
    owner_url: str
    idle_mb: float
    traces: Sequence[str]  # ids of stored traces
    long_trace: str  # the id of one of LONG_SPANS

    def request(self, method: str, target: str, content: bytes = b"", type_: str = "json") -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        if content:
            head += f"Content-Type: application/{type_}\r\nContent-Length: {len(content)}\r\n"
        return f"{head}\r\n".encode() + content


@dataclass(frozen=True, slots=True)
class Shape:
    """Requests of one kind. `make` yields them without end; every answer has `contains`."""

    name: str
    connections: int
    make: Callable[[Side, random.Random], Iterator[bytes]]
    status: int = 200
    contains: bytes = b""


@dataclass(frozen=True, slots=True)
class Burst:
    """What a burst reached: per second, and per request in milliseconds or bytes."""

    per_s: float
    p50_ms: float
    api_ms: float
    postgres_ms: float
    wal_bytes: float


def with_new_ids(content: bytes) -> Callable[[], bytes]:
    """Returns a function that returns `content` with new ids, each time it is called."""
    between = UUID.split(content)
    found = UUID.findall(content)
    places = {one: n for n, one in enumerate(dict.fromkeys(found))}
    order = [places[one] for one in found]
    random_ = random.Random(content)

    def make() -> bytes:
        ids = [str(uuid.UUID(int=random_.getrandbits(128), version=4)).encode() for _ in places]
        parts = [between[0]]
        for place, text in zip(order, between[1:], strict=True):
            parts += (ids[place], text)
        return b"".join(parts)

    return make


def traces_of(spans: int) -> Callable[[Side, random.Random], Iterator[bytes]]:
    def make(side: Side, random_: random.Random) -> Iterator[bytes]:
        templates = [with_new_ids(body(random_, spans)) for _ in range(TEMPLATE_SPANS // spans)]
        for template in itertools.cycle(templates):
            yield side.request("POST", "/traces", template())

    return make


def batches(side: Side, random_: random.Random) -> Iterator[bytes]:
    count = TEMPLATE_SPANS // (BATCH_TRACES * 3)
    templates = [with_new_ids(batch(random_, BATCH_TRACES, 3)) for _ in range(count)]
    for template in itertools.cycle(templates):
        yield side.request("POST", "/traces/batch", template())


def batch(random_: random.Random, traces: int, spans: int) -> bytes:
    return b'{"traces":[' + b",".join(body(random_, spans) for _ in range(traces)) + b"]}"


def reads_of(target: str) -> Callable[[Side, random.Random], Iterator[bytes]]:
    return lambda side, _: itertools.repeat(side.request("GET", target))


def whole_traces(side: Side, random_: random.Random) -> Iterator[bytes]:
    while True:
        yield side.request("GET", f"/traces/{random_.choice(side.traces)}")


def long_trace(side: Side, _: random.Random) -> Iterator[bytes]:
    return itertools.repeat(side.request("GET", f"/traces/{side.long_trace}"))


def otlp_requests(side: Side, random_: random.Random) -> Iterator[bytes]:
    while True:
        content = otlp.body(random_, OTLP_KILOBYTES)
        yield side.request("POST", "/v1/traces", content, "x-protobuf")


SHAPES: Final = (
    Shape("first-page", READ_CONNECTIONS, reads_of("/traces?limit=50")),
    Shape("filtered-page", READ_CONNECTIONS, reads_of("/traces?limit=50&tags=a&user_id=u-1")),
    Shape(
        "included",
        READ_CONNECTIONS,
        reads_of(f"/traces?limit=50&include={ALL_PARTS}"),
        contains=b'"input_preview"',
    ),
    Shape("sessions", READ_CONNECTIONS, reads_of("/sessions?limit=50")),
    Shape("one-trace", READ_CONNECTIONS, whole_traces),
    Shape("long-trace", 1, long_trace),
    Shape("scores", READ_CONNECTIONS, reads_of("/evaluations/trace-scores?limit=50")),
    Shape("ingest-3", WRITE_CONNECTIONS, traces_of(3), 202),
    Shape("ingest-12", WRITE_CONNECTIONS, traces_of(12), 202),
    Shape("ingest-100", WRITE_CONNECTIONS, traces_of(100), 202),
    Shape("batch", READ_CONNECTIONS, batches, 202),
    Shape("otlp", READ_CONNECTIONS, otlp_requests),
)


def call(port: int, path: str, headers: dict[str, str], content: bytes | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        content,
        headers | ({"Content-Type": "application/json"} if content else {}),
    )
    with urllib.request.urlopen(request) as answered:
        return json.load(answered)


@contextmanager
def running(tree: Path, *, serves_as_owner: bool = False) -> Iterator[Side]:
    """Runs the service of `tree` on servers of its own, with stored traces and scores."""
    with bench_folder() as folder, run_servers(folder) as servers, ExitStack() as stack:
        data, port = folder / "data", free_port()
        data.mkdir()
        command = [str(tree / ".venv/bin/python"), "-m", "entrypoints.cli"]
        environ = os.environ | {
            "PANDAPROBE_DATABASE_URL": servers.database_url,
            "PANDAPROBE_MIGRATION_DATABASE_URL": servers.owner_url,
            "PANDAPROBE_REDIS_URL": servers.redis_url,
            "PANDAPROBE_DATA_DIR": str(data),
            "PANDAPROBE_APP_ENV": "development",
            "PANDAPROBE_AUTH_DEV_ISSUER": "on",
            "PANDAPROBE_LOG_LEVEL": "WARNING",
            "PANDAPROBE_PORT": str(port),
            "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
        }

        def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, *arguments],
                cwd=tree, env=environ, check=check, capture_output=True, text=True,
            )  # fmt: skip

        # A tree without a serving role can't migrate with the URL of one.
        if run("migrate", check=False).returncode or serves_as_owner:
            environ["PANDAPROBE_DATABASE_URL"] = servers.owner_url
            run("migrate")
        url = f"http://127.0.0.1:{port}/health/ready"
        stack.enter_context(_working_in(tree))
        pid, _ = stack.enter_context(process([*command, "serve"], url, environ))
        token = {"Authorization": f"Bearer {run('token').stdout.strip()}"}
        organization = call(port, "/organizations", token, ORGANIZATION)["id"]
        key = call(port, f"/organizations/{organization}/api-keys", token, API_KEY)["raw_key"]
        headers = {"X-API-Key": key, "X-Project-Name": "bench"}
        idle_mb = resident_mb(pid)
        traces = store(port, headers)
        long_content = body(random.Random(LONG_SPANS), LONG_SPANS)
        long_id = call(port, "/traces", headers, long_content)["trace_id"]
        asyncio.run(vacuum(servers.owner_url))
        postgres = servers.children[0].process.pid
        yield Side(port, headers, pid, postgres, servers.owner_url, idle_mb, traces, long_id)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def store(port: int, headers: dict[str, str]) -> list[str]:
    """Stores what is read later; returns the ids of the traces."""
    random_ = random.Random(0)
    traces: list[str] = []
    while len(traces) < STORED_TRACES:
        content = batch(random_, 100, 12)
        call(port, "/traces/batch", headers, content)
        traces += (one["trace_id"] for one in json.loads(content)["traces"])
    for trace in traces[:STORED_SCORES]:
        score = {"trace_id": trace, "name": f"score-{random_.randrange(10)}", "value": "0.5"}
        call(port, "/evaluations/trace-scores", headers, json.dumps(score).encode())
    return traces


async def vacuum(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


def postgres_processes(postmaster: int) -> list[int]:
    """All processes of the server that exist now."""
    found = [postmaster]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == postmaster:
                found.append(int(path.parent.name))
    return found


def cpu_ns(processes: Iterable[int]) -> dict[int, int]:
    """CPU time by thread."""
    found = {}
    for process_ in processes:
        for path in Path(f"/proc/{process_}/task").glob("*/schedstat"):
            with suppress(OSError):
                found[int(path.parent.name)] = int(path.read_text().split()[0])
    return found


def spent_ms(before: Mapping[int, int], after: Mapping[int, int]) -> float:
    """CPU time of the threads that still exist."""
    return sum(after[thread] - before.get(thread, 0) for thread in after) / 1e6


async def send(
    side: Side, requests: Iterator[bytes], connections: int, status: int
) -> tuple[list[float], float]:
    """Sends requests for BURST_S; returns the latencies, and the seconds until the last answer."""
    latencies: list[float] = []
    begin = time.perf_counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
        while time.perf_counter() - begin < BURST_S:
            request = next(requests)
            sent = time.perf_counter()
            writer.write(request)
            answered = await answer(reader)
            assert answered == status, f"{request[:200]!r}: {answered}"
            latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return latencies, time.perf_counter() - begin


async def measure(side: Side, shape: Shape, requests: Iterator[bytes]) -> Burst:
    database = await asyncpg.connect(side.owner_url)
    try:
        lsn = await database.fetchval(WAL_POSITION)
        api, postgres = cpu_ns([side.api]), cpu_ns(postgres_processes(side.postgres))
        latencies, took = await send(side, requests, shape.connections, shape.status)
        api_ms = spent_ms(api, cpu_ns([side.api]))
        postgres_ms = spent_ms(postgres, cpu_ns(postgres_processes(side.postgres)))
        wal = await database.fetchval(WAL_POSITION) - lsn
    finally:
        await database.close()
    count = len(latencies)
    return Burst(
        per_s=count / took,
        p50_ms=quantile(latencies, 0.5) * 1e3,
        api_ms=api_ms / count,
        postgres_ms=postgres_ms / count,
        wal_bytes=float(wal) / count,
    )


async def compare(shape: Shape, sides: Sequence[Side], rounds: int) -> list[list[Burst]]:
    """Returns the bursts of each side, in pairs by index."""
    requests = [shape.make(side, random.Random(1)) for side in sides]
    for one in requests:
        next(one)  # makes what all others are made of, before a connection would wait for it
    results: list[list[Burst]] = [[] for _ in sides]
    for number in range(rounds + 1):
        turns = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for which in turns:
            burst = await measure(sides[which], shape, requests[which])
            if number:  # the first warms up
                results[which].append(burst)
    return results


def ratio(ours: Sequence[Burst], theirs: Sequence[Burst], figure: str) -> str:
    """The median of the ratios of pairs, with the quartiles."""
    pairs = zip(ours, theirs, strict=True)
    ratios = [getattr(a, figure) / getattr(b, figure) for a, b in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"**{middle:.2f}** ({low:.2f}–{high:.2f})"


def both(
    ours: Sequence[Burst],
    theirs: Sequence[Burst],
    figure: str,
    of: Callable[[Iterable[float]], float],
) -> str:
    """One figure of each side."""
    return ", ".join(f"{of(getattr(one, figure) for one in side):,.4g}" for side in (ours, theirs))


def row(shape: Shape, ours: Sequence[Burst], theirs: Sequence[Burst]) -> str:
    is_write = shape.status == HTTPStatus.ACCEPTED or shape.name == "otlp"
    cells = [
        shape.name,
        *(ratio(ours, theirs, one) for one in ("per_s", "p50_ms", "api_ms", "postgres_ms")),
        ratio(ours, theirs, "wal_bytes") if is_write else "–",
        *(both(ours, theirs, one, statistics.median) for one in ("per_s", "p50_ms")),
        *(both(ours, theirs, one, min) for one in ("api_ms", "postgres_ms")),
        both(ours, theirs, "wal_bytes", statistics.median) if is_write else "–",
    ]
    return f"| {' | '.join(cells)} |"


def is_served(side: Side, shape: Shape) -> bool:
    """Whether the tree has what a shape asks for."""
    with socket.create_connection(("127.0.0.1", side.port)) as connection:
        connection.sendall(next(shape.make(side, random.Random(2))))
        answered = HTTPResponse(connection)
        answered.begin()
        return answered.status == shape.status and shape.contains in answered.read()


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare")
    parser.add_argument("tree", type=Path, metavar="OTHER_TREE")
    names = [shape.name for shape in SHAPES]
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument(
        "--no-policies",
        action="store_true",
        help="the other tree serves as a superuser, whom row-level security doesn't bind",
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.shapes) - set(names):
        parser.error(f"unknown shapes: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return given


def main(arguments: Sequence[str]) -> None:
    given = parsed(arguments)
    gc.disable()  # so that no pause of this program looks like one of a server
    other = running(given.tree.resolve(), serves_as_owner=given.no_policies)
    with running(Path.cwd()) as ours, other as theirs:
        sides = (ours, theirs)
        print(f"{machine()}; {given.rounds} pairs of bursts of {BURST_S:g} s\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        for shape in SHAPES:
            if given.shapes and shape.name not in given.shapes:
                continue
            if all(is_served(side, shape) for side in sides):
                bursts = uvloop.run(compare(shape, sides, given.rounds))
                print(row(shape, *bursts), flush=True)
            gc.collect()
        print()
        for label, side in (("this tree", ours), ("the other", theirs)):
            print(f"{label}: {side.idle_mb:.0f} MB idle, {resident_mb(side.api):.0f} MB at the end")


if __name__ == "__main__":
    main(sys.argv[1:])
