"""The process of a command: `pandaprobe-server`, or `python -m entrypoints.cli`."""

import gc
import os
import signal
import sys
from typing import Final

FIRST_PROCESS: Final = 1  # of a container


def run() -> int:
    """Runs the command of this process's arguments. Returns its exit status."""
    if os.getpid() == FIRST_PROCESS:
        # The first process of a container gets no SIGTERM without a handler: a container that
        # starts, or migrates, would end only when it is killed. Commands that stop in order set
        # handlers of their own later.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    from entrypoints.cli.main import main  # noqa: PLC0415 - takes a while

    try:
        return main()
    finally:
        # At its end Python would look for garbage several times, in all that was imported: a
        # quarter of a second of a processor, after which the process ends anyway.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(run())
