"""The private servers: what they keep, whom they let in, and how they end."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio

from adapters.embedded import servers
from adapters.embedded.postgres import start_postgres
from adapters.embedded.process import (
    StartError,
    ensure_folder,
    package_folder,
    rotate_log,
    spawn,
)
from adapters.embedded.valkey import start_valkey
from tests.support.waiting import WAIT_MAX_S, until

ROOT = Path(__file__).parents[3]
IS_ROOT = os.geteuid() == 0

# Another process that holds both servers until its stdin ends.
HOLDER = """
import sys
from pathlib import Path
from adapters.embedded import servers
with servers.run_servers(Path(sys.argv[1])) as own:
    print(own.owner_url, own.redis_url, *(c.process.pid for c in own.children), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the user `nobody` can enter."""
    path = Path(tempfile.mkdtemp(prefix="pandaprobe-embedded-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def made(servers_folder: Path) -> Path:
    """Data as the first start makes them, to be copied: making them takes a second."""
    folder = servers_folder / "made"
    folder.mkdir()
    child, _ = start_postgres(folder)
    child.stop()
    return folder / "pg18"


@pytest.fixture
def data(folder: Path, made: Path) -> Path:
    """A folder that was started on before."""
    subprocess.run(["cp", "-a", made, folder], check=True)
    return folder


async def write(own: servers.Servers, value: str) -> None:
    connection = await asyncpg.connect(own.owner_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
    await connection.execute("INSERT INTO notes VALUES ($1)", value)
    await connection.close()
    async with redis.asyncio.from_url(own.redis_url) as client:
        await client.rpush("notes", value)
        await client.config_set("appendfsync", "always")
        await client.rpush("notes", value)


async def read(own: servers.Servers) -> tuple[list[str], list[bytes]]:
    connection = await asyncpg.connect(own.owner_url)
    notes = [row["note"] for row in await connection.fetch("SELECT note FROM notes")]
    await connection.close()
    async with redis.asyncio.from_url(own.redis_url) as client:
        return notes, await client.lrange("notes", 0, -1)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, including a zombie that was not yet reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def held(folder: Path, **options) -> tuple[subprocess.Popen, list[str]]:
    """A process that runs the servers on `folder`, and its line: two URLs, two process ids."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    assert holder.stdout
    return holder, holder.stdout.readline().split()


def ended(holder: subprocess.Popen) -> int:
    holder.communicate(timeout=WAIT_MAX_S)
    return holder.returncode


@pytest.mark.exhaustive  # the next test starts again after a kill
@pytest.mark.service
async def test_data_survives_a_restart(folder):
    with servers.run_servers(folder) as own:
        await write(own, "kept")
        children = own.children
    assert all(child.process.returncode == 0 for child in children)
    with servers.run_servers(folder) as again:
        assert await read(again) == (["kept"], [b"kept"] * 2)


@pytest.mark.service
async def test_killed_servers_lose_no_committed_data(data):
    with servers.run_servers(data) as own:
        await write(own, "committed")
        for child in own.children:
            child.process.kill()
    with servers.run_servers(data) as again:
        assert await read(again) == (["committed"], [b"committed"] * 2)


@pytest.mark.service
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a death")
async def test_servers_end_with_their_killed_parent_and_start_again(data):
    holder, line = held(data)
    await write(servers.Servers(line[0], line[0], line[1], ()), "committed")
    holder.kill()
    ended(holder)
    with servers.run_servers(data) as again:  # at once: the old one may still be shutting down
        assert await read(again) == (["committed"], [b"committed"] * 2)
    await until(lambda: all(is_gone(int(pid)) for pid in line[2:]))


@pytest.mark.service
def test_second_start_on_a_folder_is_refused(data):
    holder, line = held(data)
    try:
        assert line
        assert servers.is_locked(data)
        message = f"{data} is in use by another start, process {holder.pid}"
        with pytest.raises(StartError, match=message), servers.run_servers(data):
            pass
    finally:
        status = ended(holder)
    assert status == 0
    assert not servers.is_locked(data)


@pytest.mark.service
async def test_servers_require_their_password(data):
    with servers.run_servers(data) as own:
        postgres, valkey = urlsplit(own.owner_url), urlsplit(own.redis_url)
        for password in ("", "wrong"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(
                    user="postgres",
                    password=password,
                    host=postgres.hostname,
                    port=postgres.port,
                    passfile=os.devnull,
                )
            async with redis.asyncio.Redis(
                host=valkey.hostname or "",
                port=valkey.port or 0,
                password=password or None,
                retry=None,
            ) as client:
                with pytest.raises(redis.exceptions.AuthenticationError):
                    await client.ping()
        secrets = (postgres.password or "", valkey.password or "")
        seen = command_lines()
    assert b"postgres" in seen
    assert all(len(secret) == 64 and secret.encode() not in seen for secret in secrets)


def command_lines() -> bytes:
    """Return the command lines of all processes, which every user of the machine can read."""
    seen = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            seen += path.read_bytes()
    return seen


def owner(pid: str) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


class Interrupted(str):
    """A setting at which Ctrl-C arrives while the settings are written."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise KeyboardInterrupt


def test_interrupt_while_writing_settings_starts_no_valkey(folder):
    with pytest.raises(KeyboardInterrupt):
        start_valkey(folder, {"maxclients": Interrupted("10")})
    assert not (folder / "valkey.log").exists()  # a started server has its log


@pytest.mark.service
async def test_log_contains_no_rows_and_no_statements(data):
    with servers.run_servers(data) as own:
        connection = await asyncpg.connect(own.owner_url)
        await connection.execute("CREATE TABLE unique_notes (note text UNIQUE)")
        for _ in range(2):
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await connection.execute("INSERT INTO unique_notes VALUES ('a prompt')")
        await connection.close()
    log = (data / "postgres.log").read_text()
    assert "unique constraint" in log
    assert "a prompt" not in log
    assert "INSERT" not in log


@pytest.mark.service
def test_reused_process_id_does_not_block_the_start(data):
    child, _ = start_postgres(data)
    pid_file = data / "pg18" / "postmaster.pid"
    lines = pid_file.read_text().splitlines(keepends=True)
    child.process.kill()
    child.process.wait()
    stranger = spawn("stranger", ["cat"], stdin=subprocess.PIPE, stop_signals=(signal.SIGTERM,))
    try:
        pid_file.write_text("".join([f"{stranger.process.pid}\n", *lines[1:]]))
        child, _ = start_postgres(data)
        child.stop()
        assert stranger.process.poll() is None
    finally:
        assert stranger.process.stdin
        stranger.process.stdin.close()
        stranger.stop()
    assert child.process.returncode == 0


@pytest.mark.service
def test_incomplete_data_is_created_again(folder):
    (folder / "pg18.new" / "base").mkdir(parents=True)
    (folder / "pg18.new" / "PG_VERSION").write_text("18\n")
    child, _ = start_postgres(folder)
    child.stop()
    assert child.process.returncode == 0
    assert not (folder / "pg18.new").exists()


@pytest.mark.service
def test_data_is_closed_to_other_users(data):
    with servers.run_servers(data):
        modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    assert (modes["pg18"], modes["valkey"]) == (0o700, 0o700)
    assert (data / "pg18" / "password").stat().st_mode & 0o777 == 0o600


@pytest.mark.service
@pytest.mark.skipif(not IS_ROOT, reason="only root can close a folder to itself as nobody")
async def test_data_in_a_closed_folder_of_root_works(folder):
    home = folder / "home"
    home.mkdir(mode=0o700)
    for _ in range(2):
        with servers.run_servers(home / "project" / ".local") as own:
            await write(own, "here")
    assert home.stat().st_mode & 0o777 == 0o700
    assert own.owner_url


def can_run_us(user: pwd.struct_passwd) -> bool:
    """Whether `user` gets at this Python and at this project, whatever folders they lie in."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import adapters.embedded.servers"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
        )
    except PermissionError:
        return False
    return done.returncode == 0


@pytest.mark.service
@pytest.mark.skipif(not IS_ROOT, reason="every other run of these tests is this case")
async def test_other_users_run_the_servers_as_themselves(folder):
    nobody = pwd.getpwnam("nobody")
    if not can_run_us(nobody):
        pytest.skip("this Python or this folder is closed to other users")
    data = folder / "theirs"
    data.mkdir()
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
    holder, line = held(data, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd="/")
    try:
        owners = {owner(pid) for pid in line[2:]}
        await write(servers.Servers(line[0], line[0], line[1], ()), "theirs")
    finally:
        status = ended(holder)
    assert (owners, status) == ({nobody.pw_uid}, 0)


@pytest.mark.skipif(IS_ROOT, reason="root may write anywhere")
def test_folder_of_another_user_is_an_error(folder):
    folder.chmod(0o555)
    with pytest.raises(StartError, match="PANDAPROBE_DATA_DIR"):
        ensure_folder(folder, 0o755)


def test_folder_that_cannot_be_created_is_an_error(folder):
    (folder / "file").write_text("")
    with pytest.raises(StartError, match="can't be created"):
        ensure_folder(folder / "file" / "data", 0o755)


def test_missing_wheel_is_an_error_with_advice():
    with pytest.raises(StartError, match="PANDAPROBE_DATABASE_URL"):
        package_folder("no_such_server")


def test_large_log_is_rotated(folder):
    log = folder / "server.log"
    log.write_bytes(b"x" * 100)
    assert rotate_log(log).exists()
    with log.open("r+b") as file:
        file.truncate(9 << 20)
    assert not rotate_log(log).exists()
    assert (folder / "server.log.1").stat().st_size == 9 << 20


def test_child_that_ignores_the_first_signal_is_killed():
    child = spawn(
        "stubborn",
        ["sh", "-c", "trap '' TERM; echo ready; read line"],
        stdin=subprocess.PIPE,
        stop_signals=(signal.SIGTERM,),
    )
    child.request_stop()
    child.stop(timeout_s=0.2)
    assert child.process.stdin
    child.process.stdin.close()
    assert child.process.returncode in {-signal.SIGKILL, -signal.SIGTERM}


TELLING = """
import signal
from adapters.embedded.process import spawn
spawn("env", ["env"], stop_signals=(signal.SIGTERM,)).process.wait()
"""


def test_child_environment_has_no_secrets():
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-planted"}
    known |= {"PANDAPROBE_DATABASE_URL": "postgresql://u:planted@h/d"}
    reported = subprocess.run(
        [sys.executable, "-c", TELLING], env=known, capture_output=True, text=True, check=True
    )
    assert "PATH=" in reported.stdout
    assert "planted" not in reported.stdout
