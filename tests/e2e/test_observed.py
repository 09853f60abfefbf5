"""Metrics and spans of real processes: shared scrapes, and the port of a worker."""

import asyncio
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.embedded.process import free_port
from adapters.otlp_spans import USER_AGENT
from adapters.prometheus.definitions import DATABASE_METRICS, PROCESS_METRICS
from entrypoints.server.asgi import App
from entrypoints.settings import read_settings
from tests.adapters.test_otlp_spans import TRACEPARENT, attributes, collecting
from tests.e2e.conftest import Template
from tests.e2e.test_commands import (
    Environment,
    are_gone,
    children_of,
    migrated,
    process_of,
    start_process,
    stop,
    wait_for_json_line,
    wait_for_output,
)
from tests.support.builders.otlp_requests import span, traces_request
from tests.support.clients.grpc_exporter import OK, GrpcExporter, open_channel
from tests.support.clients.loopback_server import served
from tests.support.waiting import WAIT_MAX_S, until

__all__ = ["migrated"]  # a fixture
pytestmark = pytest.mark.e2e

ESTABLISHED = "01"  # of a connection, in /proc/net/tcp

ROOT = Path(__file__).parents[2]

TRACE = {"name": "run", "started_at": "2026-03-01T09:00:00Z", "spans": []}
SPAN = {"name": "step", "started_at": "2026-03-01T09:00:00Z"}

type Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


async def scrape(port: int, **headers: str) -> Samples:
    async with httpx.AsyncClient(
        timeout=WAIT_MAX_S, base_url=f"http://127.0.0.1:{port}", headers=headers
    ) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse(answer.text)


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (named, own), value in samples.items() if named == name and wanted <= own)


