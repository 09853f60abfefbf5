"""`backup` and `restore`: while `dev` runs, and into another folder."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest

from adapters.embedded.process import free_port
from entrypoints.processes.dev_supervisor import running_servers
from tests.e2e.conftest import (
    ROOT,
    DevServer,
    own_environ,
    start_dev,
)
from tests.support.clients.command_line import Completed, run_command
from tests.support.fixtures.servers import migrated_postgres
from tests.support.hypothesis_scale import sampled
from tests.support.waiting import WAIT_MAX_S, in_time, until, until_while

pytestmark = pytest.mark.e2e

TRACES = 60
ERASED = "u1"
READS = ("/traces?limit=200", "/sessions", "/traces/users", "/evaluations/trace-scores")


@contextmanager
def enterable() -> Iterator[Path]:
    """A folder that postgres can enter as another user."""
    folder = Path(tempfile.mkdtemp(prefix="pandaprobe-backup-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def base_folder() -> Iterator[Path]:
    with enterable() as folder:
        yield folder


def command(folder: Path, *arguments: str | Path) -> Completed:
    return run_command(own_environ(folder, free_port()), *arguments)


def process_of(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", *map(str, arguments)],
        cwd=ROOT,
        env=own_environ(folder, free_port()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )


def a_trace(n: int) -> dict[str, object]:
    span = {"span_id": str(uuid.uuid4()), "name": "step", "started_at": f"2026-03-01T10:00:{n:02}Z"}
    return {
        "trace_id": str(uuid.uuid4()),
        "name": f"run {n}",
        "started_at": f"2026-03-01T10:00:{n:02}Z",
        "session_id": f"s{n % 5}",
        "user_id": f"u{n % 7}",
        "input": {"text": "é\u0000 12345678901234567890", "n": 1.0},
        "spans": [span],
    }


def start(folder: Path, data: Path | None = None) -> DevServer:
    """Starts `dev` on a folder, which first gets a copy of the database in `data`."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    if data is not None:
        migrated_postgres.copy(data, folder)
    return start_dev(folder, free_port())


def stop(server: DevServer) -> None:
    server.process.terminate()
    assert server.process.wait(WAIT_MAX_S) == 0


def read_all(server: DevServer) -> list[object]:
    with server.client() as http:
        listed = http.get("/traces", params={"limit": 200}).json()["items"]
        whole = [http.get(f"/traces/{one['trace_id']}").json() for one in listed]
        return [whole, *(http.get(path).json() for path in READS)]


