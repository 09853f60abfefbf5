"""Signals end a backup or a restore, which cleans up; a later backup does so after a kill."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.cli.backups import DRAFT_SUFFIX, remove_abandoned_drafts
from tests.support.waiting import WAIT_MAX_S

COMMAND = """
import asyncio, signal, sys
from entrypoints.cli.backups import interruptible

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
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


HOLD = """
import sys
from pathlib import Path
from entrypoints.cli.backups import lock_draft

with lock_draft(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_drafts_of_killed_backups_are_removed_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft, other = tmp_path / f".monday.x1{DRAFT_SUFFIX}", tmp_path / ".monday.x1"
    for folder in (draft, other):
        folder.mkdir()
        (folder / "database.dump").write_text("begun")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(draft)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "locked\n"
            remove_abandoned_drafts(tmp_path)
            assert draft.exists()
        finally:
            writer.kill()
    remove_abandoned_drafts(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [other.name]
    assert str(draft) in capsys.readouterr().out
