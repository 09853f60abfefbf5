"""Runs commands of `pandaprobe-server` in this process: a new one would import for a second.

Tests of processes start processes: signals, exit statuses of `serve` and `worker`, what is printed
while they run. Some commands of each kind run as processes too, so that nothing depends on what
the tests have imported.
"""

import asyncio
import contextlib
import gc
import io
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from entrypoints.cli.main import main


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command returned and printed."""

    returncode: int
    stdout: str
    stderr: str


def run_command(environ: Mapping[str, str], *arguments: object) -> Completed:
    """Runs a command with these variables, and no others. Call it where no event loop runs."""
    thresholds = gc.get_threshold()
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(one) for one in arguments], environ)
        except SystemExit as end:  # an option that the parser refuses
            status = end.code if isinstance(end.code, int) else 1
        except Exception:  # as Python ends a process
            traceback.print_exc()
            status = 1
        finally:
            gc.set_threshold(*thresholds)  # `seed` sets those of its process
    return Completed(status, _written(out), _written(err))


async def command(environ: Mapping[str, str], *arguments: object) -> tuple[int, str, str]:
    """Like `run_command`, in a thread; returns exit status, stdout and stderr."""
    done = await asyncio.to_thread(run_command, environ, *arguments)
    return done.returncode, done.stdout, done.stderr


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