async def backup_while_erasing(
    server: DevServer, data: Path, backup: Path
) -> subprocess.CompletedProcess[str]:
    """Runs a backup while an erasure is blocked by a lock on its traces."""
    url = running_servers(str(data))["PANDAPROBE_MIGRATION_DATABASE_URL"]
    holder = await asyncpg.connect(url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM traces WHERE user_id = $1 FOR UPDATE", ERASED)
            with server.client() as http:
                order = {"user_id": ERASED}
                answer = await asyncio.to_thread(http.post, "/erasures", json=order)
            assert answer.json()["state"] == "REMOVING"
            return await asyncio.to_thread(process_of, data, "backup", backup)
    finally:
        await holder.close()


HOLD: Final = "CREATE SCHEMA IF NOT EXISTS held; CREATE TABLE IF NOT EXISTS held.by_test (id int)"
WAITING: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"


async def interrupted_dump(data: Path, backup: Path, number: signal.Signals) -> int:
    """Sends a signal to a backup whose pg_dump waits for a lock. Returns its exit status."""
    url = running_servers(str(data))["PANDAPROBE_MIGRATION_DATABASE_URL"]
    holder = await asyncpg.connect(url)
    try:
        await holder.execute(HOLD)
        async with holder.transaction():
            await holder.execute(
                "LOCK TABLE held.by_test"
            )  # tables outside `public` aren't counted
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "entrypoints.cli", "backup", str(backup)),
                cwd=ROOT,
                env=own_environ(data, free_port()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # nohup ignores it
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
            await until(lambda: holder.fetchval(WAITING))
            process.send_signal(number)
            async with in_time():
                code = await process.wait()
            await until(lambda: holder.fetchval(WAITING), lambda waiting: waiting == 0)
        await holder.execute("DROP SCHEMA held CASCADE")
    finally:
        await holder.close()
    return code


def test_backup_of_running_server_is_consistent_and_restorable(
    base_folder: Path, migrated_data: Path
) -> None:
    data, copy, backup = (
        base_folder / "data",
        base_folder / "copy",
        base_folder / "backups" / "monday",
    )
    server = start(data, migrated_data)
    is_over = threading.Event()
    sent = [a_trace(n) for n in range(TRACES)]
    kept = [one for one in sent if one["user_id"] != ERASED]

    def read_kept(http: httpx.Client) -> list[object]:
        scores = http.get("/evaluations/trace-scores", params={"limit": 200}).json()
        return [scores, *(http.get(f"/traces/{one['trace_id']}").json() for one in kept)]

    def write() -> None:
        with server.client() as http:
            while not is_over.wait(0.1):  # as fast as possible would keep a processor busy
                assert http.post("/traces", json=a_trace(59)).status_code == 202

    try:
        with server.client() as http:
            for one in sent:
                assert http.post("/traces", json=one).status_code == 202
            for one in kept[::9]:
                score = {"trace_id": one["trace_id"], "name": "ok", "value": "1"}
                assert http.post("/evaluations/trace-scores", json=score).status_code == 201
            before = read_kept(http)
            url = f"http://127.0.0.1:{free_port()}/"
            assert http.post("/evaluations/webhooks", json={"url": url}).status_code == 201
        writer = threading.Thread(target=write)
        writer.start()
        made = asyncio.run(backup_while_erasing(server, data, backup))
        is_over.set()
        writer.join()
        assert made.returncode == 0, made.stderr
        for number in sampled((signal.SIGHUP, signal.SIGINT, signal.SIGTERM), 1, 0, usually=True):
            interrupted = base_folder / "interrupted"
            assert asyncio.run(interrupted_dump(data, interrupted / "tuesday", number)) == 130
            # Nothing looks like a backup; and pg_dump has ended, or its lock would wait.
            assert [*interrupted.iterdir()] == []
        assert command(data, "backup", backup).returncode == 1  # the backup exists already
    finally:
        is_over.set()
        stop(server)
    manifest = json.loads((backup / "manifest.json").read_text())
    assert manifest["tables"]["traces"]["rows"] >= TRACES
    assert (backup / "database.dump").stat().st_mode & 0o077 == 0

    verified = command(base_folder / "nowhere", "restore", backup, "--verify")
    assert verified.returncode == 0, verified.stderr
    assert not (base_folder / "nowhere").exists()
    restored = command(copy, "restore", backup)
    assert restored.returncode == 0, restored.stderr
    # The key of the webhook's secret isn't in the backup.
    secret_key = (data / "secret.key").read_text()
    assert (data / "secret.key").stat().st_mode & 0o077 == 0
    assert secret_key.partition(":")[0] in restored.stdout
    assert "copy the file secret.key" in restored.stdout
    shutil.copy(data / "secret.key", copy)
    again = command(copy, "restore", backup)
    assert again.returncode == 1
    assert "exists already: move that database away" in again.stderr

    other = start(copy)
    try:
        # Without the dev.env of the other folder, whose key still counts.
        assert other.environ["PANDAPROBE_API_KEY"] != server.environ["PANDAPROBE_API_KEY"]
        assert "Created an API key" in (copy / "dev.log").read_text()
        with other.client(**server.headers) as http:
            report = json.loads(command(copy, "doctor", "--json").stdout)
            [found] = [one for one in report["findings"] if one["name"] == "secrets"]
            assert (found["level"], "1 stored" in found["detail"]) == ("ok", True)
            page = http.get("/traces", params={"limit": 1}).json()
            erased = TRACES - len(kept)
            assert read_kept(http) == before
            assert page["total"] == manifest["tables"]["traces"]["rows"] - erased
            assert http.post("/traces", json=a_trace(2)).status_code == 202
            receipt = until_while(
                other.process,
                lambda: http.get("/erasures").json()["items"][0],
                lambda one: one["state"] == "REMOVED",
            )
            assert receipt["rows"]["traces"] == erased
    finally:
        stop(other)


@dataclass(frozen=True, slots=True)
class BackedUp:
    """The answers of a server before it was stopped, and the backup made then."""

    server: DevServer
    answers: list[object]
    backup: Path


@pytest.fixture
def backed_up(migrated_data: Path) -> Iterator[BackedUp]:
    with enterable() as folder:
        server = start(folder / "data", migrated_data)
        try:
            with server.client() as http:
                for n in range(TRACES):
                    trace = a_trace(n)
                    http.post("/traces", json=trace)
                    score = {"trace_id": trace["trace_id"], "name": "ok", "value": "1"}
                    assert http.post("/evaluations/trace-scores", json=score).status_code == 201
            before = read_all(server)
        finally:
            stop(server)
        assert command(folder / "data", "backup", folder / "backup").returncode == 0
        yield BackedUp(server, before, folder / "backup")


@pytest.mark.exhaustive  # the first test has the traces and the scores
def test_restored_server_answers_as_before(backed_up: BackedUp, base_folder: Path) -> None:
    copy = base_folder / "copy"
    assert command(copy, "restore", backed_up.backup).returncode == 0
    other = start(copy)
    try:
        environ = backed_up.server.environ | {"PANDAPROBE_ENDPOINT": other.url}
        known = DevServer(copy, environ, other.process)
        assert read_all(known) == backed_up.answers
    finally:
        stop(other)


def test_invalid_backup_is_refused_and_leaves_no_files(
    base_folder: Path, migrated_data: Path
) -> None:
    data, copy, backup = (base_folder / name for name in ("data", "copy", "backup"))
    nothing = command(data, "backup", backup)
    assert nothing.returncode == 1
    assert "nothing to back up" in nothing.stderr
    data.mkdir(exist_ok=True)
    migrated_postgres.copy(migrated_data, data)
    assert command(data, "backup", backup).returncode == 0
    manifest = json.loads((backup / "manifest.json").read_text())

    manifest["tables"]["projects"]["rows"] += 1
    (backup / "manifest.json").write_text(json.dumps(manifest))
    for arguments in ((backup, "--verify"), (backup,)):
        refused = command(copy, "restore", *arguments)
        assert refused.returncode == 1
        assert "projects" in refused.stderr
    assert not (copy / "pg18").exists()
    assert not (copy / "restoring").exists()

    manifest["migrations"].append("9999_newer")
    (backup / "manifest.json").write_text(json.dumps(manifest))
    newer = command(copy, "restore", backup)
    assert newer.returncode == 1
    assert "newer" in newer.stderr
    del manifest["migrations"][-1]
    (backup / "manifest.json").write_text(json.dumps(manifest))

    with (backup / "database.dump").open("ab") as dump:
        dump.write(b"x")
    changed = command(copy, "restore", backup)
    assert changed.returncode == 1
    assert "was changed" in changed.stderr
    assert command(copy, "restore", base_folder / "nothing").returncode == 1
