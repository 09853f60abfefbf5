"""`pandaprobe-server dev`, from a user's point of view."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import all_gone, children_of
from tests.support.clients.command_line import run_command
from tests.support.fixtures.servers import migrated_postgres
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
STOP_S = 10  # as documented
URL = re.compile(r"Base URL +(\S+)")
KEY = re.compile(r"API key +(pp_[0-9a-f]{64})\n")


@dataclass
class Dev:
    """A running supervisor and its output so far."""

    process: subprocess.Popen[str]
    data: Path
    output: str = ""

    def read_until(self, words: str) -> str:
        assert self.process.stdout
        deadline = time.monotonic() + WAIT_MAX_S
        while words not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended:\n{self.output}"
            self.output += line
            assert time.monotonic() < deadline, self.output
        return self.output

    def children(self) -> dict[str, int]:
        return children_of(self.process.pid)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Signals it; returns its exit status, and the seconds until it ended."""
        started = time.monotonic()
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=WAIT_MAX_S)
        self.output += out
        return self.process.returncode, time.monotonic() - started

    @property
    def env(self) -> dict[str, str]:
        """Reads dev.env as a shell does."""
        script = f'set -a; . "{self.data}/dev.env"; env'
        done = subprocess.run(
            ["sh", "-c", script], env={}, capture_output=True, text=True, check=True
        )
        lines = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value for name, _, value in lines if name.startswith("PANDAPROBE_")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**settings: object) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("PANDAPROBE_")}
    given = {f"PANDAPROBE_{name}": str(value) for name, value in settings.items()}
    return {**own, "PYTHONPATH": str(ROOT), **given}


