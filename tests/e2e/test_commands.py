"""`migrate`, `serve`, `worker`, `doctor` and `key create` on external servers."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest

from adapters.aes_gcm import AesGcmCipher
from adapters.embedded.process import free_port
from adapters.otlp.mapping.spans import map_span
from adapters.postgres.database.pool import Engine, PoolSettings, open_pool
from adapters.postgres.evaluation.alerts.webhooks import PostgresWebhooks
from adapters.postgres.tracing.otlp.otlp_traces import PostgresOtlpTraces
from adapters.postgres.tracing.traces import PostgresTraces
from domain.ids import ProjectId, TraceId
from domain.tracing.otel.facts import MappedSpan
from domain.tracing.otel.fragments import Sent
from entrypoints.composition.otlp_rules import fragment_rules
from tests.e2e.conftest import Template
from tests.support.builders.otel import fragments, sent_span
from tests.support.builders.values import prices, trace_id
from tests.support.clients.command_line import command
from tests.support.fixtures.evaluation.alerts import a_webhook
from tests.support.fixtures.servers.migrated_postgres import copy_database
from tests.support.waiting import WAIT_MAX_S, in_time

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

KEYS_OF = """
SELECT *, expires_at - created_at AS lasts FROM api_keys WHERE organization_id = $1
"""

type Environment = dict[str, str]


async def start_process(environ: Environment, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "entrypoints.cli", *arguments),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def process_of(environ: Environment, *arguments: str) -> tuple[int | None, str, str]:
    """Runs a command as a process to its end; returns exit status, stdout and stderr."""
    process = await start_process(environ, *arguments)
    out, err = await asyncio.wait_for(process.communicate(), WAIT_MAX_S)
    return process.returncode, out.decode(), err.decode()


async def wait_for_output(process: asyncio.subprocess.Process, words: str) -> None:
    assert process.stderr
    async with in_time():
        while words not in (line := (await process.stderr.readline()).decode()):
            assert line, "it ended"


async def wait_for_json_line(process: asyncio.subprocess.Process, words: str) -> None:
    """As `wait_for_output`, where each line is JSON."""
    assert process.stderr
    message = ""
    async with in_time():
        while words not in message:
            line = json.loads(await process.stderr.readline())
            assert {"time", "level", "logger", "message"} <= set(line)
            message = line["message"]


async def stop(process: asyncio.subprocess.Process, number: signal.Signals) -> int | None:
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), WAIT_MAX_S)
    return process.returncode


def settings_of(url: str, redis_url: str, folder: Path) -> Environment:
    """An environment with this database and a free port."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PANDAPROBE_")}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "PANDAPROBE_DATABASE_URL": url,
        "PANDAPROBE_REDIS_URL": redis_url,
        "PANDAPROBE_DATA_DIR": str(folder / "data"),
        "PANDAPROBE_PORT": str(free_port()),
    }


@pytest.fixture
async def environ(postgres_url: str, redis_url: str, tmp_path: Path) -> Environment:
    """An environment with an empty database for this test, and a free port."""
    return settings_of(await copy_database(postgres_url, "template1"), redis_url, tmp_path)


@pytest.fixture
async def migrated(
    template: Template, postgres_url: str, redis_url: str, tmp_path: Path
) -> Environment:
    """As `environ`, with the schema and an organization."""
    return settings_of(await copy_database(postgres_url, template.name), redis_url, tmp_path)


async def test_migrate_check_reports_pending_and_changes_nothing(environ):
    status, pending, _ = await command(environ, "migrate", "--check")
    assert (status, pending.startswith("pending: ")) == (1, True)
    status, out, _ = await command(environ, "migrate")
    assert (status, out) == (0, pending.replace("pending: ", "migrated: "))
    assert await command(environ, "migrate", "--check") == (0, "The schema is up to date.\n", "")
    assert (await command(environ, "migrate"))[:2] == (0, "The schema is up to date.\n")


@pytest.mark.parametrize("name", ["serve", pytest.param("worker", marks=pytest.mark.exhaustive)])
async def test_commands_refuse_old_schema(environ, name):
    status, _, err = await process_of(environ, name)
    assert status == 1
    assert "run pandaprobe-server migrate" in err.replace("`", "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("organization", "create", "--owner", "ada@example.com"),
        ("key", "create"),
        ("audit", "verify"),
        ("secrets", "rotate"),
        ("remap",),
    ],
)
async def test_commands_of_operators_refuse_old_schema(environ, arguments):
    status, out, err = await command(environ, *arguments)
    assert (status, out) == (1, "")
    assert "run `pandaprobe-server migrate` first" in err
    assert "Traceback" not in err


@pytest.mark.exhaustive  # tests/e2e/test_observed.py stops two, and reads their log
async def test_worker_logs_json_lines_and_stops_on_sigterm(migrated):
    worker = await start_process(migrated, "worker")
    await wait_for_json_line(worker, "waiting for work")
    assert await stop(worker, signal.SIGTERM) == 0


