"""Commands of ours as child processes: started, watched, and ended together."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import entrypoints
from adapters.embedded.process import Child, spawn


def started(
    command: str, *options: str, environ: Mapping[str, str], orphaned: signal.Signals
) -> Child:
    """A command of `pandaprobe-server`, with `environ` beside our own environment.

    It gets `orphaned` where we are killed. Call from the main thread.
    """
    return spawn(
        command,
        # -P: a folder `domain` where we were started is not ours.
        [sys.executable, "-P", "-m", "entrypoints.cli", command, *options],
        stop_signals=(signal.SIGTERM,),
        orphaned=orphaned,
        env={**os.environ, **environ, "PYTHONPATH": os.pathsep.join(_import_path())},
    )


def lost(children: Sequence[Child]) -> Child | None:
    """One that has ended by itself, if any has."""
    return next((child for child in children if child.process.poll() is not None), None)


def stop_all(children: Sequence[Child], within_s: float) -> None:
    """Ends them all at the same time."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + within_s
    for child in children:
        child.stop(max(0.0, deadline - time.monotonic()))


def how_it_ended(child: Child) -> str:
    """The end of one that is gone, in words."""
    status = child.process.returncode
    return f"exit {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


def _import_path() -> Iterator[str]:
    """Where we were imported from, installed or not, then what the environment says."""
    yield str(Path(entrypoints.__file__).resolve().parents[1])
    if given := os.environ.get("PYTHONPATH"):
        yield given
