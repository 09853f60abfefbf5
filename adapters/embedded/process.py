"""Runs servers as child processes that end with this process."""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
LOG_MAX_BYTES: Final = 8 << 20  # a larger log is rotated at the next start
LOG_TAIL_BYTES: Final = 16 << 10  # read to report why a server ended
PORTS: Final = range(20_000, 32_000)  # Linux gives outgoing connections higher ones
PORT_ATTEMPTS_MAX: Final = 1_000
POLL_INTERVAL_S: Final = 0.02  # while a server starts
STOP_TIMEOUT_S: Final = 2.0  # a normal stop takes a tenth of it; the rest is for slow disks
FORCE_TIMEOUT_S: Final = 0.5  # for each signal after the first
# Variables that child processes which aren't ours get: none that could hold a secret.
INHERITED_VARIABLES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    }
)

_PR_SET_PDEATHSIG: Final = 1


class StartError(Exception):
    """A server can't be started. The message is for the user."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as, if it isn't our own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Child:
    """A started process, its log, and the signals that end it, the gentlest first."""

    name: str
    process: subprocess.Popen[bytes]
    stop_signals: tuple[signal.Signals, ...]
    log: Path | None

    def request_stop(self) -> None:
        """Sends the gentlest signal without waiting, so that several can end concurrently."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signals[0])

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stops it gently within `timeout_s`, else by force. Returns once it has ended."""
        for number in (*self.stop_signals, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timeout_s = FORCE_TIMEOUT_S
            else:
                return

    def log_tail(self) -> str:
        """The end of its log, at most LOG_TAIL_BYTES."""
        if self.log is None:
            return ""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
        return ""


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    stop_signals: tuple[signal.Signals, ...],
    log: Path | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    stdin: int | None = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    orphaned: signal.Signals | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Starts `command` in its own process group: Ctrl-C reaches only us, and we stop the child.

    Without a `log` it writes to our output. `orphaned`, by default the gentlest of
    `stop_signals`, is the signal that the kernel sends it when the calling thread ends, so call
    this from the main thread. Without an `env` it gets `inherited_environment`. `pass_fds` are open
    files that it inherits.
    """
    with contextlib.ExitStack() as stack:
        out = None if log is None else stack.enter_context(log.open("ab"))
        process = subprocess.Popen(  # noqa: S603 - the command is ours, no shell reads it
            [os.fspath(part) for part in command],
            stdin=stdin,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env=inherited_environment() if env is None else env,
            process_group=0,
            pass_fds=pass_fds,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            # Runs between fork and exec, and makes only system calls.
            preexec_fn=signal_on_parent_death(orphaned or stop_signals[0]),  # noqa: PLW1509
        )
    return Child(name, process, stop_signals, log)


def signal_on_parent_death(number: signal.Signals) -> Callable[[], None] | None:
    """A function for the forked child: the kernel then signals it when its parent dies.

    None except on Linux.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def request_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return request_signal


def rotate_log(log: Path) -> Path:
    """Renames `log` to `<name>.1` if it is larger than LOG_MAX_BYTES. Returns `log`."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    return log


def free_port() -> int:
    """A port of the loopback that is free now.

    It isn't one of those that systems give to outgoing connections, of which any process could get
    it before its server starts.
    """
    for _ in range(PORT_ATTEMPTS_MAX):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise StartError(f"no port from {PORTS.start} to {PORTS.stop - 1} on {LOOPBACK} is free")


def ensure_folder(path: Path, mode: int) -> None:
    """Creates `path` with `mode`. Raises StartError if that isn't permitted."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"the folder {path} can't be created: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartError(
            f"the folder {path} belongs to user {path.stat().st_uid} and you can't write to it: "
            "run as that user, or set PANDAPROBE_DATA_DIR to another folder"
        )


def inherited_environment() -> dict[str, str]:
    """The environment of a child that needs no setting of ours: without any provider's keys."""
    return {name: value for name, value in os.environ.items() if name in INHERITED_VARIABLES}


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it. Raises StartError."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(
            f"the package {name} isn't installed: it comes with the dependency group `embedded` "
            "(`make dev` installs it); or run your own servers and set PANDAPROBE_DATABASE_URL "
            "and PANDAPROBE_REDIS_URL"
        )
    return Path(spec.origin).resolve().parent