@asynccontextmanager
async def serving(
    environ: Environment, *options: str, log: list[str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Runs `serve` on its own port; enters once it answers. Its lines are added to `log`."""
    port = free_port()
    process = await start_process({**environ, "PANDAPROBE_PORT": str(port)}, "serve", *options)
    reading = asyncio.create_task(_read(process, [] if log is None else log))
    try:
        async with httpx.AsyncClient(
            timeout=WAIT_MAX_S, base_url=f"http://127.0.0.1:{port}"
        ) as http:

            async def answers() -> bool:
                try:
                    return (await http.get("/health")).status_code == 200
                except httpx.TransportError:
                    assert process.returncode is None
                    return False

            await until(answers, is_so=bool)
        yield process, port
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), WAIT_MAX_S)
        await reading


async def _read(process: asyncio.subprocess.Process, log: list[str]) -> None:
    assert process.stderr
    async for line in process.stderr:
        log.append(line.decode())


@pytest.fixture
def key(template: Template) -> str:
    return template.key


async def send_traces(port: int, key: str, count: int) -> None:
    head = {"x-api-key": key, "x-project-name": "shop"}
    async with httpx.AsyncClient(
        timeout=WAIT_MAX_S, base_url=f"http://127.0.0.1:{port}", headers=head
    ) as http:
        for _ in range(count):
            answer = await http.post("/traces", json=TRACE | {"spans": [SPAN]})
            assert answer.status_code == 202, answer.text
        assert (await http.post("/traces", json={})).status_code == 422
        assert (await http.get("/traces")).status_code == 200


async def test_processes_of_one_command_share_its_ports_and_metrics(migrated, key):
    grpc_port = free_port()
    environ = {**migrated, "PANDAPROBE_OTLP_GRPC_PORT": str(grpc_port)}
    headers = {"x-api-key": key, "x-project-name": "shop"}
    log = list[str]()
    async with serving(environ, "--processes", "2", log=log) as (server, port):
        children = children_of(server.pid)
        assert len(children) == 2
        await both_take_connections(port, children)
        for _ in range(2):
            await send_traces(port, key, 2)
        async with open_channel(grpc_port) as channel:
            sent = traces_request(span()).SerializeToString()
            assert (await GrpcExporter(channel, headers).send(sent)).code is OK
        seen = await scrape(port)
        assert total(seen, "pandaprobe_ingest_traces_total") == 4
        status, _, err = await process_of({**environ, "PANDAPROBE_PORT": str(port)}, "serve")
        assert (status, "is in use" in err) == (1, True)
        # A killed process ends the others. The workers below end by a signal to their command.
        os.kill(children[0], signal.SIGKILL)
        await asyncio.wait_for(server.wait(), WAIT_MAX_S)
    assert (server.returncode, are_gone(children)) == (1, True)
    assert "signal SIGKILL" in "".join(log)


async def both_take_connections(port: int, children: Sequence[int]) -> None:
    """The kernel chooses a process for each connection: opens them until each process has one."""
    opened, with_connection = list[asyncio.StreamWriter](), set[int]()

    async def look() -> set[int]:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        with_connection.update(pid for pid in children if has_connection(pid, port))
        return with_connection

    await until(look, lambda seen: seen == set(children))
    for writer in opened:
        writer.close()


def has_connection(pid: int, port: int) -> bool:
    """Whether the process has accepted a connection to the port."""
    rows = [one.split() for one in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED
    }
    return any(link in sockets for link in links_of_files(pid))


def links_of_files(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(file.readlink())


# The processes of one command, above, share such a folder; tests/adapters/prometheus reuses slots.
@pytest.mark.exhaustive
async def test_scrape_covers_all_processes_with_shared_folder(migrated, key, tmp_path):
    shared = {**migrated, "PANDAPROBE_METRICS_DIR": str(tmp_path / "metrics")}
    async with serving(shared) as (first, one), serving(shared) as (_, other):
        await send_traces(one, key, 3)
        await send_traces(other, key, 4)
        for port in (one, other):
            seen = await scrape(port)
            assert total(seen, "pandaprobe_ingest_requests_total", outcome="accepted") == 7
            assert total(seen, "pandaprobe_ingest_requests_total", outcome="rejected") == 2
            assert total(seen, "pandaprobe_ingest_traces_total") == 7
            assert total(seen, "pandaprobe_ingest_spans_total") == 7
            assert total(seen, "pandaprobe_http_request_seconds_count", kind="read") == 2
            assert total(seen, "pandaprobe_rate_limit_decisions_total", decision="admitted") == 11
            assert total(seen, "pandaprobe_database_connections_max") == 20
        first.kill()
        await first.wait()
        left = await scrape(other)
        assert total(left, "pandaprobe_ingest_traces_total") == 7  # counters do not fall
        assert total(left, "pandaprobe_database_connections_max") == 10  # its gauges are removed
        async with serving(shared) as (_, successor):
            await send_traces(successor, key, 1)
            assert total(await scrape(other), "pandaprobe_ingest_traces_total") == 8
    assert {one.stem for one in (tmp_path / "metrics").glob("counter_*.db")} == {
        "counter_0",
        "counter_1",
    }


@pytest.mark.exhaustive  # below, a worker counts for itself
async def test_scrape_covers_one_process_by_default(migrated, key):
    async with serving(migrated) as (_, port), serving(migrated) as (_, other):
        await send_traces(port, key, 2)
        assert total(await scrape(port), "pandaprobe_ingest_traces_total") == 2
        assert total(await scrape(other), "pandaprobe_ingest_traces_total") == 0


@pytest.mark.exhaustive
async def test_disabled_metrics_are_not_served(migrated):
    off = {**migrated, "PANDAPROBE_METRICS_ENABLED": "off"}
    async with serving(off) as (_, port), httpx.AsyncClient(timeout=WAIT_MAX_S) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/metrics")).status_code == 404


@pytest.mark.exhaustive
async def test_metrics_token_grants_access(migrated):
    token = "a-token-of-the-scraper"
    async with serving({**migrated, "PANDAPROBE_METRICS_TOKEN": token}) as (_, port):
        seen = await scrape(port, authorization=f"Bearer {token}")
        assert total(seen, "pandaprobe_database_up") == 1
        async with httpx.AsyncClient(
            timeout=WAIT_MAX_S, base_url=f"http://127.0.0.1:{port}"
        ) as http:
            assert (await http.get("/metrics")).status_code == 401


async def test_spans_join_trace_of_caller_and_link_to_request_of_their_run(migrated, key):
    ordered_in = f"00-{uuid.uuid4().hex}-{TRACEPARENT[36:]}"
    path = "/evaluations/trace-runs"
    async with collecting() as collector:
        settings = {**migrated, "PANDAPROBE_OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        worker = await start_process(settings, "worker")
        await wait_for_output(worker, "waiting for work")
        head = {"x-api-key": key, "x-project-name": "shop", "traceparent": TRACEPARENT}
        # In this process, which has imported it: the first test has processes of `serve`.
        async with (
            served(App(read_settings(settings)), has_lifespan=True) as url,
            httpx.AsyncClient(timeout=WAIT_MAX_S, headers=head, base_url=url) as http,
        ):
            assert (await http.post("/traces", json=TRACE)).status_code == 202
            # another instance of this server, whose spans must not loop back
            await http.post("/traces", json=TRACE, headers={"user-agent": USER_AGENT})
            http.headers["traceparent"] = ordered_in
            order = {"filters": {}, "metrics": ["tool_success_rate"]}
            run = (await http.post(path, json=order)).json()["id"]
            del http.headers["traceparent"]
            await until(
                lambda: http.get(f"{path}/{run}"),
                is_so=lambda answer: answer.json()["status"] == "COMPLETED",
            )
        assert await stop(worker, signal.SIGTERM) == 0

    of_caller = [one for one in collector.spans if one.trace_id.hex() in TRACEPARENT]
    answered = {one.name: one for one in of_caller}
    assert sorted(one.name for one in of_caller) == ["POST /traces", "group commit"]
    assert answered["group commit"].parent_span_id == answered["POST /traces"].span_id
    assert attributes(answered["POST /traces"].attributes)["http.response.status_code"] == 202
    assert [one.name for one in collector.spans].count("POST /traces") == 1

    of_run = {one.name: one for one in collector.spans if one.trace_id == uuid.UUID(run).bytes}
    assert set(of_run) == {"start run", "plan run", "evaluate target"}
    [request] = [one for one in collector.spans if one.name == f"POST {path}"]
    assert request.trace_id.hex() in ordered_in
    [link] = of_run["start run"].links
    assert (link.trace_id, link.span_id) == (request.trace_id, request.span_id)


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
async def test_worker_port_is_healthy_and_workers_are_counted(migrated, key, processes):
    port = free_port()
    settings = {**migrated, "PANDAPROBE_WORKER_PORT": str(port)}
    worker = await start_process(settings, "worker", "--processes", str(processes))
    for _ in range(processes):
        await wait_for_json_line(worker, "waiting for work")
    children = children_of(worker.pid)
    assert len(children) == (processes if processes > 1 else 0)
    healthy = [sys.executable, str(ROOT / "docker/healthy.py"), str(port)]
    behind_proxy = {**os.environ, "http_proxy": "http://127.0.0.1:1"}
    probe = await asyncio.create_subprocess_exec(*healthy, env=behind_proxy)
    assert await asyncio.wait_for(probe.wait(), WAIT_MAX_S) == 0
    name, labels = "pandaprobe_worker_rounds_total", {"round": "telling", "outcome": "done"}
    await until(lambda: scrape(port), is_so=lambda seen: total(seen, name, **labels) == processes)

    # Another worker can't have the same port.
    status, _, err = await process_of(settings, "worker")
    assert (status, "PANDAPROBE_WORKER_PORT" in err, "Traceback" in err) == (1, True, False)

    # In this process, which has imported it: the test above has processes of `serve`.
    async with served(App(read_settings(migrated)), has_lifespan=True) as url:
        api = urlsplit(url).port
        assert api is not None
        await send_traces(api, key, 2)
        seen = await scrape(api)
        assert total(seen, "pandaprobe_workers") == processes
        assert total(seen, "pandaprobe_ingest_traces_total") == 2
        assert total(await scrape(port), "pandaprobe_ingest_traces_total") == 0
        await assert_listed_and_local(api)
        assert await stop(worker, signal.SIGTERM) == 0
        assert are_gone(children)
        # A worker that stops signs off.
        await until(lambda: scrape(api), is_so=lambda seen: total(seen, "pandaprobe_workers") == 0)


async def assert_listed_and_local(port: int) -> None:
    """Asserts that all listed metrics are served, and only to this machine."""
    async with httpx.AsyncClient(timeout=WAIT_MAX_S, base_url=f"http://127.0.0.1:{port}") as http:
        behind = await http.get("/metrics", headers={"x-forwarded-for": "192.0.2.1"})
        text = (await http.get("/metrics")).text
    assert behind.status_code == 403
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert kinds == {one.name: one.kind for one in (*PROCESS_METRICS, *DATABASE_METRICS)}


# tests/entrypoints/test_observer.py has the error, and test_identity_provider.py the status 2.
@pytest.mark.exhaustive
async def test_metrics_folder_that_cannot_be_created_is_named(migrated, tmp_path):
    (tmp_path / "file").write_text("")
    settings = {**migrated, "PANDAPROBE_METRICS_DIR": str(tmp_path / "file" / "metrics")}
    status, _, err = await process_of(settings, "serve")
    assert (status, "PANDAPROBE_METRICS_DIR" in err, "Traceback" in err) == (2, True, False)
