"""Measures another tenant's latency, and the API's memory, while one client attacks.

Prints Markdown.

    python -m tests.benchmarks.attacks [PART OF A NAME …]

One `serve` process with rate limits off: what bounds an attack here are sizes, shares and times.
The other tenant alternately stores a trace of 12 spans and requests a first page, as in
`neighbours.py`; times are fixed in advance, and latency counts from the intended time. Rounds with
and without the attack alternate. Attackers run in a process of their own, on the same cores.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from adapters.embedded.process import free_port
from adapters.embedded.servers import run_servers
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.neighbours import Times, add, measure_quiet_key
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import answer, quantile
from tests.benchmarks.writes.ingest import SERVE, machine, process, resident_mb
from tests.support.fixtures.first_key import first_key, more_keys

ROUNDS = 2
ROUND_S = 8
WARM_UP_S = 3
KEYS = 6  # of the attacker
PART_BYTES = 50_000
PAUSE_S = 0.01  # between parts: 5 MB/s
# uvloop raises RuntimeError for a write to a closed connection.
CLOSED = (OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

type Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the attacker sends, and with which keys of one organization."""

    port: int
    keys: Sequence[str]
    statuses: Counter[str]

    def headers(self, number: int = 0, project: str = "attack") -> dict[str, str]:
        return {"X-API-Key": self.keys[number % len(self.keys)], "X-Project-Name": project}

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(
        self, content: bytes, headers: Headers, path: str = "/traces", method: str = "POST"
    ) -> None:
        """Sends one request on a connection of its own, and counts the status."""
        reader, writer = await self.connect()
        try:
            writer.write(head(method, path, {**headers, "Content-Length": str(len(content))}))
            writer.write(content)
            self.statuses[str(await answer(reader))] += 1
        finally:
            writer.close()


def head(method: str, path: str, headers: Headers) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "a", **headers}.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


async def repeat(target: Target, count: int, attack: Callable[[int], Awaitable[None]]) -> None:
    """Runs `attack` in `count` tasks, again and again."""

    async def one(number: int) -> None:
        while True:
            try:
                await attack(number)
            except CLOSED:
                target.statuses["closed"] += 1
                await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(one(number) for number in range(count)))


async def stream(target: Target, start: bytes) -> None:
    """Sends `start`, then bytes at 5 MB/s for as long as the server takes them."""
    _, writer = await target.connect()
    try:
        writer.write(start)
        while True:
            writer.write(b"x" * PART_BYTES)
            await writer.drain()
            await asyncio.sleep(PAUSE_S)
    finally:
        writer.close()


async def endless_heads(target: Target) -> None:
    start = b"GET /health HTTP/1.1\r\nHost: a\r\nX-A: "
    await repeat(target, 4, lambda _: stream(target, start))


async def endless_trailers(target: Target) -> None:
    chunked = head("POST", "/traces", {**target.headers(), "Transfer-Encoding": "chunked"})
    start = chunked + b"1\r\n{\r\n0\r\nX-A: "
    await repeat(target, 4, lambda _: stream(target, start))


async def slow_bodies(target: Target) -> None:
    """570 requests of one member's keys, and 540 without credentials: one byte of each body."""

    async def stall(path: str, headers: Headers) -> None:
        reader, writer = await target.connect()
        try:
            writer.write(head("POST", path, {**headers, "Content-Length": "100"}) + b"{")
            target.statuses[str(await answer(reader))] += 1
        finally:
            writer.close()

    async def one(number: int) -> None:
        if number < 570:
            await stall("/traces", target.headers(number))
        else:
            await stall("/cli/auth/exchange", {})

    await repeat(target, 570 + 540, one)


def trace(**more: object) -> bytes:
    sent = {"name": "a", "started_at": "2026-11-01T00:00:00Z", "trace_id": str(uuid.uuid4())}
    return json.dumps(sent | more).encode()


async def many_members(target: Target) -> None:
    """18 MB with 1.4 million members, then small reports to the same trace."""
    known = str(uuid.uuid4())
    large = trace(trace_id=known, metadata={f"k{number}": 1 for number in range(1_400_000)})
    small = trace(trace_id=known, metadata={"k": 1})
    await repeat(
        target, 2, lambda number: target.send(small if number else large, target.headers())
    )


async def members_at_the_limit(target: Target) -> None:
    """As many members as are accepted, merged again and again."""
    known = str(uuid.uuid4())
    made = trace(trace_id=known, metadata={f"k{number}": 1 for number in range(9_000)})
    await repeat(target, 4, lambda _: target.send(made, target.headers()))


async def brackets(target: Target) -> None:
    nested = b"[" * 120_000 + b"]" * 120_000
    body = b'{"name":"a","started_at":"2026-11-01","metadata":{"a":' + nested + b"}}"

    async def one(number: int) -> None:
        if number % 2:
            await target.send(body, target.headers(number))
        else:
            await target.send(nested[:60_000], {}, "/cli/auth/exchange")

    await repeat(target, 8, one)


async def invalid_bodies(target: Target) -> None:
    """10 MB of spans, each of which is invalid."""
    span = {"name": 1, "started_at": "never", "kind": "NONE", "metadata": []}
    body = trace(spans=[span] * 5_000, input="x" * 9_000_000)
    await repeat(target, 2, lambda _: target.send(body, target.headers()))


