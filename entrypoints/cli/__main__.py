"""The process of a command: `pandaprobe-server`, or `python -m entrypoints.cli`."""

import gc
import sys

from entrypoints.cli.main import main


def run() -> int:
    """Runs the command of this process's arguments. Returns its exit status."""
    try:
        return main()
    finally:
        # At its end Python would look for garbage several times, in all that was imported: a
        # quarter of a second of a processor, after which the process ends anyway.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(run())
