"""Signals end a backup or a restore, which cleans up."""

import signal
import subprocess
import sys

import pytest

from tests.support.waiting import WAIT_MAX_S

COMMAND = """
import asyncio, signal, sys
from entrypoints.cli.backups import interruptible

if sys.argv[1] == "background":
    signal.signal(signal.SIGINT, signal.SIG_IGN)

async def work():
    try:
        print("begun", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

try:
    with interruptible():
        asyncio.run(work())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", ["foreground", "background"])
def test_signal_ends_the_block_also_if_a_shell_ignores_ctrl_c(
    number: signal.Signals, place: str
) -> None:
    arguments = [sys.executable, "-c", COMMAND, place]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            process.send_signal(number)
            written, _ = process.communicate(timeout=WAIT_MAX_S)
        finally:
            process.kill()
    assert written == "cleaned up\ninterrupted\n"
