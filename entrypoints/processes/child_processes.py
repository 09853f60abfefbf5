"""Runs commands of ours as child processes: starts, watches and stops them together."""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import entrypoints
from adapters.embedded.process import Child, spawn

WATCH_INTERVAL_S: Final = 0.2  # between two checks of the processes


class StopFlag:
    """Set by a signal handler when the process has to stop.

    A plain flag, because a signal may interrupt the handler of an earlier one. That handler must
    not hold a lock then, as threading.Event does.
    """

    def __init__(self) -> None:
        self._is_set = False

    @classmethod
    def on_signals(cls) -> Self:
        """A flag that SIGTERM and SIGINT set."""
        flag = cls()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: flag.set())
        return flag

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleeps for `seconds`; returns whether the flag is set then."""
        time.sleep(seconds)
        return self._is_set


def start(
    command: str,
    *options: str,
    environ: Mapping[str, str],
    orphaned: signal.Signals,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Starts a command of `pandaprobe-server` with `environ` added to our environment.

    It gets the signal `orphaned` if we are killed, and inherits the open files `pass_fds`. Call
    from the main thread.
    """
    # The folder that we were imported from, installed or not, then that of the environment.
    import_path = [str(Path(entrypoints.__file__).resolve().parents[1])]
    import_path += filter(None, [os.environ.get("PYTHONPATH")])
    return spawn(
        command,
        # -P, so that a folder `domain` in the working folder isn't imported instead of ours.
        [sys.executable, "-P", "-m", "entrypoints.cli", command, *options],
        stop_signals=(signal.SIGTERM,),
        orphaned=orphaned,
        pass_fds=pass_fds,
        env={**os.environ, **environ, "PYTHONPATH": os.pathsep.join(import_path)},
    )


def watch(children: Sequence[Child], stop: StopFlag, log: logging.Logger) -> int:
    """Waits for `stop`, or until a child exits by itself. Returns the exit status of this process.

    The caller stops all children then: a restart of one would hide its crash.
    """
    while not stop.wait(WATCH_INTERVAL_S):
        if (exited := find_exited(children)) is not None:
            how = describe_exit(exited)
            log.error("a process exited (%s): stopping the others", how)
            return 1
    return 0


def find_exited(children: Sequence[Child]) -> Child | None:
    """A child that has exited by itself, if any."""
    return next((child for child in children if child.process.poll() is not None), None)


def stop_all(children: Sequence[Child], within_s: float) -> None:
    """Stops all children concurrently."""
    for child in children:
        child.request_stop()
    deadline = time.monotonic() + within_s
    for child in children:
        child.stop(max(0.0, deadline - time.monotonic()))


def describe_exit(child: Child) -> str:
    """How a child exited, in words."""
    status = child.process.returncode
    return f"exit {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
