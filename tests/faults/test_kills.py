"""kill -9 under load: what was acknowledged is there, whole, once; all comes back by itself."""

import random
import time

import pytest

from tests.faults.conftest import Loading, more
from tests.faults.report import seen
from tests.faults.stack import DATABASE_PARTS, Stack

pytestmark = pytest.mark.e2e

PARTS = ("serve", "worker", "postgres", "valkey")
HUNG_UP = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError", "ReadTimeout"}
ONCE = pytest.param(1, 0.005, id="once")
AT_RANDOM = pytest.param(40, 0.02, id="at-random", marks=pytest.mark.faults)


@pytest.mark.parametrize(("kills", "pace_s"), [ONCE, AT_RANDOM])
def test_any_part_may_be_killed(stack: Stack, loading: Loading, kills: int, pace_s: float) -> None:
    """Each in turn once, or any at any moment, several at once among them."""
    chance = random.Random(time.time_ns())
    rounds = [[part] for part in PARTS]
    if kills > 1:
        rounds = [chance.sample(PARTS, chance.choice((1, 1, 2, 4))) for _ in range(kills)]
    slowest = 0.0
    with loading(16, pace_s) as load:
        for parts in rounds:
            for part in parts:
                stack.kill(part)
            slowest = max(slowest, stack.revive())
            more(load, 10 + chance.randrange(40))
    assert set(load.outcomes) - {201, 202, 503} <= HUNG_UP, load.outcomes
    killed = sum(map(len, rounds))
    seen(f"kill -9: {killed} in {len(rounds)} rounds; {load.accepted} accepted, {load.dropped} "
         f"dropped; ready again after at most {slowest:.1f} s; {dict(load.outcomes)}")  # fmt: skip


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.faults)])
def test_a_killed_connection_takes_the_database_down_for_a_moment(
    stack: Stack, loading: Loading, kills: int
) -> None:
    """PostgreSQL ends all its connections when one crashes; the API finds new ones."""
    with loading() as load:
        for _ in range(kills):
            stack.kill_backend()
            more(load)
            stack.until_ready()
    assert stack.processes["serve"].process.poll() is None
    seen(f"kill -9 of a PostgreSQL backend: {kills}; {load.accepted} accepted, {load.dropped} "
         f"dropped; {dict(load.outcomes)}")  # fmt: skip


def test_readiness_names_what_was_killed(stack: Stack) -> None:
    for part, named in (("postgres", DATABASE_PARTS), ("valkey", frozenset({"redis"}))):
        stack.kill(part)
        told = stack.until_unready(named)
        assert stack.lives()
        back = stack.revive()
        seen(f"readiness: {part} named after {told:.2f} s, all ready {back:.2f} s after the start")
