"""Restores the embedded PostgreSQL to a point in time, from a base backup and archived log.

As docs/operation/backup.md describes it: `dev` doesn't archive by itself.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import SEEDS, run_assert_kept, running, wait_more_accepted
from tests.faults.support.background import Background
from tests.faults.support.clients import Load
from tests.faults.support.report import report_line
from tests.faults.support.stack import STARTED_MAX_S, Stack, until
from tests.faults.support.standby import Server

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

IS_ARCHIVED: Final = "SELECT last_archived_wal >= '{}' FROM pg_stat_archiver"
SEGMENT: Final = "SELECT pg_walfile_name(pg_current_wal_lsn())"


class Archived:
    """An installation whose database archives its log, and a base backup of it."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(folder)
        self.primary, self.base = Server(self.stack.data), Server(folder / "base")
        self.archive = folder / "archive"
        self.archive.mkdir(mode=0o700)
        if self.base.account is not None:
            os.chown(self.archive, self.base.account.uid, self.base.account.gid)
        self.stack.execute_sql(
            "ALTER SYSTEM SET archive_mode = on",
            f"ALTER SYSTEM SET archive_command = 'test ! -f {self.archive}/%f && "
            f"cp %p {self.archive}/%f.new && mv {self.archive}/%f.new {self.archive}/%f'",
        )
        self.stack.stop("postgres")
        self.stack.revive()
        self.base.copy(self.stack.database_url)

    def archive_all(self) -> None:
        """Ends the segment of the log that is being written, and waits until it is archived."""
        segment = self.stack.fetch_value(SEGMENT)
        self.stack.execute_sql("SELECT pg_switch_wal()")
        query = IS_ARCHIVED.format(segment)
        until(lambda: bool(self.stack.fetch_value(query)), STARTED_MAX_S, f"{segment} archived")

    def lose_disk(self) -> None:
        self.stack.kill("postgres")
        shutil.rmtree(self.primary.folder)

    def restore(self, **target: str) -> float:
        """Puts the base backup into place, and starts it; returns the seconds until ready."""
        self.base.configure(
            restore_command=f"cp {self.archive}/%f %p", recovery_target_action="promote", **target
        )
        self.base.mark("recovery.signal")
        self.base.folder.rename(self.primary.folder)
        return self.stack.revive()


@pytest.fixture
def archived(servers_folder: Path) -> Iterator[Archived]:
    folder = servers_folder / f"archived-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    made = Archived(folder)
    yield made
    made.stack.close()


@contextmanager
def sending(stack: Stack, background_loop: Background) -> Iterator[Load]:
    load = Load(stack.url, stack.headers, 8, 0.005, seed=next(SEEDS))
    with running(load, background_loop):
        yield load


def test_traces_of_before_a_mistake_are_restored(
    archived: Archived, background_loop: Background
) -> None:
    stack = archived.stack
    with sending(stack, background_loop) as before:
        wait_more_accepted(before, 200)
    moment = stack.fetch_value("SELECT clock_timestamp()::text")
    stack.execute_sql("DELETE FROM span_rows", "DELETE FROM traces")
    with sending(stack, background_loop) as after:
        wait_more_accepted(after, 50)
    archived.archive_all()
    archived.lose_disk()
    took = archived.restore(recovery_target_time=moment)
    run_assert_kept(background_loop, before, stack.settings)
    accepted = {trace for trace, sent in after.sent.items() if sent.accepted}
    assert stored_of(stack, accepted) == 0
    with sending(stack, background_loop) as again:
        wait_more_accepted(again, 50)
    run_assert_kept(background_loop, again, stack.settings)
    report_line(
        f"point in time: {before.accepted} accepted before the mistake, all restored; ready "
        f"{took:.1f} s after the start"
    )


def test_without_a_target_only_the_log_that_was_not_archived_is_lost(
    archived: Archived, background_loop: Background
) -> None:
    stack = archived.stack
    with sending(stack, background_loop) as saved:
        wait_more_accepted(saved, 200)
    archived.archive_all()
    with sending(stack, background_loop) as late:
        wait_more_accepted(late, 200)
    archived.lose_disk()
    took = archived.restore()
    run_assert_kept(background_loop, saved, stack.settings)
    accepted = {trace for trace, sent in late.sent.items() if sent.accepted}
    lost = len(accepted) - stored_of(stack, accepted)
    assert lost > 0, "the last segment was on the lost disk alone"
    report_line(
        f"disk lost: {saved.accepted} accepted before the last archived segment, all restored; "
        f"{lost} of {len(accepted)} traces after it lost; ready {took:.1f} s after the start"
    )


def stored_of(stack: Stack, traces: set[str]) -> int:
    ids = ",".join(traces)
    return int(
        stack.fetch_value(f"SELECT count(*) FROM traces WHERE trace_id = ANY('{{{ids}}}'::uuid[])")
    )
