"""Measures exports and imports over HTTP: rate, and maximum memory of a process. Prints Markdown.

    python -m tests.benchmarks.exports [TRACES]
    python -m tests.benchmarks.exports --narrow TRACES

Fills a project with 100,000 traces of about ten spans, streams it from a new `serve` to a file with
another process, has a new `worker` write it as files, and imports a tenth of the stream into
another project. With --narrow it streams TRACES traces of one span each, which the database copies,
from a `serve` that has streamed one of them: the difference is the growth. All processes share this
machine's cores.
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
from entrypoints.composition import database
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import memory_mb
from tests.benchmarks.reads import DAYS, UNTIL, project, vacuum
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.writes.ingest import SERVE, machine, process

TRACES = 100_000
IMPORTED = 10  # one trace in ten
WORKER = [sys.executable, "-m", "entrypoints.cli", "worker"]
POLL_S = 0.2
NARROW_TRACE = {
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
COPIES_PER_TRANSACTION = 100_000
TABLES = ("traces", "trace_payloads", "spans")
CREATE_COPY_IDS = """
CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, n FROM generate_series({0} + 1, {0} + {1}) AS n
"""
SELECT_COLUMNS = """
SELECT string_agg(column_name, ', ') FROM information_schema.columns
WHERE table_name = $1 AND is_generated = 'NEVER'
"""
FILES = (("csv", "traces"), ("csv", "spans"), ("parquet", "traces"), ("parquet", "spans"))


def row(what: str, traces: int, size: int, seconds: float, memory: int) -> None:
    rate, width = f"{traces / seconds:,.0f}", size / 1e6 / seconds
    print(f"| {what} | {size / 1e6:,.0f} | {seconds:.1f} | {rate} | {width:.1f} | {memory} |")


@contextmanager
def running_worker(environ: dict[str, str]) -> Iterator[int]:
    """Yields the process id of a running `worker`."""
    child = subprocess.Popen(WORKER, env=environ)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(60)


def request_json(url: str, head: dict[str, str], body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, head | {"content-type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


def stream(url: str, head: dict[str, str], into: Path, *options: str) -> float:
    """Returns the seconds until everything is in a file, written by another process."""
    named = [f"-H{name}: {value}" for name, value in head.items()]
    begin = time.perf_counter()
    command = ["curl", "-sSf", *options, *named, "-o", str(into), f"{url}/traces/export"]
    subprocess.run(command, check=True)
    return time.perf_counter() - begin


@dataclass(frozen=True)
class Installation:
    """A service that can be started: its servers, its environment, and an API key."""

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
def installation() -> Iterator[Installation]:
    with bench_folder() as folder, run_servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            migration_database_url=servers.owner_url,
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
        asyncio.run(database.migrate(settings))
        key = asyncio.run(provisioning.ensure_developer_key(settings, None))
        yield Installation(folder, servers, environ, f"http://127.0.0.1:{port}", key)


async def copy_trace(database_url: str, trace: uuid.UUID, copies: int) -> None:
    """Copies a trace with its spans in the database, each copy a second earlier.

    Rows for lists and analytics are not written, since an export does not read them.
    """
    connection = await asyncpg.connect(database_url)
    for first in range(0, copies, COPIES_PER_TRANSACTION):
        many = min(COPIES_PER_TRANSACTION, copies - first)
        async with connection.transaction():
            await connection.execute(CREATE_COPY_IDS.format(first, many), timeout=None)
            for table in TABLES:
                names = await connection.fetchval(SELECT_COLUMNS, table)
                values = names.replace("trace_id", "c.id", 1)
                values = values.replace("started_at", "started_at - c.n * interval '1 s'", 1)
                sql = f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, copies AS c"
                await connection.execute(f"{sql} WHERE trace_id = $1", trace, timeout=None)
    await connection.close()


def measure_narrow(traces: int) -> None:
    """Measures a stream of many traces of one span each, and one of a single trace."""
    with installation() as service:
        head, into = service.head("narrow"), service.folder / "narrow.ndjson"
        with process(SERVE, service.ready, service.environ) as (pid, _):
            made = request_json(f"{service.url}/traces", head, NARROW_TRACE)
            print(machine(), f"{traces:,} traces of one span", "\n")
            print(HEAD)
            for count in (1, traces):
                if count > 1:
                    trace = uuid.UUID(made["trace_id"])
                    asyncio.run(copy_trace(service.servers.owner_url, trace, count - 1))
                    asyncio.run(vacuum(service.servers.owner_url))
                seconds = stream(service.url, head, into)
                with into.open("rb") as file:
                    assert sum(1 for _ in file) == count
                memory = memory_mb(pid, "VmHWM")
                row(f"stream of {count:,}", count, into.stat().st_size, seconds, memory)


def seed(environ: dict[str, str], traces: int) -> None:
    command = [sys.executable, "-m", "entrypoints.cli", "seed", "--traces", str(traces)]
    command += ["--project", project(traces), "--seed", str(traces), "--days", str(DAYS)]
    subprocess.run([*command, "--until", UNTIL.isoformat()], env=environ, check=True, stdout=2)


def main(traces: int = TRACES) -> None:
    with installation() as service:
        folder, servers, environ = service.folder, service.servers, service.environ
        url, key = service.url, service.key
        seed(environ, traces)
        asyncio.run(vacuum(servers.owner_url))
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
                with running_worker(environ) as pid:
                    ordered = request_json(
                        f"{url}/traces/exports", head, {"format": format_, "rows": rows}
                    )
                    path, begin = f"{url}/traces/exports/{ordered['id']}", time.perf_counter()
                    while (done := request_json(path, head))["status"] not in {
                        "COMPLETED",
                        "FAILED",
                    }:
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
        measure_narrow(int(sys.argv[2]))
    else:
        main(*(int(size) for size in sys.argv[1:]))
