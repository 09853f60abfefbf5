"""PostgreSQL and Redis down or frozen for a while: reported in time, recovered without help."""

import signal
from collections.abc import Callable
from typing import Final

import pytest

from tests.faults.conftest import Loading, wait_more_accepted
from tests.faults.support.report import report_line
from tests.faults.support.stack import DATABASE_PARTS, Stack, pause_s

pytestmark = pytest.mark.e2e

REDIS: Final = frozenset({"redis"})
ANSWER_MAX_S: Final = 25.0
"""Every request is answered within this time, whatever is frozen: clients give up after 30 s."""
LENGTHS_S: Final = (1, 10, 60)

type Outage = tuple[Callable[[], None], Callable[[], None]]
type How = Callable[[Stack, str], Outage]


def stopped(stack: Stack, part: str) -> Outage:
    """Stops a part, and starts it again."""
    start = stack.start_postgres if part == "postgres" else stack.start_valkey
    return lambda: stack.stop(part), start


def frozen(stack: Stack, part: str) -> Outage:
    """Freezes a part, as on a hanging machine: connections stay open, and nothing answers."""
    return (
        lambda: stack.signal(part, signal.SIGSTOP),
        lambda: stack.signal(part, signal.SIGCONT),
    )


def outages(quick: How) -> pytest.MarkDecorator:
    """Both kinds for each length; one of them is short enough for `make test-all`.

    In `make test`, test_kills.py kills each part under load, and looks at what readiness says;
    tests of adapters freeze Redis.
    """
    short, long = pytest.mark.exhaustive, pytest.mark.faults
    return pytest.mark.parametrize(
        ("how", "length_s"),
        [
            pytest.param(how, s, marks=short if (how, s) == (quick, LENGTHS_S[0]) else long)
            for how in (stopped, frozen)
            for s in LENGTHS_S
        ],
    )


@outages(quick=stopped)
def test_postgres_outage_is_reported_and_recovered(
    stack: Stack, loading: Loading, how: How, length_s: int
) -> None:
    end, begin_again = how(stack, "postgres")
    reported = "never"
    with loading() as load:
        end()
        try:
            if length_s > 1 or how is stopped:
                reported = f"{stack.until_unready(DATABASE_PARTS):.2f} s"
            assert stack.is_alive()
            pause_s(length_s)
        finally:
            begin_again()
        back = stack.until_ready()
        wait_more_accepted(load)
    assert load.slowest_s < ANSWER_MAX_S
    assert stack.processes["serve"].process.poll() is None
    assert stack.processes["worker"].process.poll() is None
    report_line(
        f"PostgreSQL {how.__name__} for {length_s} s: reported after {reported}, "
        f"ready {back:.2f} s after it was back, slowest answer {load.slowest_s:.1f} s, "
        f"{load.accepted} accepted, {load.dropped} dropped; {dict(load.outcomes)}"
    )


@outages(quick=frozen)
def test_redis_outage_does_not_affect_ingestion(
    stack: Stack, loading: Loading, how: How, length_s: int
) -> None:
    """Traces are still accepted: no request needs Redis for its answer."""
    end, begin_again = how(stack, "valkey")
    reported = "never"
    with loading() as load:
        refused = load.outcomes[503]
        end()
        try:
            if length_s > 1 or how is stopped:
                reported = f"{stack.until_unready(REDIS):.2f} s"
            wait_more_accepted(load)
            pause_s(length_s)
        finally:
            begin_again()
        back = stack.until_ready()
        wait_more_accepted(load)
        assert load.outcomes[503] == refused
    assert load.dropped == 0
    assert load.slowest_s < ANSWER_MAX_S
    report_line(
        f"Redis {how.__name__} for {length_s} s: reported after {reported}, "
        f"ready {back:.2f} s after it was back, slowest answer {load.slowest_s:.1f} s, "
        f"{load.accepted} accepted, {load.dropped} dropped"
    )
