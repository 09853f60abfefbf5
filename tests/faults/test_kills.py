"""kill -9 under load: every acknowledged trace is stored completely and once; all parts recover."""

import random
import time

import pytest

from tests.faults.conftest import Loading, wait_more_accepted
from tests.faults.support.report import report_line
from tests.faults.support.stack import DATABASE_PARTS, Stack

pytestmark = pytest.mark.e2e

PARTS = ("serve", "worker", "postgres", "valkey")
CONNECTION_ERRORS = {
    "ConnectError",
    "ReadError",
    "RemoteProtocolError",
    "WriteError",
    "ReadTimeout",
}
ONCE = pytest.param(2, 0.005, id="once")
RANDOM = pytest.param(40, 0.02, id="at-random", marks=pytest.mark.faults)


@pytest.mark.parametrize(("kills", "pace_s"), [ONCE, RANDOM])
def test_any_part_may_be_killed(stack: Stack, loading: Loading, kills: int, pace_s: float) -> None:
    """Each part once, or random parts at random moments, several at once."""
    rng = random.Random(time.time_ns())
    rounds = [["serve", "worker"], ["postgres", "valkey"]]
    if kills > len(rounds):
        rounds = [rng.sample(PARTS, rng.choice((1, 1, 2, 4))) for _ in range(kills)]
    slowest = 0.0
    with loading(16, pace_s) as load:
        for parts in rounds:
            for part in parts:
                stack.kill(part)
            slowest = max(slowest, stack.revive())
            wait_more_accepted(load, 10 + rng.randrange(40))
    assert set(load.outcomes) - {201, 202, 503} <= CONNECTION_ERRORS, load.outcomes
    killed = sum(map(len, rounds))
    report_line(
        f"kill -9: {killed} in {len(rounds)} rounds; {load.accepted} accepted, "
        f"{load.dropped} dropped; ready again after at most {slowest:.1f} s; {dict(load.outcomes)}"
    )


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, marks=pytest.mark.exhaustive),  # all connections are lost above as well
        pytest.param(20, marks=pytest.mark.faults),
    ],
)
def test_killed_backend_interrupts_database_briefly(
    stack: Stack, loading: Loading, kills: int
) -> None:
    """PostgreSQL ends all its connections when one crashes; the API opens new ones."""
    with loading() as load:
        for _ in range(kills):
            stack.kill_backend()
            wait_more_accepted(load)
            stack.until_ready()
    assert stack.processes["serve"].process.poll() is None
    report_line(
        f"kill -9 of a PostgreSQL backend: {kills}; {load.accepted} accepted, "
        f"{load.dropped} dropped; {dict(load.outcomes)}"
    )


def test_readiness_names_killed_part(stack: Stack) -> None:
    for part, named in (("postgres", DATABASE_PARTS), ("valkey", frozenset({"redis"}))):
        stack.kill(part)
        reported = stack.until_unready(named)
        assert stack.is_alive()
        back = stack.revive()
        report_line(
            f"readiness: {part} reported after {reported:.2f} s, ready {back:.2f} s after start"
        )
