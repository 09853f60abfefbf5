"""Exports and imports over HTTP: rate, and the most memory that a process takes. Prints Markdown.

    python -m tests.benchmarks.exports [TRACES]

Fills a project with 100,000 traces of about ten spans, streams it from a fresh `serve` to a file
with another process, has a fresh `worker` write the same as files, and puts a tenth of the stream
into another project with `import`. All on this machine's cores.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from adapters.embedded.process import free_port
from adapters.embedded.servers import running
from entrypoints import access, composition
from entrypoints.settings import Settings
from tests.benchmarks.evaluation import memory_mb
from tests.benchmarks.folder import bench_folder
from tests.benchmarks.ingest import SERVE, machine, process
from tests.benchmarks.reads import project, seed, vacuum

TRACES = 100_000
IMPORTED = 10  # of so many traces one
WORKER = [sys.executable, "-m", "entrypoints.cli", "worker"]
POLL_S = 0.2
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


def main(traces: int = TRACES) -> None:
    with bench_folder() as folder, running(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data_dir=str(folder / "data"),
            app_env="development",
            auth_dev_issuer=True,
        )
        port = free_port()
        url = f"http://127.0.0.1:{port}"
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
        asyncio.run(composition.migrate(settings))
        key = asyncio.run(access.first_key(settings, None))
        seed(environ, traces)
        asyncio.run(vacuum(servers))
        head = {"X-API-Key": key, "X-Project-Name": project(traces)}
        print(machine(), f"{traces:,} traces", "\n")
        print("| | MB | s | traces/s | MB/s | most memory, MB |\n|---|---|---|---|---|---|")
        plain, packed = folder / "plain.ndjson", folder / "packed.ndjson"
        ready = f"{url}/health/ready"
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
    main(*(int(size) for size in sys.argv[1:]))
