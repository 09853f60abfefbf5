"""Exports and imports over HTTP: rate, and the most memory that a process takes. Prints Markdown.

    python -m tests.benchmarks.exports [TRACES]
    python -m tests.benchmarks.exports --narrow TRACES

Fills a project with 100,000 traces of about ten spans, streams it from a fresh `serve` to a file
with another process, has a fresh `worker` write the same as files, and puts a tenth of the stream
into another project with `import`. With --narrow it streams so many traces of one span each, which
the database copies, from a `serve` that has streamed one of them: what it takes more is its growth.
All on this machine's cores.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg

from adapters.embedded.process import free_port
from adapters.embedded.servers import Servers, run_servers
from entrypoints import provisioning
from entrypoints.composition import root
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import memory_mb
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.ingest import SERVE, machine, process
from tests.benchmarks.reads import project, seed, vacuum

TRACES = 100_000
IMPORTED = 10  # of so many traces one
WORKER = [sys.executable, "-m", "entrypoints.cli", "worker"]
POLL_S = 0.2
NARROW = {
    "name": "answer-question",
    "started_at": "2026-03-01T09:00:00Z",
    "ended_at": "2026-03-01T09:00:02Z",
    "session_id": "conv-7",
    "tags": ["prod"],
    "input": "where is my order",
    "output": "on its way",
    "spans": [
        {
            "name": "chat",
            "kind": "LLM",
            "model": "gpt-4o",
            "started_at": "2026-03-01T09:00:00Z",
            "ended_at": "2026-03-01T09:00:02Z",
            "token_usage": {"prompt_tokens": 90, "completion_tokens": 12},
        }
    ],
}
HEAD = "| | MB | s | traces/s | MB/s | most memory, MB |\n|---|---|---|---|---|---|"
AT_ONCE = 100_000  # copies of one transaction
TABLES = ("traces", "trace_payloads", "spans")
IDS = """
CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, n FROM generate_series({0} + 1, {0} + {1}) AS n
"""
COLUMNS = """
SELECT string_agg(column_name, ', ') FROM information_schema.columns
WHERE table_name = $1 AND is_generated = 'NEVER'
"""
FILES = (("csv", "traces"), ("csv", "spans"), ("parquet", "traces"), ("parquet", "spans"))


def row(what: str, traces: int, size: int, seconds: float, memory: int) -> None:
    rate, width = f"{traces / seconds:,.0f}", size / 1e6 / seconds
    print(f"| {what} | {size / 1e6:,.0f} | {seconds:.1f} | {rate} | {width:.1f} | {memory} |")


@contextmanager
def working(environ: dict[str, str]) -> Iterator[int]:
    """The process id of a running `worker`."""
    child = subprocess.Popen(WORKER, env=environ)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(60)


def asked(url: str, head: dict[str, str], body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, head | {"content-type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


def stream(url: str, head: dict[str, str], into: Path, *options: str) -> float:
    """Seconds until all of it is in a file, written by a process of its own."""
    named = [f"-H{name}: {value}" for name, value in head.items()]
    begin = time.perf_counter()
    command = ["curl", "-sSf", *options, *named, "-o", str(into), f"{url}/traces/export"]
    subprocess.run(command, check=True)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Installed:
    """A service that can be started: its servers, its environment, and a key for it."""

    folder: Path
    servers: Servers
    environ: dict[str, str]
    url: str
    key: str

    @property
    def ready(self) -> str:
        return f"{self.url}/health/ready"

    def head(self, named: str) -> dict[str, str]:
        return {"X-API-Key": self.key, "X-Project-Name": named}


@contextmanager
def installed() -> Iterator[Installed]:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data_dir=str(folder / "data"),
            app_env="development",
            auth_dev_issuer=True,
        )
        port = free_port()
        environ = os.environ | {
            "PANDAPROBE_DATABASE_URL": servers.database_url,
            "PANDAPROBE_REDIS_URL": servers.redis_url,
            "PANDAPROBE_DATA_DIR": settings.data_dir,
            "PANDAPROBE_APP_ENV": "development",
            "PANDAPROBE_RATE_LIMIT_ENABLED": "off",
            "PANDAPROBE_AUTH_DEV_ISSUER": "on",
            "PANDAPROBE_LOG_LEVEL": "WARNING",
            "PANDAPROBE_PORT": str(port),
            "PANDAPROBE_EXPORT_MAX_MEGABYTES": "9999",
        }
        Path(settings.data_dir).mkdir()
        asyncio.run(root.migrate(settings))
        key = asyncio.run(provisioning.first_key(settings, None))
        yield Installed(folder, servers, environ, f"http://127.0.0.1:{port}", key)


async def copied(database_url: str, trace: uuid.UUID, copies: int) -> None:
    """As many copies of a trace with its spans, a second apart, by the database itself.

    Of what lists and figures count nothing is written: an export asks for none of it.
    """
    connection = await asyncpg.connect(database_url)
    for first in range(0, copies, AT_ONCE):
        many = min(AT_ONCE, copies - first)
        async with connection.transaction():
            await connection.execute(IDS.format(first, many), timeout=None)
            for table in TABLES:
                names = await connection.fetchval(COLUMNS, table)
                values = names.replace("trace_id", "c.id", 1)
                values = values.replace("started_at", "started_at - c.n * interval '1 s'", 1)
                sql = f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, copies AS c"
                await connection.execute(f"{sql} WHERE trace_id = $1", trace, timeout=None)
    await connection.close()


def narrow(traces: int) -> None:
    """A stream of many traces of one span each, beside one of a single trace."""
    with installed() as service:
        head, into = service.head("narrow"), service.folder / "narrow.ndjson"
        with process(SERVE, service.ready, service.environ) as (pid, _):
            made = asked(f"{service.url}/traces", head, NARROW)
            print(machine(), f"{traces:,} traces of one span", "\n")
            print(HEAD)
            for count in (1, traces):
                if count > 1:
                    trace = uuid.UUID(made["trace_id"])
                    asyncio.run(copied(service.servers.database_url, trace, count - 1))
                    asyncio.run(vacuum(service.servers))
                seconds = stream(service.url, head, into)
                with into.open("rb") as file:
                    assert sum(1 for _ in file) == count
                memory = memory_mb(pid, "VmHWM")
                row(f"stream of {count:,}", count, into.stat().st_size, seconds, memory)


def main(traces: int = TRACES) -> None:
    with installed() as service:
        folder, servers, environ = service.folder, service.servers, service.environ
        url, key = service.url, service.key
        seed(environ, traces)
        asyncio.run(vacuum(servers))
        head = service.head(project(traces))
        print(machine(), f"{traces:,} traces", "\n")
        print(HEAD)
        plain, packed = folder / "plain.ndjson", folder / "packed.ndjson"
        ready = service.ready
        for into, label, options in (
            (plain, "stream", ()),
            (packed, "stream, zstd", ("-HAccept-Encoding: zstd",)),
        ):
            with process(SERVE, ready, environ) as (pid, _):
                seconds = stream(url, head, into, *options)
                row(label, traces, into.stat().st_size, seconds, memory_mb(pid, "VmHWM"))
        with process(SERVE, ready, environ):
            for format_, rows in FILES:
                with working(environ) as pid:
                    ordered = asked(
                        f"{url}/traces/exports", head, {"format": format_, "rows": rows}
                    )
                    path, begin = f"{url}/traces/exports/{ordered['id']}", time.perf_counter()
                    while (done := asked(path, head))["status"] not in {"COMPLETED", "FAILED"}:
                        time.sleep(POLL_S)
                    seconds = time.perf_counter() - begin
                    assert done["status"] == "COMPLETED", done
                    memory = memory_mb(pid, "VmHWM")
                    row(f"file: {format_}, {rows}", traces, done["size"], seconds, memory)
            some = folder / "some.ndjson"
            with plain.open("rb") as whole, some.open("wb") as out:
                out.writelines(islice(whole, traces // IMPORTED))
            client = {
                "PANDAPROBE_ENDPOINT": url,
                "PANDAPROBE_API_KEY": key,
                "PANDAPROBE_PROJECT_NAME": "copy",
            }
            for label in ("import", "import again"):
                begin = time.perf_counter()
                command = [sys.executable, "-m", "entrypoints.cli", "import", str(some)]
                child = subprocess.Popen(command, env=environ | client, stderr=subprocess.DEVNULL)
                _, _, usage = os.wait4(child.pid, 0)
                seconds = time.perf_counter() - begin
                size = some.stat().st_size
                row(label, traces // IMPORTED, size, seconds, usage.ru_maxrss // 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--narrow"]:
        narrow(int(sys.argv[2]))
    else:
        main(*(int(size) for size in sys.argv[1:]))