async def start_two_workers(environ: Environment) -> tuple[asyncio.subprocess.Process, list[int]]:
    """Starts a command with two worker processes, and returns their ids."""
    worker = await start_process(environ, "worker", "--processes", "2", "--concurrency", "3")
    for _ in range(2):
        await wait_for_output(worker, "waiting for work")
    return worker, children_of(worker.pid)


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.exhaustive  # tests/e2e/test_observed.py kills a process of `serve`, watched likewise
async def test_killed_worker_process_ends_the_others(migrated):
    worker, children = await start_two_workers(migrated)
    os.kill(children[0], signal.SIGKILL)
    _, err = await asyncio.wait_for(worker.communicate(), WAIT_MAX_S)
    assert worker.returncode == 1
    assert b"signal SIGKILL" in err
    assert are_gone(children)


async def exchange(port: str, sent: bytes) -> bytes:
    """Sends bytes, and returns all that is received until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(sent)
    async with in_time():
        received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(
            pytest.param(one, marks=pytest.mark.exhaustive)
            for one in (signal.SIGINT, signal.SIGHUP)
        ),
    ],
)
async def test_serve_answers_invalid_http_and_stops_on_signal(migrated, number):
    settings = {"PANDAPROBE_LOG_LEVEL": "DEBUG", "PANDAPROBE_KEEP_ALIVE_SECONDS": "1"}
    server = await start_process({**migrated, **settings}, "serve")
    await wait_for_output(server, "Application startup complete")
    port, canary = migrated["PANDAPROBE_PORT"], "canary7f3c"
    url = f"http://127.0.0.1:{port}"
    patient = httpx.AsyncHTTPTransport(retries=5)  # it listens shortly after the log line
    async with httpx.AsyncClient(timeout=WAIT_MAX_S, base_url=url, transport=patient) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 200, ready.text
        assert (await client.get("/health")).json()["environment"] == "production"
        left = []
        for number_of_proxy in range(3):
            # No proxy is trusted, not even on this machine.
            forwarded = {"x-forwarded-for": f"192.0.2.{number_of_proxy}", "user-agent": canary}
            answer = await client.get(f"/traces?name={canary}", headers=forwarded)
            left.append(int(answer.headers["ratelimit-remaining"]))
            assert (answer.status_code, "server" in answer.headers) == (401, False)
        assert left == [left[0], left[0] - 1, left[0] - 2]
    await assert_invalid_http_is_refused(port, canary)
    idle = await exchange(port, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert idle.startswith(b"HTTP/1.1 200")
    busy = {"PANDAPROBE_PORT": str(free_port()), "PANDAPROBE_OTLP_GRPC_PORT": port}
    for more, variable in (({}, "PANDAPROBE_PORT"), (busy, "PANDAPROBE_OTLP_GRPC_PORT")):
        status, _, err = await process_of(migrated | more, "serve")
        assert (status, f"is in use: set {variable}" in err) == (1, True)
    server.send_signal(number)
    _, err = await asyncio.wait_for(server.communicate(), WAIT_MAX_S)
    assert server.returncode == 0
    lines_of_requests = [line for line in err.decode().splitlines() if '"request"' in line]
    assert len([one for one in lines_of_requests if "/health" not in one]) == 3
    assert canary not in err.decode()


async def assert_invalid_http_is_refused(port: str, canary: str) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00 who speaks TLS\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /\xff%s HTTP/1.1\r\nHost: a\r\n\r\n" % canary.encode(),
    ):
        head, _, body = (await exchange(port, sent)).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert status == "HTTP/1.1 400 Bad Request"
        assert set(json.loads(body)) == {"detail"}
        assert headers["content-type"] == "application/json"
        assert int(headers["content-length"]) == len(body)
        assert re.fullmatch("[0-9a-f-]{36}", headers["x-request-id"])
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


async def test_keys_of_secrets_are_generated_rotated_and_removed(migrated, tmp_path):
    environ = migrated
    _, old, _ = await command(environ, "secrets", "generate-key", "--id", "old")
    _, new, _ = await command(environ, "secrets", "generate-key")
    old, new = old.strip(), new.strip()
    new_id = new.partition(":")[0]
    status, _, err = await command(environ, "secrets", "rotate")
    assert (status, "PANDAPROBE_SECRET_KEYS must be set" in err) == (1, True)
    url = environ["PANDAPROBE_DATABASE_URL"]
    async with open_pool(Engine(config={}), PoolSettings(url=url, size=2)) as pool:
        of_old = PostgresWebhooks(pool, AesGcmCipher.parse([old]))
        made = [await of_old.create(a_webhook(ProjectId(uuid4()))) for _ in range(3)]
        file = tmp_path / "keys"
        file.write_text(f"{new}\n{old}\n")
        both = {**environ, "PANDAPROBE_SECRET_KEYS_FILE": str(file)}
        only_new = {**environ, "PANDAPROBE_SECRET_KEYS": new}
        status, out, _ = await command(only_new, "secrets", "rotate")
        assert (status, "The key old still encrypts 3" in out) == (1, True)
        status, out, _ = await command(both, "secrets", "rotate")
        assert (status, out) == (0, f"3 secrets encrypted again; the key {new_id} encrypts 3\n")
        of_new = PostgresWebhooks(pool, AesGcmCipher.parse([new]))
        assert [await of_new.create(one) for one in made] == made


async def test_spans_that_an_earlier_mapping_stored_are_mapped_again(migrated):
    def map_earlier(trace: TraceId, sent: Sequence[Sent]) -> MappedSpan:
        found = map_span(trace, sent)
        facts = replace(found.facts, mapping_version=0)
        return MappedSpan(replace(found.span, model=None, name="\x1b[2Jold"), facts)

    ours, id_, earlier = ProjectId(uuid4()), trace_id(), replace(fragment_rules(), version=0)
    url = migrated["PANDAPROBE_DATABASE_URL"]
    async with (
        open_pool(Engine(config={}), PoolSettings(url=url, size=2)) as pool,
        PostgresTraces.open(pool, prices()) as traces,
        PostgresOtlpTraces.open(traces.edits, replace(earlier, map_span=map_earlier)) as otlp,
    ):
        sent = sent_span({"gen_ai.request.model": "gpt-4o"}, name="step")
        await otlp.put(ours, id_, fragments(id_, sent))
        status, out, err = await command(migrated, "remap", "--project", f"{ours}", "--dry-run")
        assert (status, out.splitlines()) == (0, [
            "1 OpenTelemetry trace read: 1 span of 1 trace would change",
            f"trace {id_} span {sent.span_id} model: null -> gpt-4o",
            f"trace {id_} span {sent.span_id} name: \\x1b[2Jold -> step",
        ]), err  # fmt: skip
        assert (await traces.get(ours, id_)).spans[0].model is None
        for changed in ("1 span of 1 trace", "0 spans of 0 traces"):
            status, out, err = await command(migrated, "remap")
            expected = f"1 OpenTelemetry trace read: {changed} changed\n"
            assert (status, out) == (0, expected), err
        assert (await traces.get(ours, id_)).spans[0].model == "gpt-4o"
    status, _, err = await command(migrated, "remap", "--project", "checkout-bot")
    assert (status, "'checkout-bot' is not the id of a project" in err) == (1, True)


@pytest.mark.parametrize(
    "name",
    [
        "serve",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("worker", "migrate")),
    ],
)
async def test_unreachable_database_is_reported_in_one_line(environ, name):
    away = {**environ, "PANDAPROBE_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/d"}
    status, _, err = await process_of(away, name)
    assert status == 1
    assert "PostgreSQL at 127.0.0.1:1: " in err
    assert "secret" not in err
    assert "Traceback" not in err


# The next test has errors of a worker.
@pytest.mark.parametrize("name", ["serve", pytest.param("worker", marks=pytest.mark.exhaustive)])
async def test_unusable_data_folder_is_reported_in_one_line(migrated, tmp_path, name):
    (tmp_path / "file").touch()
    unusable = {
        "PANDAPROBE_DATA_DIR": str(tmp_path / "file"),
        "PANDAPROBE_APP_ENV": "test",
        "PANDAPROBE_AUTH_DEV_ISSUER": "on",
    }
    status, _, err = await process_of({**migrated, **unusable}, name)
    assert status == 1
    assert "PANDAPROBE_DATA_DIR has no usable key: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "run"),
    [("serve", process_of), ("worker", process_of), ("migrate", command), ("doctor", command)],
)
async def test_error_of_a_role_without_rights_says_who_grants_them(migrated, name, run):
    owner = await asyncpg.connect(migrated["PANDAPROBE_DATABASE_URL"])
    role = f"stranger_{uuid4().hex}"
    await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    given = urlsplit(migrated["PANDAPROBE_DATABASE_URL"])
    url = given._replace(netloc=f"{role}:secret@{given.hostname}:{given.port}").geturl()
    try:
        status, out, err = await run({**migrated, "PANDAPROBE_DATABASE_URL": url}, name)
    finally:
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()
    assert status == 1
    assert "has no rights on the tables: their owner grants them with" in out + err
    assert "Traceback" not in err


async def test_doctor_names_unreachable_server(migrated):
    status, out, _ = await command(migrated, "doctor")
    assert (status, "\nfail" in out) == (0, False), out
    for variable, url, name in (
        ("DATABASE_URL", "postgresql://127.0.0.1:1/d", "postgres"),
        ("REDIS_URL", "redis://127.0.0.1:1", "redis"),
    ):
        status, out, err = await command({**migrated, f"PANDAPROBE_{variable}": url}, "doctor")
        wrong = " ".join(line for line in out.splitlines() if line.startswith("fail"))
        assert status == 1, err
        assert name in wrong


async def test_doctor_says_once_that_the_replica_is_away(migrated):
    url = f"postgresql://127.0.0.1:{free_port()}/d"
    environ = {**migrated, "PANDAPROBE_DATABASE_READ_URL": url}
    status, out, err = await command(environ, "doctor")
    assert (status, err) == (0, "")
    assert out.count("nothing accepts connections there") == 1


async def test_created_organization_has_a_key_and_an_invited_owner(migrated):
    arguments = ("--owner", "Ada@Example.com", "--name", "Acme", "--project", "bot", "--key")
    status, out, err = await command(migrated, "organization", "create", *arguments)
    assert status == 0, err
    reported = dict(line.split(": ", 1) for line in out.splitlines())
    assert re.fullmatch(r"pp_[0-9a-f]{64}", reported["key"])
    assert reported["organization"].endswith(" Acme")
    assert reported["project"].endswith(" bot")
    assert " ada@example.com, until " in reported["invitation"]
    status, out, err = await command(migrated, "organization", "create", "--owner", "nobody")
    assert (status, out) == (1, "")
    assert err == "pandaprobe-server: owner: must be an email address\n"


async def test_created_key_belongs_to_given_organization(migrated):
    owner = await asyncpg.connect(migrated["PANDAPROBE_DATABASE_URL"])
    organization = "0b8f0a52-6f0c-4df5-9b39-5f6d2f1f7a10"
    await owner.execute(
        "INSERT INTO organizations (id, name, created_at) VALUES ($1, 'Acme', now())", organization
    )
    arguments = ("key", "create", "--organization", organization, "--scopes", "ingest,read")
    status, out, err = await command(migrated, *arguments, "--expires", "90d")
    row = await owner.fetchrow(KEYS_OF, organization)
    await owner.close()
    assert (status, bool(re.fullmatch(r"pp_[0-9a-f]{64}\n", out))) == (0, True), err
    assert row
    assert (str(row["organization_id"]), sorted(row["scopes"]), row["lasts"].days in {89, 90}) == (
        organization,
        ["ingest", "read"],
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give the organization: --organization ID"),
        pytest.param(
            ("--organization", "acme"), "'acme' is not the id", marks=pytest.mark.exhaustive
        ),
        (("--organization", "0b8f0a52-6f0c-4df5-9b39-5f6d2f1f7a11"), "not found"),
        pytest.param(("--scopes", "admin"), "'admin'", marks=pytest.mark.exhaustive),
        pytest.param(("--name", ""), "--name: ", marks=pytest.mark.exhaustive),
    ],
)
async def test_failed_key_creation_reports_reason(migrated, arguments, message):
    status, out, err = await command(migrated, "key", "create", *arguments)
    assert (status, out) == (1, "")
    assert message.lower() in err.lower()
    assert "Traceback" not in err


async def test_altered_audit_log_is_found(migrated):
    status, out, err = await command(migrated, "audit", "verify")
    assert (status, err) == (0, "")
    [line] = out.splitlines()
    organization, _, known = line.partition(" ")
    only = ("--organization", organization, "--known", known)
    assert await command(migrated, "audit", "verify", *only) == (0, out, "")
    connection = await asyncpg.connect(migrated["PANDAPROBE_DATABASE_URL"])
    await connection.execute("UPDATE audit_log SET actor_name = 'nobody' WHERE sequence = 1")
    await connection.close()
    status, out, _ = await command(migrated, "audit", "verify")
    assert status == 1
    assert out.startswith(f"{organization} BROKEN: entry 1 was changed")
    for options, said in (
        (("--known", known), "give --organization ID"),
        (("--organization", "ours"), "is not the id of an organization"),
        (("--organization", f"{uuid4()}"), "has no audit log"),
    ):
        status, _, err = await command(migrated, "audit", "verify", *options)
        assert (status, said in err) == (1, True)
    assert (await command(migrated, "audit", "verify", "--known", "1:2"))[0] == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name", ["migrate", "doctor", "organization create", "secrets generate-key", "audit verify",
             "remap", "key create", "seed"]
)  # fmt: skip
async def test_command_runs_as_a_process(migrated, template, name):
    """The others run where all modules are imported already."""
    more = {
        "organization create": ("--owner", "ada@example.com"),
        "key create": ("--organization", template.organization),
        "seed": ("--organization", template.organization, "--traces", "1"),
    }.get(name, ())
    status, out, err = await process_of(migrated, *name.split(), *more)
    assert (status, bool(out)) == (0, True), err