async def large_traces(target: Target) -> None:
    """Traces of 5,000 spans, 5 MB each."""
    span = {"name": "call", "started_at": "2026-11-01T00:00:00Z", "kind": "LLM", "model": "gpt-4o"}
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    body = trace(spans=[{**span, "input": "y" * 700, "token_usage": usage}] * 5_000)
    parts = body.split(b'"trace_id": ')
    await repeat(
        target,
        2,
        lambda _: target.send(
            parts[0] + b'"trace_id": "' + str(uuid.uuid4()).encode() + parts[1][37:],
            target.headers(),
        ),
    )


async def flood_of_keys(target: Target) -> None:
    """64 connections of six keys, each sending its next request after the last answer."""
    await repeat(target, 64, lambda number: target.send(trace(), target.headers(number)))


async def new_projects(target: Target) -> None:
    """Each request of a read key names another project, and is refused."""
    await repeat(
        target,
        8,
        lambda _: target.send(
            b"", target.headers(project=uuid.uuid4().hex), "/traces?limit=0", "GET"
        ),
    )


ATTACKS: Final[dict[str, Callable[[Target], Coroutine[Any, Any, None]]]] = {
    "4 endless heads of 5 MB/s, without credentials": endless_heads,
    "4 endless trailers of 5 MB/s": endless_trailers,
    "1,110 bodies of which one byte arrives": slow_bodies,
    "metadata with 1.4 million members": many_members,
    "metadata with 9,000 members, merged": members_at_the_limit,
    "240 kB of brackets": brackets,
    "10 MB with 20,000 errors": invalid_bodies,
    "traces of 5,000 spans, 5 MB": large_traces,
    "64 connections of six keys": flood_of_keys,
    "a new project name with each refused request": new_projects,
}


async def attack(name: str, port: int, keys: Sequence[str]) -> None:
    """Prints a line, attacks until SIGTERM, then prints the number of answers by status."""
    target = Target(port, keys, Counter())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("started", flush=True)
    task = asyncio.create_task(ATTACKS[name](target))
    await ended.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print(json.dumps(target.statuses))


@contextmanager
def running_attack(name: str, port: int, keys: Sequence[str]) -> Iterator[Counter[str]]:
    """Attacks during the block; fills the yielded counter with answers by status."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.attacks", "attack", name, str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(keys))
    child.stdin.close()
    assert child.stdout is not None
    child.stdout.readline()  # before, SIGTERM would end it without an answer
    answered: Counter[str] = Counter()
    try:
        time.sleep(WARM_UP_S)
        yield answered
    finally:
        child.terminate()
        answered.update(json.loads(child.stdout.read()))
        child.wait(15)


def p99_ms(times: Times, method: str) -> float:
    return quantile(times[method], 0.99) * 1e3


def main(chosen: Sequence[str]) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(run_servers(stack.enter_context(bench_folder())))
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
            redis_url=servers.redis_url,
        )
        asyncio.run(database.migrate(settings))
        ours = {"X-API-Key": asyncio.run(first_key(settings)), "X-Project-Name": "bench"}
        keys = asyncio.run(more_keys(settings, KEYS))
        print(machine(), "\n", flush=True)
        columns = "alone | during | ratio"
        print(f"| attack (answers) | write, p99 ms: {columns} | first page, p99 ms: {columns}"
              " | refused | memory, MB: before | most |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for name in ATTACKS:
            if chosen and not any(part in name for part in chosen):
                continue
            port = free_port()
            environ = os.environ | {
                "PANDAPROBE_DATABASE_URL": servers.database_url,
                "PANDAPROBE_REDIS_URL": servers.redis_url,
                "PANDAPROBE_PORT": str(port),
                "PANDAPROBE_LOG_LEVEL": "ERROR",
                "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
            }
            with process(SERVE, f"http://127.0.0.1:{port}/health/ready", environ) as (pid, _):
                uvloop.run(measure_quiet_key(port, ours, WARM_UP_S))
                alone, during, answers = Times(), Times(), Counter[str]()
                refused: Counter[int] = Counter()  # of the other tenant
                before = most = resident_mb(pid)
                for _ in range(ROUNDS):
                    add(alone, uvloop.run(measure_quiet_key(port, ours, ROUND_S)))
                    with running_attack(name, port, keys) as answered:
                        add(during, uvloop.run(measure_quiet_key(port, ours, ROUND_S, refused)))
                        most = max(most, resident_mb(pid))
                    answers += answered
            reported = ", ".join(f"{count:,} {status}" for status, count in sorted(answers.items()))
            cells = [f"{name} ({reported})"]
            for method in ("POST", "GET"):
                quiet, loud = p99_ms(alone, method), p99_ms(during, method)
                cells += [f"{quiet:.1f}", f"{loud:.1f}", f"{loud / quiet:.1f} ×"]
            cells += [str(refused.total()), f"{before:.0f}", f"{most:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["attack", name, port]:
            uvloop.run(attack(name, int(port), json.load(sys.stdin)))
        case chosen:
            main(chosen)
