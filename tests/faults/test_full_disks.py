"""PostgreSQL's disks are full: writes fail, or the server ends; both recover without help.

If nothing may be mounted, as for users other than root, these tests are skipped.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from adapters.embedded.postgres import MAJOR, start_postgres
from tests.faults.conftest import (
    Loading,
    assert_read,
    until_accepted,
    until_refused,
    wait_more_accepted,
)
from tests.faults.support.disks import Disk, NotAllowedError, move_to, small_disk
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack, pause_s

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

TABLES_MB: Final = 128
WAL_MB: Final = 192
LENGTH_S: Final = 5

type Disks = dict[str, Disk]


@pytest.fixture(scope="module")
def disks(servers_folder: Path) -> Iterator[Disks]:
    """A small disk for PostgreSQL's data, and one for its write-ahead log."""
    folder = servers_folder / f"disks-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    with ExitStack() as mounted:
        try:
            made = {
                name: mounted.enter_context(small_disk(folder / name, size))
                for name, size in (("tables", TABLES_MB), ("wal", WAL_MB))
            }
        except NotAllowedError as error:
            pytest.skip(f"a small disk can't be mounted here: {error}")
        child, _ = start_postgres(made["tables"].folder)
        child.stop()
        move_to(made["wal"], made["tables"].folder / f"pg{MAJOR}" / "pg_wal")
        yield made


@pytest.fixture(scope="module")
def stack(servers_folder: Path, disks: Disks) -> Iterator[Stack]:
    """PostgreSQL on the small disks, everything else on the normal one."""
    folder = servers_folder / f"small-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Stack(folder, data=disks["tables"].folder)
    yield made
    made.close()


def test_full_data_disk_fails_writes_only(stack: Stack, loading: Loading, disks: Disks) -> None:
    """Single writes fail; the server and reads continue."""
    with loading() as load:
        disks["tables"].fill()
        refused = until_refused(load)
        for _ in range(int(LENGTH_S)):
            assert_read(stack, load)
            assert stack.readiness()[0] == 200
            pause_s(1)
        assert disks["tables"].is_full
        disks["tables"].free()
        back = until_accepted(load)
        wait_more_accepted(load)
    assert stack.processes["postgres"].process.poll() is None
    report_line(
        f"data disk full for {LENGTH_S:.0f} s: refused after {refused:.2f} s, accepting "
        f"{back:.2f} s after there was room; {load.accepted} accepted, "
        f"{load.dropped} dropped; {dict(load.outcomes)}"
    )


@pytest.mark.parametrize("full", [("wal",), ("tables", "wal")], ids="+".join)
def test_full_wal_disk_stops_postgres_until_there_is_room(
    stack: Stack, loading: Loading, disks: Disks, full: tuple[str, ...]
) -> None:
    """PostgreSQL ends, and restarting it fails until there is room."""
    with loading() as load:
        for name in full:
            disks[name].fill()
        refused = until_refused(load)
        starts = stack.restart_ended_for(LENGTH_S)
        assert stack.is_alive()
        for name in full:
            disks[name].free()
        ready = stack.revive()
        back = until_accepted(load)
        wait_more_accepted(load)
    assert stack.processes["serve"].process.poll() is None
    assert stack.processes["worker"].process.poll() is None
    report_line(
        f"full for {LENGTH_S:.0f} s: {' and '.join(full)}: refused after {refused:.2f} s, "
        f"{starts} starts meanwhile; ready {ready:.2f} s after there was room, accepting "
        f"{back:.2f} s later; {load.accepted} accepted, {load.dropped} dropped; "
        f"{dict(load.outcomes)}"
    )
