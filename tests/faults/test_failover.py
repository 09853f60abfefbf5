"""A standby replaces the primary, under load: with synchronous commit nothing acknowledged is lost.

Without it, what the standby had not received yet is lost, although it was acknowledged. The figures
are in docs/operation/reliability.md.
"""

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from adapters.embedded.process import free_port
from adapters.postgres.database.pool import WRITE_TIMEOUT_S
from tests.faults.conftest import (
    END_MAX_S,
    SEEDS,
    run_assert_kept,
    running,
    until_refused,
    wait_more_accepted,
)
from tests.faults.support.accounts import lost_traces
from tests.faults.support.background import Background
from tests.faults.support.clients import Load
from tests.faults.support.proxy import Proxy
from tests.faults.support.report import report_line
from tests.faults.support.stack import STARTED_MAX_S, Stack, pause_s, until, with_port
from tests.faults.support.standby import NAME, Standby

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

IN_SYNC: Final = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = '{NAME}'"
LAG_S: Final = 1.0  # by which the standby receives everything later
ANSWER_MAX_S: Final = 25.0
READY_MAX_S: Final = 15.0  # after the promotion, if readiness is asked for repeatedly


@dataclass
class Pair:
    """An installation whose database has a standby."""

    stack: Stack
    standby: Standby
    link: Proxy  # from the standby to the primary

    def replicate(self, *, synchronous: bool) -> None:
        """Waits for the standby, and from then on for its disk at each commit if `synchronous`."""
        until(lambda: self.count("state = 'streaming'") == 1, STARTED_MAX_S, "streaming")
        if synchronous:
            self.stack.execute_sql(
                f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'", "SELECT pg_reload_conf()"
            )
            until(lambda: self.count("sync_state = 'sync'") == 1, STARTED_MAX_S, "synchronous")

    def count(self, condition: str) -> int:
        return int(self.stack.fetch_value(f"{IN_SYNC} AND {condition}"))

    def wait_received(self) -> None:
        """Waits until the standby has on disk what the primary has now."""
        position = self.stack.fetch_value("SELECT pg_current_wal_flush_lsn()::text")
        until(lambda: self.count(f"flush_lsn >= '{position}'") == 1, STARTED_MAX_S, "received")

    def lose_primary(self) -> None:
        """Kills the primary, which doesn't come back, and promotes the standby."""
        self.stack.kill("postgres")
        self.promote()

    def promote(self) -> float:
        took = self.standby.promote()
        self.stack.processes["postgres"] = self.standby.child
        self.stack.database_url = self.standby.url
        return took


@pytest.fixture
def pair(servers_folder: Path, background_loop: Background) -> Iterator[Pair]:
    folder = servers_folder / f"failover-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    port = free_port()
    stack = Stack(folder, standby_port=port)
    link = Proxy(stack.postgres_port)
    link_port = background_loop.run(link.start(), STARTED_MAX_S)
    standby = Standby(folder / "standby", with_port(stack.database_url, link_port), port)
    try:
        yield Pair(stack, standby, link)
    finally:
        background_loop.run(link.close(), STARTED_MAX_S)
        standby.child.process.send_signal(signal.SIGCONT)
        stack.close()
        standby.child.stop()


@contextmanager
def sending(stack: Stack, background_loop: Background, clients: int = 16) -> Iterator[Load]:
    load = Load(stack.url, stack.headers, clients, 0.005, seed=next(SEEDS))
    with running(load, background_loop):
        yield load


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_synchronous_standby_takes_over_without_loss(
    pair: Pair, background_loop: Background, how: str
) -> None:
    """Frozen: as if the machine were gone, its connections stay open and nothing answers."""
    stack = pair.stack
    pair.replicate(synchronous=True)
    with sending(stack, background_loop) as load:
        wait_more_accepted(load, 300)
        begin = time.monotonic()
        if how == "killed":
            stack.kill("postgres")
        else:
            stack.signal("postgres", signal.SIGSTOP)
            old = stack.processes["postgres"]
        promoted_s = pair.promote()
        accepted = load.accepted
        stack.until_ready(READY_MAX_S)
        ready_s = time.monotonic() - begin
        until(lambda: load.accepted > accepted, ANSWER_MAX_S, f"accepted; {load.outcomes}")
        again_s = time.monotonic() - begin
        wait_more_accepted(load, 300)
        if how == "frozen":
            # The old primary must not be reachable any more: here it is killed, elsewhere fenced.
            old.process.send_signal(signal.SIGKILL)
            old.process.wait()
            wait_more_accepted(load, 50)
    assert load.slowest_s < ANSWER_MAX_S
    assert stack.processes["serve"].process.poll() is None
    assert stack.processes["worker"].process.poll() is None
    run_assert_kept(background_loop, load, stack.settings)
    report_line(
        f"failover, synchronous, primary {how}: promoted in {promoted_s:.1f} s, accepting "
        f"{again_s:.1f} s after the loss, ready {ready_s:.1f} s after it; "
        f"{load.accepted} accepted, none lost, {load.dropped} dropped; "
        f"slowest answer {load.slowest_s:.1f} s; {dict(load.outcomes)}"
    )


@pytest.mark.parametrize("lag_s", [0.0, LAG_S])
def test_asynchronous_standby_loses_at_most_unreceived_writes(
    pair: Pair, background_loop: Background, lag_s: float
) -> None:
    stack = pair.stack
    pair.replicate(synchronous=False)
    with sending(stack, background_loop) as load:
        wait_more_accepted(load, 300)
        received = {trace for trace, sent in load.sent.items() if sent.accepted}
        pair.wait_received()
        pair.link.delay_s = lag_s
        pause_s(2 * LAG_S)
        stack.kill("postgres")
        background_loop.run(pair.link.close(), STARTED_MAX_S)  # what is under way is lost too
        accepted = {trace for trace, sent in load.sent.items() if sent.accepted}
        pair.promote()
        wait_more_accepted(load, 300)
    lost = background_loop.run(lost_traces(load, stack.settings), END_MAX_S)
    assert not lost & received, "what the standby had received is there"
    assert lost <= accepted, "what was accepted after the failover is there"
    assert bool(lost) or not lag_s
    report_line(
        f"failover, asynchronous, standby {lag_s} s behind: {len(accepted)} traces acknowledged "
        f"before the loss, {len(lost)} of them lost; {load.accepted} accepted in all"
    )


def test_unavailable_synchronous_standby_blocks_acknowledgement_and_loses_nothing(
    pair: Pair, background_loop: Background
) -> None:
    stack = pair.stack
    pair.replicate(synchronous=True)
    with sending(stack, background_loop, clients=8) as load:
        wait_more_accepted(load, 100)
        pair.standby.signal(signal.SIGSTOP)
        until_refused(load, within_s=2 * WRITE_TIMEOUT_S)  # each write waits for so long
        accepted = load.accepted
        pause_s(3)
        assert load.accepted == accepted
        assert stack.is_alive()
        readiness = stack.readiness()
        pair.standby.signal(signal.SIGCONT)
        begin = time.monotonic()
        wait_more_accepted(load, 100)
        again_s = time.monotonic() - begin
        pair.lose_primary()
        wait_more_accepted(load, 100)
    assert load.slowest_s < ANSWER_MAX_S + 5
    run_assert_kept(background_loop, load, stack.settings)
    report_line(
        f"synchronous standby away: 503 meanwhile, readiness {readiness}, 100 accepted "
        f"{again_s:.1f} s after it was back; "
        f"slowest answer {load.slowest_s:.1f} s; {load.accepted} accepted, none lost"
    )
