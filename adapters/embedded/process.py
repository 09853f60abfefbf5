"""Servers as child processes that end with us."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.child_environment import passed_on

LOOPBACK: Final = "127.0.0.1"
LOG_MAX_BYTES: Final = 8 << 20  # at a start, a log beyond it gives way to a new one
LOG_TAIL_BYTES: Final = 16 << 10  # what is read back to tell why a server ended
TICK_S: Final = 0.02  # between two looks at a server that is starting
STOP_TIMEOUT_S: Final = 2.0  # what ends in order takes a tenth of it; the disk holds the rest
FORCE_TIMEOUT_S: Final = 0.5  # for each harder signal after the gentlest

_PR_SET_PDEATHSIG: Final = 1


class StartError(Exception):
    """A server can't be started; the message is for who asked for it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as, where it isn't our own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Child:
    """A started process, the signals that end it, the gentlest first, and where its log is."""

    name: str
    process: subprocess.Popen[bytes]
    stop_signals: tuple[signal.Signals, ...]
    log: Path | None

    def ask_to_stop(self) -> None:
        """Sends the gentlest signal and doesn't wait, so that several can end at the same time."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signals[0])

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends it: in order within `timeout_s`, else by force. Returns once it is gone."""
        for number in (*self.stop_signals, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timeout_s = FORCE_TIMEOUT_S
            else:
                return

    def last_words(self) -> str:
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
) -> Child:
    """Starts `command` in a process group of its own: Ctrl-C reaches us, and we end it.

    Without a `log` it writes where we write. `orphaned`, by default the gentlest of
    `stop_signals`, is what it gets from the kernel when we die. That is tied to the calling
    thread, so call from the main one. Without an `env` it gets `passed_on`.
    """
    with contextlib.ExitStack() as stack:
        out = None if log is None else stack.enter_context(log.open("ab"))
        process = subprocess.Popen(  # noqa: S603 - the command is ours, no shell reads it
            [os.fspath(part) for part in command],
            stdin=stdin,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env=passed_on() if env is None else env,
            process_group=0,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            # Runs between fork and exec, and calls nothing but the kernel.
            preexec_fn=ends_with_parent(orphaned or stop_signals[0]),  # noqa: PLW1509
        )
    return Child(name, process, stop_signals, log)


def ends_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """What a forked child does so that the kernel signals it when its parent dies; Linux only."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(with_signal))
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie


def rotated(log: Path) -> Path:
    """`log`, moved aside to `<name>.1` where it has grown beyond LOG_MAX_BYTES."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    return log


def free_port() -> int:
    """A port of the loopback that nobody has right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def ensure_folder(path: Path, mode: int) -> None:
    """Makes `path` with `mode`. Raises StartError where that isn't allowed."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"the folder {path} can't be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartError(
            f"the folder {path} belongs to user {path.stat().st_uid} and can't be written by you: "
            "run as that user, or set PANDAPROBE_DATA_DIR to another folder"
        )
