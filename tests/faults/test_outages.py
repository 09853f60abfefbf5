"""PostgreSQL and Redis away for a while, or there and silent: told in time, over by itself."""

import signal
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.conftest import Loading, more
from tests.faults.report import seen
from tests.faults.stack import DATABASE_PARTS, Stack, pause_s

pytestmark = pytest.mark.e2e

REDIS: Final = frozenset({"redis"})
ANSWER_MAX_S: Final = 25.0
"""Within it every request is answered, whatever is silent: clients give up after 30."""
LENGTHS_S: Final = (1, 10, 60)

type Outage = tuple[Callable[[], None], Callable[[], None]]
type How = Callable[[Stack, str], Outage]


def stopped(stack: Stack, part: str) -> Outage:
    """Ended in order, and started again as it was."""
    start = stack.start_postgres if part == "postgres" else stack.start_valkey
    return lambda: stack.stop(part), start


def frozen(stack: Stack, part: str) -> Outage:
    """As a machine that hangs: connections stay open, and nothing answers."""
    return (
        lambda: stack.signal(part, signal.SIGSTOP),
        lambda: stack.signal(part, signal.SIGCONT),
    )


def outages(quick: How) -> pytest.MarkDecorator:
    """Both ways, for each length; one of them is short enough to be tried with every change."""
    long = pytest.mark.faults
    return pytest.mark.parametrize(
        ("how", "length_s"),
        [
            pytest.param(how, s, marks=() if (how, s) == (quick, LENGTHS_S[0]) else long)
            for how in (stopped, frozen)
            for s in LENGTHS_S
        ],
    )


@outages(quick=stopped)
def test_postgres_away(stack: Stack, loading: Loading, how: How, length_s: int) -> None:
    end, begin_again = how(stack, "postgres")
    told = "nothing"
    with loading() as load:
        end()
        try:
            if length_s > 1 or how is stopped:
                told = f"{stack.until_unready(DATABASE_PARTS):.2f} s"
            assert stack.lives()
            pause_s(length_s)
        finally:
            begin_again()
        back = stack.until_ready()
        more(load)
    assert load.slowest_s < ANSWER_MAX_S
    assert stack.processes["serve"].process.poll() is None
    assert stack.processes["worker"].process.poll() is None
    seen(f"PostgreSQL {how.__name__} for {length_s} s: told after {told}, ready {back:.2f} s after "
         f"it was back, slowest answer {load.slowest_s:.1f} s, {load.accepted} accepted, "
         f"{load.dropped} dropped; {dict(load.outcomes)}")  # fmt: skip


@outages(quick=frozen)
def test_redis_away(stack: Stack, loading: Loading, how: How, length_s: int) -> None:
    """Traces go on being accepted: no request needs Redis to be answered."""
    end, begin_again = how(stack, "valkey")
    told = "nothing"
    with loading() as load:
        refused = load.outcomes[503]
        end()
        try:
            if length_s > 1 or how is stopped:
                told = f"{stack.until_unready(REDIS):.2f} s"
            more(load)
            pause_s(length_s)
        finally:
            begin_again()
        back = stack.until_ready()
        more(load)
        assert load.outcomes[503] == refused
    assert load.dropped == 0
    assert load.slowest_s < ANSWER_MAX_S
    seen(f"Redis {how.__name__} for {length_s} s: told after {told}, ready {back:.2f} s after it "
         f"was back, slowest answer {load.slowest_s:.1f} s, {load.accepted} accepted, "
         f"{load.dropped} dropped")  # fmt: skip
