"""The process of a command: `pandaprobe-server`, or `python -m entrypoints.cli`."""

import gc
import os
import select
import signal
import sys
from typing import Final, TextIO

FIRST_PROCESS: Final = 1  # of a container
STANDARD_ERROR: Final = 2  # the last of the files that every process has
READER_IS_GONE: Final = 128 + signal.SIGPIPE  # the exit status, as of other programs


def run() -> int:
    """Runs the command of this process's arguments. Returns its exit status."""
    prepare_process()
    from entrypoints.cli.main import main  # noqa: PLC0415 - takes a while

    try:
        return main()
    except BrokenPipeError:
        if _drop_unread(sys.stdout):  # as with `| head`
            return READER_IS_GONE
        raise
    finally:
        _drop_unread(sys.stdout)
        _drop_unread(sys.stderr)
        # At its end Python would look for garbage several times, in all that was imported: a
        # quarter of a second of a processor, after which the process ends anyway.
        gc.freeze()


def prepare_process() -> None:
    """Sets up what every command expects of its process. Call it before anything opens a file."""
    _open_standard_files()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        # The end of a terminal stops in order, too.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    if os.getpid() == FIRST_PROCESS:
        # The first process of a container gets no SIGTERM without a handler: a container that
        # starts, or migrates, would end only when it is killed. Commands that stop in order set
        # handlers of their own later.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def _drop_unread(file: TextIO) -> bool:
    """Drops what a standard file still holds, if its reader is gone. Returns whether it is.

    Python would fail to write it at the end of the process, and replace the exit status by 120.
    """
    readers = select.poll()
    readers.register(file, 0)
    is_gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in readers.poll(0))
    if is_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    return is_gone


def _open_standard_files() -> None:
    """Opens those that the caller has closed. A socket in their place would be written to."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(file, True)
    os.close(file)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(STANDARD_ERROR, "w")


if __name__ == "__main__":
    sys.exit(run())