def command(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pandaprobe dev "))  # with a space, as in many home folders
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(folder):
    """Returns a function that starts `dev` on one data folder; stops all of them at the end."""
    running: list[Dev] = []

    def start(**settings: object) -> Dev:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.cli", "dev"],
            env=environment(DATA_DIR=folder / ".local", **settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(Dev(process, folder / ".local"))
        return running[-1]

    yield start
    for dev in running:
        if dev.process.poll() is None:
            dev.stop()


def post_pasted(output: str) -> dict:
    """Runs the printed `curl` command as it is."""
    pasted = re.search(r"^  curl .*?[^\\]\n", output, re.MULTILINE | re.DOTALL)
    assert pasted
    done = subprocess.run(["sh", "-c", pasted[0]], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def traces(dev: Dev) -> list[dict]:
    env = dev.env
    answer = httpx.get(
        f"{env['PANDAPROBE_ENDPOINT']}/traces",
        headers={
            "X-API-Key": env["PANDAPROBE_API_KEY"],
            "X-Project-Name": env["PANDAPROBE_PROJECT_NAME"],
        },
        timeout=WAIT_MAX_S,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="what is tried is a curl")
def test_starts_on_one_folder(start):
    port = free_port()
    dev = start(PORT=port)
    output = dev.read_until("Ctrl-C stops everything.")
    url, key = URL.search(output), KEY.search(output)
    assert url
    assert key
    assert url[1] == f"http://127.0.0.1:{port}"
    assert f"{url[1]}/docs" in output
    assert next(line for line in output.splitlines() if line).startswith("Starting PostgreSQL")

    # The first trace as pasted, and the contents of dev.env.
    sent = post_pasted(output)
    assert [trace["trace_id"] for trace in traces(dev)] == [sent["trace_id"]]
    assert (dev.data / "dev.env").stat().st_mode & 0o777 == 0o600
    env = dev.env
    assert set(env) == {
        f"PANDAPROBE_{name}"
        for name in ("ENDPOINT", "API_KEY", "PROJECT_NAME", "TOKEN", "AUTH_URL")
    }
    assert (env["PANDAPROBE_ENDPOINT"], env["PANDAPROBE_API_KEY"]) == (url[1], key[1])
    assert f"PANDAPROBE_AUTH_URL={url[1]} pandaprobe auth login" in output
    assert env["PANDAPROBE_AUTH_URL"] == url[1]

    # More traces in a minute than the rate limit of production admits.
    key_headers = {"X-API-Key": key[1], "X-Project-Name": env["PANDAPROBE_PROJECT_NAME"]}
    with httpx.Client(headers=key_headers, timeout=WAIT_MAX_S) as http:
        body = {"name": "one of many", "started_at": "2026-01-01T00:00:00Z"}
        answers = {http.post(f"{url[1]}/traces", json=body).status_code for _ in range(120)}
        assert answers == {202}
        assert http.post(f"{url[1]}/traces", json=body).headers.get("ratelimit-limit") is None

    # Commands find the service by its folder.
    of_folder = environment(DATA_DIR=dev.data)
    doctor = run_command(of_folder, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "\nfail" not in doctor.stdout
    created = run_command(of_folder, "key", "create", "--scopes", "read", "--expires", "90d")
    assert re.fullmatch(r"pp_[0-9a-f]{64}\n", created.stdout), created.stderr
    reader = {"X-API-Key": created.stdout.strip(), "X-Project-Name": "onboarding"}
    trace = {"name": "a", "started_at": "2026-01-01T00:00:00Z"}
    with httpx.Client(headers=reader, timeout=WAIT_MAX_S) as http:
        assert http.get(f"{url[1]}/traces").json()["total"] == 122
        refused = http.post(f"{url[1]}/traces", json=trace)
    assert refused.status_code == 403

    # A second `dev` on the same folder fails and does no harm.
    second = command("dev", DATA_DIR=dev.data, PORT=free_port())
    assert second.returncode == 1
    assert f"{dev.data} is in use by another start" in second.stderr
    assert "Traceback" not in second.stderr

    children = dev.children()
    assert set(children) == {"postgres", "valkey", "serve", "worker"}
    for _ in range(1_000):  # as from an impatient user, and from a shell and `make` at once
        dev.process.send_signal(signal.SIGTERM)
    status, seconds = dev.stop(signal.SIGINT)
    assert (status, seconds < STOP_S) == (0, True)
    assert all_gone(children.values())
    assert not (dev.data / "servers.env").exists()

    # The next start keeps the key and the traces, and creates a new token. Without dev.env it
    # creates another key: `test_backup.py`.
    again = start(PORT=port)
    output = again.read_until("Ctrl-C stops everything.")
    assert KEY.search(output)[1] == key[1]
    assert "Created an API key" not in output
    assert sent["trace_id"] == traces(again)[0]["trace_id"]

    # A part that ends stops the others, and the error names it.
    children = again.children()
    os.kill(children["serve"], signal.SIGKILL)
    again.process.wait(WAIT_MAX_S)
    status, _ = again.stop()
    assert status == 1
    assert "serve exited (signal SIGKILL)" in again.output
    assert all_gone(children.values())


@pytest.mark.exhaustive  # test_commands.py: `serve`, which `dev` starts, names the port
def test_busy_port_is_reported_by_name(start, folder, migrated_data):
    (folder / ".local").mkdir(mode=0o755)
    migrated_postgres.copy(migrated_data, folder / ".local")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        dev = start(PORT=port)
        dev.process.wait(WAIT_MAX_S)
        status, _ = dev.stop()
    assert status == 1
    assert f"port {port} on 127.0.0.1 is in use: set PANDAPROBE_PORT" in dev.output
    assert "Traceback" not in dev.output


def test_data_of_unreleased_version_is_named(start, folder, migrated_data):
    (folder / ".local").mkdir(mode=0o755)
    migrated_postgres.copy(migrated_data, folder / ".local")
    migrated_postgres.execute(folder / ".local", "ALTER TABLE traces DROP COLUMN release CASCADE")
    dev = start()
    dev.process.wait(WAIT_MAX_S)
    status, _ = dev.stop()
    assert status == 1
    assert f"{folder}/.local: The database was made by an earlier version" in dev.output
    assert "it lacks column traces.release text" in dev.output
    assert "move this folder away or delete it" in dev.output
    assert "Traceback" not in dev.output


def test_dev_refuses_external_servers(start):
    dev = start(DATABASE_URL="postgresql://u:secret@localhost/d")
    dev.process.wait(WAIT_MAX_S)
    status, _ = dev.stop()
    assert status == 1
    assert "PANDAPROBE_DATABASE_URL is set" in dev.output
    assert "secret" not in dev.output
    assert not dev.data.exists()


def test_file_that_cannot_be_written_is_named(start, folder):
    (folder / ".local" / "postgres.log").mkdir(parents=True)
    dev = start()
    dev.process.wait(WAIT_MAX_S)
    status, _ = dev.stop()
    assert status == 1
    assert f"Is a directory: '{folder}/.local/postgres.log'" in dev.output
    assert "Traceback" not in dev.output
